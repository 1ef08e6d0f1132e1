"""Recovery slots: the master key under recovery words, by Argon2id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id

from vaultfs.crypto.keys import KEY_BYTES, derive
from vaultfs.crypto.sealing import OpenFailedError, Sealer
from vaultfs.errors import RecoveryWordsError

if TYPE_CHECKING:
    from vaultfs.crypto.records import WordsSlot

# The words carry 132 bits of chance; Argon2id is there for the case that part of them leaked.
PASSES = 3
MEMORY_BYTES = 64 << 20


def wrap(master: bytes, vault_id: bytes, slot: WordsSlot, words: str) -> WordsSlot:
    """`slot` with the master key wrapped under `words` in it."""
    wrapped = _sealer(vault_id, slot, words).seal(master, _meaning(vault_id, slot))
    return msgspec.structs.replace(slot, wrapped=wrapped)


def unwrap(vault_id: bytes, slot: WordsSlot, words: str) -> bytes | None:
    """The master key, 32 bytes, or None when these are not the words of this slot."""
    try:
        return _sealer(vault_id, slot, words).open(slot.wrapped, _meaning(vault_id, slot))
    except OpenFailedError:
        return None


def _sealer(vault_id: bytes, slot: WordsSlot, words: str) -> Sealer:
    try:
        stretched = _stretch(slot, words)
    except (CryptoError, MemoryError):
        detail = f"checking them takes {slot.memory >> 20} MiB of memory, more than there is"
        raise RecoveryWordsError(detail=detail) from None
    return Sealer(derive(stretched, salt=vault_id + slot.salt, label="slot-words"))


def _stretch(slot: WordsSlot, words: str) -> bytes:
    return argon2id.kdf(KEY_BYTES, words.encode(), slot.salt, opslimit=slot.passes, memlimit=slot.memory)


def _meaning(vault_id: bytes, slot: WordsSlot) -> bytes:
    cost = slot.passes.to_bytes(2, "little") + slot.memory.to_bytes(8, "little")
    return b"vaultfs slot words\0" + vault_id + slot.id + slot.salt + cost
