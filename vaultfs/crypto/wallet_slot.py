"""Wallet slots: the wallet signs a message made for one slot of one vault; the signature opens the slot.

The message says in words what it is for, so a person can tell it from anything else they are asked to sign,
and a signature given elsewhere opens nothing here.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import msgspec

from vaultfs.crypto.keys import derive
from vaultfs.crypto.records import TriesSpentError
from vaultfs.crypto.sealing import OpenFailedError, Sealer
from vaultfs.errors import HeaderDamagedError, NewerFormatError, SignerNotDeterministicError
from vaultfs.wallet import verified_signature

if TYPE_CHECKING:
    from vaultfs.crypto.records import WalletSlot
    from vaultfs.wallet import Signer

MESSAGE_VERSION = 1
MOST_SIGNATURES = 8  # of different messages while a vault is opened; one is what it takes

_MESSAGE = """\
vaultfs: open my vault

Sign this only in vaultfs, on a machine you trust.
Whoever gets this signature can open the vault.

Purpose: unlock one key slot of one vault
Vault: {vault}
Slot: {slot}
Message version: {version}"""


def message(vault_id: bytes, slot_id: bytes) -> bytes:
    """What the wallet signs, version 1: ASCII, lines ended by LF, none after the last."""
    text = _MESSAGE.format(vault=vault_id.hex(), slot=slot_id.hex(), version=MESSAGE_VERSION)
    return text.encode("ascii")


def wrap(master: bytes, vault_id: bytes, slot: WalletSlot, signature: bytes) -> WalletSlot:
    """`slot` with the master key wrapped under `signature` in it."""
    wrapped = _sealer(vault_id, slot, signature).seal(master, _meaning(vault_id, slot))
    return msgspec.structs.replace(slot, wrapped=wrapped)


def enrol(master: bytes, vault_id: bytes, slot: WalletSlot, signer: Signer) -> WalletSlot:
    """`slot` wrapped for `signer`, whose public key it holds.

    The wallet signs twice: one that signs differently each time could never open the slot again.

    Raises:
        SignerError: no signature, or a wrong one.
        SignerNotDeterministicError: two signatures of the same message differ.
    """
    text = message(vault_id, slot.id)
    signature = verified_signature(signer, text)
    if not hmac.compare_digest(signature, verified_signature(signer, text)):
        raise SignerNotDeterministicError
    return wrap(master, vault_id, slot, signature)


class Signatures:
    """What one wallet signs while the headers of one vault are tried: each message once, since a person may be asked.

    Headers that are right need one; `most` bounds what somebody can ask for who stores others beside them.
    """

    def __init__(self, signer: Signer, most: int = MOST_SIGNATURES) -> None:
        self.signer = signer
        self._most = most
        self._made: dict[tuple[bytes, bytes], bytes] = {}
        self._steady = False

    def of(self, text: bytes) -> bytes:
        """The signature of `text`. Raises `SignerError`, and `TriesSpentError` when there were too many."""
        which = self.signer.public_key, text
        if which not in self._made:
            if len(self._made) == self._most:
                raise TriesSpentError
            self._made[which] = verified_signature(self.signer, text)
        return self._made[which]

    def check(self, text: bytes) -> None:
        """Raise `SignerNotDeterministicError` if the wallet signs `text` differently now. Asks it once at most."""
        if not self._steady and verified_signature(self.signer, text) != self.of(text):
            raise SignerNotDeterministicError
        self._steady = True


def unwrap(vault_id: bytes, slot: WalletSlot, signatures: Signatures, *, path: str) -> bytes:
    """The master key, 32 bytes, by a signature of the wallet that the slot belongs to.

    Raises:
        TriesSpentError: too many others were asked for before.
        SignerError: no signature, or a wrong one.
        SignerNotDeterministicError: the signature is right but not the one of the enrolment.
        HeaderDamagedError: the signature is right and always the same, but the slot does not open.
        NewerFormatError: the slot's message is of a later version.
    """
    if slot.message_version != MESSAGE_VERSION:
        raise NewerFormatError(what="The key slot", found=slot.message_version, known=MESSAGE_VERSION)
    text = message(vault_id, slot.id)
    signature = signatures.of(text)
    try:
        return _sealer(vault_id, slot, signature).open(slot.wrapped, _meaning(vault_id, slot))
    except OpenFailedError:
        signatures.check(text)
        raise HeaderDamagedError(path=path, detail="the slot of this wallet does not open") from None


def _sealer(vault_id: bytes, slot: WalletSlot, signature: bytes) -> Sealer:
    return Sealer(derive(signature, salt=vault_id + slot.salt, label="slot-wallet"))


def _meaning(vault_id: bytes, slot: WalletSlot) -> bytes:
    """All of the slot that matters for opening it; the label may change without the wallet."""
    version = slot.message_version.to_bytes(2, "little")
    return b"vaultfs slot wallet\0" + vault_id + slot.id + slot.salt + slot.public_key + version
