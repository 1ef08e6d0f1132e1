"""Recovery slots: the master key under recovery words, by Argon2id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id

from vaultfs.crypto.keys import KEY_BYTES, derive
from vaultfs.crypto.records import MAX_SLOTS, TriesSpentError
from vaultfs.crypto.sealing import OpenFailedError, Sealer
from vaultfs.errors import RecoveryWordsError

if TYPE_CHECKING:
    from vaultfs.crypto.records import WordsSlot

# The words carry 132 bits of chance; Argon2id is there for the case that part of them leaked.
PASSES = 3
MEMORY_BYTES = 64 << 20
MOST_OF_A_HEADER = MAX_SLOTS * PASSES * MEMORY_BYTES  # passes * bytes of memory: three seconds
MOST_WORK = 4 * MOST_OF_A_HEADER


class Stretching:
    """Recovery words while the headers of one vault are tried: what a slot takes is done once, and not without end."""

    def __init__(self, words: str, most: int = MOST_WORK) -> None:
        self._words = words
        self._left = most
        self._made: dict[tuple[bytes, int, int], bytes] = {}

    def of(self, slot: WordsSlot) -> bytes:
        """What Argon2id makes of the words. Raises `RecoveryWordsError`; `TriesSpentError` when it was too much."""
        which = slot.salt, slot.passes, slot.memory
        if which not in self._made:
            self._left -= slot.passes * slot.memory
            if self._left < 0:
                raise TriesSpentError
            self._made[which] = _stretch(slot, self._words)
        return self._made[which]


def wrap(master: bytes, vault_id: bytes, slot: WordsSlot, words: str) -> WordsSlot:
    """`slot` with the master key wrapped under `words` in it."""
    wrapped = _sealer(vault_id, slot, Stretching(words)).seal(master, _meaning(vault_id, slot))
    return msgspec.structs.replace(slot, wrapped=wrapped)


def unwrap(vault_id: bytes, slot: WordsSlot, words: Stretching) -> bytes | None:
    """The master key, 32 bytes, or None when these are not the words of this slot."""
    try:
        return _sealer(vault_id, slot, words).open(slot.wrapped, _meaning(vault_id, slot))
    except OpenFailedError:
        return None


def _sealer(vault_id: bytes, slot: WordsSlot, words: Stretching) -> Sealer:
    return Sealer(derive(words.of(slot), salt=vault_id + slot.salt, label="slot-words"))


def _stretch(slot: WordsSlot, words: str) -> bytes:
    try:
        return argon2id.kdf(KEY_BYTES, words.encode(), slot.salt, opslimit=slot.passes, memlimit=slot.memory)
    except (CryptoError, MemoryError):
        detail = f"checking them takes {slot.memory >> 20} MiB of memory, more than there is"
        raise RecoveryWordsError(detail=detail) from None


def _meaning(vault_id: bytes, slot: WordsSlot) -> bytes:
    cost = slot.passes.to_bytes(2, "little") + slot.memory.to_bytes(8, "little")
    return b"vaultfs slot words\0" + vault_id + slot.id + slot.salt + cost
