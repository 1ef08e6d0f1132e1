"""A device: one machine's identity in a vault.

Its record lies beside the store, sealed under a key of the vault: label and id are nobody else's matter.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta
from nacl.signing import SigningKey

from vaultfs.crypto.keys import ID_BYTES
from vaultfs.crypto.records import Id, Key, Label, Seconds, is_plain
from vaultfs.crypto.sealing import OpenFailedError, Sealer
from vaultfs.errors import NewerFormatError, StoreDamagedError, UsageError

if TYPE_CHECKING:
    from vaultfs.crypto.keys import VaultKeys

MAGIC = b"VAULTDEV"
VERSION = 1
_PREFIX = MAGIC + VERSION.to_bytes(2, "little")
_MAX_BYTES = 4096
_LABEL_LETTERS = 64


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sealed."""

    id: Id
    created: Seconds
    label: Annotated[Label, Meta(min_length=1)]
    seed: Key


@dataclass(frozen=True)
class DeviceIdentity:
    """One device: random 16-byte id, a label for people, and the key its heads are signed with."""

    id: bytes
    label: str
    created: int  # seconds since 1970, UTC
    signing_key: SigningKey = field(repr=False)

    @property
    def public_key(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""
        return bytes(self.signing_key.verify_key)


def make_device(label: str) -> DeviceIdentity:
    """A new device. Raises as `check_label`."""
    check_label(label)
    return DeviceIdentity(secrets.token_bytes(ID_BYTES), label, int(time.time()), SigningKey.generate())


def check_label(label: str) -> None:
    """Raise `UsageError` for a label that is empty, over 64 letters or not printable."""
    if not 1 <= len(label) <= _LABEL_LETTERS or not is_plain(label):
        raise UsageError(detail=f"A device label has 1 to {_LABEL_LETTERS} printable letters")


def seal_device(device: DeviceIdentity, keys: VaultKeys) -> bytes:
    """The device's record: magic, version, then the rest sealed."""
    record = _Record(id=device.id, created=device.created, label=device.label, seed=bytes(device.signing_key))
    return _PREFIX + Sealer(keys.device_name()).seal(msgspec.msgpack.encode(record), _meaning(keys))


def load_device(data: bytes, keys: VaultKeys, *, path: str = "device") -> DeviceIdentity:
    """The device that `seal_device` wrote.

    Raises:
        StoreDamagedError: altered, cut off, or of another vault. Names `path`.
        NewerFormatError: written by a later vaultfs.
    """
    if not data.startswith(MAGIC) or not len(_PREFIX) <= len(data) <= _MAX_BYTES:
        raise StoreDamagedError(detail="not a device record, or cut off", object=path)
    version = int.from_bytes(data[len(MAGIC) : len(_PREFIX)], "little")
    if version > VERSION:
        raise NewerFormatError(what=f"The device record {path}", found=version, known=VERSION)
    try:
        opened = Sealer(keys.device_name()).open(data[len(_PREFIX) :], _meaning(keys, data[: len(_PREFIX)]))
        record = msgspec.msgpack.decode(opened, type=_Record)
    except (OpenFailedError, msgspec.DecodeError):
        raise StoreDamagedError(detail="the device record does not open", object=path) from None
    return DeviceIdentity(record.id, record.label, record.created, SigningKey(record.seed))


def _meaning(keys: VaultKeys, prefix: bytes = _PREFIX) -> bytes:
    return prefix + keys.vault_id
