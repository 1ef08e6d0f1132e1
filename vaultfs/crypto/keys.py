"""Keys derived from a vault's master keys.

HKDF-SHA-256 with one distinct label per purpose, salted with the vault id, so that no two purposes and no two
vaults ever share a key (docs/format.md, "Keys").

A vault has a master key for every *epoch*; removing a device begins a new one. What is published is sealed under the
newest, and who has the newest has all earlier ones (vaultfs.crypto.epochs). An object's id says of which epoch it is,
so whoever can name an object knows which key opens it.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY_BYTES = 32
ID_BYTES = 16
EPOCH_BYTES = 2
MAX_EPOCHS = 512


class UnknownEpochError(Exception):
    """There is no key of that epoch here: this machine was not given it yet, or there is none."""


def derive(secret: bytes, *, salt: bytes, label: str) -> bytes:
    """32 bytes from `secret` by HKDF-SHA-256; `label` says what they are for."""
    return HKDF(SHA256(), KEY_BYTES, salt=salt, info=b"vaultfs/1 " + label.encode()).derive(secret)


def epoch_of(object_id: bytes) -> int:
    """The epoch whose key seals the pack or index of that 16-byte id: its last two bytes."""
    return int.from_bytes(object_id[-EPOCH_BYTES:], "little")


class VaultKeys:
    """The keys of one open vault. Lives in memory only and prints nothing of itself.

    `earlier`: the masters of the epochs before the newest, the first one first. What every device has always known, or
    what never leaves a machine, stays with the first epoch: block and node ids, journal, database, device record.
    """

    __slots__ = ("_masters", "block_id", "vault_id")

    def __init__(self, master: bytes, vault_id: bytes, earlier: Sequence[bytes] = ()) -> None:
        self._masters = (*earlier, master)
        if any(len(one) != KEY_BYTES for one in self._masters) or len(vault_id) != ID_BYTES:
            msg = "a master key has 32 bytes and a vault id 16"
            raise ValueError(msg)
        if len(self._masters) > MAX_EPOCHS:
            msg = f"a vault has at most {MAX_EPOCHS} epochs"
            raise ValueError(msg)
        self.vault_id = vault_id
        self.block_id = self._derive(self._masters[0], "block-id")

    def __repr__(self) -> str:
        """The vault only, so that no log can hold a key."""
        return f"VaultKeys(vault_id={self.vault_id.hex()})"

    def _derive(self, master: bytes, label: str, context: bytes = b"") -> bytes:
        return derive(master, salt=self.vault_id + context, label=label)

    def _of(self, epoch: int) -> bytes:
        masters = self._masters
        if not 1 <= epoch <= len(masters):
            raise UnknownEpochError(epoch)
        return masters[epoch - 1]

    @property
    def epoch(self) -> int:
        """The newest epoch, counted from 1."""
        return len(self._masters)

    def master(self) -> bytes:
        """The newest master key itself: for wrapping it into a slot or a grant, and for nothing else."""
        return self._masters[-1]

    def masters(self) -> tuple[bytes, ...]:
        """All master keys, the first epoch's first: for sealing the earlier ones under the newest."""
        return self._masters

    def continues(self, older: VaultKeys) -> bool:
        """Whether these are the keys of the same vault, with all that `older` has at their beginning."""
        if self.vault_id != older.vault_id or self.epoch < older.epoch:
            return False
        known = older.masters()
        return hmac.compare_digest(b"".join(self._masters[: len(known)]), b"".join(known))

    def extend(self, newer: VaultKeys) -> None:
        """Take over the later epochs of `newer`: everybody who holds these keys has them from now on.

        Raises `ValueError` when `newer` are not these keys continued.
        """
        if not newer.continues(self):
            msg = "not the same keys continued"
            raise ValueError(msg)
        self._masters = newer.masters()  # one assignment: other threads see all of it or nothing

    def object_id(self, start: bytes | None = None) -> bytes:
        """A 16-byte id for a new pack or index of the newest epoch: `start` (14 bytes, else random), the epoch."""
        size = ID_BYTES - EPOCH_BYTES
        start = secrets.token_bytes(size) if start is None else start
        if len(start) != size:
            msg = f"an id begins with {size} bytes of its own"
            raise ValueError(msg)
        return start + self.epoch.to_bytes(EPOCH_BYTES, "little")

    def header(self) -> bytes:
        """The key that authenticates the vault header and seals the vault's name in it."""
        return self._derive(self.master(), "header")

    def earlier(self) -> bytes:
        """The key that seals the earlier master keys in the vault header."""
        return self._derive(self.master(), "earlier")

    def pack(self, object_id: bytes) -> bytes:
        """The key of one pack or index, from its id. Raises `UnknownEpochError`."""
        return self._derive(self._of(epoch_of(object_id)), "pack", object_id)

    def head(self, epoch: int) -> bytes:
        """The key that seals heads of an epoch. Raises `UnknownEpochError`."""
        return self._derive(self._of(epoch), "head")

    def journal(self, segment_id: bytes) -> bytes:
        """The key of one journal segment, from its random 16-byte id."""
        return self._derive(self._masters[0], "journal", segment_id)

    def database(self, device_id: bytes) -> bytes:
        """The key of the local metadata database on one device."""
        return self._derive(self._masters[0], "local-database", device_id)

    def device_name(self) -> bytes:
        """The key that seals device labels and device records."""
        return self._derive(self._masters[0], "device-name")
