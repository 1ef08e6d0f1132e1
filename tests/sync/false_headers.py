"""Headers that a removed machine makes: with the keys it had, and the wallet's signature that it has kept."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from vaultfs.crypto import wallet_slot
from vaultfs.crypto.earlier import seal_earlier
from vaultfs.crypto.grants import grant
from vaultfs.crypto.keys import VaultKeys
from vaultfs.crypto.records import Header, WalletSlot, authenticated
from vaultfs.crypto.slots import seal_name
from vaultfs.wallet import Signer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vaultfs.crypto.device import DeviceIdentity


class Kept:
    """What a machine that was removed has: the keys of its time, and the signature that opened the old slot."""

    def __init__(self, header: Header, keys: VaultKeys, signer: Signer) -> None:
        slot = header.slots[0]
        assert isinstance(slot, WalletSlot)
        self.slot = slot
        self.masters: Sequence[bytes] = keys.masters()
        self.vault_id = header.vault_id
        self.signature = signer.sign(wallet_slot.message(header.vault_id, slot.id))

    def header(self, number: int, devices: Iterable[DeviceIdentity] = ()) -> tuple[Header, VaultKeys]:
        """A header with a new key of its own, that the wallet opens and that gives `devices` this key; and its keys."""
        keys = VaultKeys(secrets.token_bytes(32), self.vault_id, self.masters)
        slot = msgspec.structs.replace(self.slot, salt=bytes(16), label="")
        unsigned = Header(
            number=number,
            vault_id=self.vault_id,
            name=seal_name(keys, "v"),
            slots=(wallet_slot.wrap(keys.master(), self.vault_id, slot, self.signature),),
            earlier=seal_earlier(keys),
            granted=tuple(grant(keys, one.id, one.public_key) for one in sorted(devices, key=lambda one: one.id)),
            removed=(),
            mac=bytes(32),
        )
        return authenticated(unsigned, keys.header()), keys


class Counting(Signer):
    """A wallet that counts what it is asked for."""

    kind = "counting"

    def __init__(self, signer: Signer, most: int = 1 << 30) -> None:
        self.signed: list[bytes] = []
        self._signer = signer
        self._most = most

    @property
    def public_key(self) -> bytes:
        return self._signer.public_key

    def sign(self, message: bytes) -> bytes:
        if len(self.signed) == self._most:
            from vaultfs.errors import SignerError  # noqa: PLC0415 - only here

            raise SignerError(detail="refused")
        self.signed.append(message)
        return self._signer.sign(message)
