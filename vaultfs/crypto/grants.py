"""Grants: a new master key for one device, sealed for the key that its heads are signed with (X25519 from Ed25519).

A sealed box says nothing about who made it: a grant is only believed together with the MAC of its header, and when
the keys behind it hold all keys that the device knew before (vaultfs.crypto.epochs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nacl.exceptions import CryptoError
from nacl.public import SealedBox
from nacl.signing import VerifyKey

from vaultfs.crypto.keys import EPOCH_BYTES, KEY_BYTES
from vaultfs.crypto.records import Grant
from vaultfs.errors import HeaderDamagedError, UsageError

if TYPE_CHECKING:
    from vaultfs.crypto.device import DeviceIdentity
    from vaultfs.crypto.keys import VaultKeys


def grant(keys: VaultKeys, device: bytes, public_key: bytes) -> Grant:
    """The newest master key for the device of that id and Ed25519 key. Raises `UsageError` for a key that is none."""
    try:
        box = SealedBox(VerifyKey(public_key).to_curve25519_public_key())
        sealed = box.encrypt(_inside(keys.vault_id, keys.epoch, device) + keys.master())
    except (CryptoError, ValueError, TypeError):
        raise UsageError(detail=f"The device {device.hex()} has no usable key") from None
    return Grant(device, public_key, sealed)


def open_grant(one: Grant, identity: DeviceIdentity, vault_id: bytes, epoch: int, *, path: str) -> bytes:
    """The master key in the grant of this device. Raises `HeaderDamagedError`."""
    try:
        plain = SealedBox(identity.signing_key.to_curve25519_private_key()).decrypt(one.sealed)
    except (CryptoError, ValueError, TypeError):
        raise HeaderDamagedError(path=path, detail="this machine's grant does not open") from None
    inside, master = plain[:-KEY_BYTES], plain[-KEY_BYTES:]
    if inside != _inside(vault_id, epoch, identity.id):
        raise HeaderDamagedError(path=path, detail="this machine's grant was made for something else")
    return master


def _inside(vault_id: bytes, epoch: int, device: bytes) -> bytes:
    return vault_id + epoch.to_bytes(EPOCH_BYTES, "little") + device
