"""Removing a device: a new epoch, whose master key it never gets (docs/format.md, "Epochs").

    made = remove_device(header, keys, signer, [(id, public_key), ...], (id, number, hash))   # .header .keys .dropped
    keys = renew(newer_header, identity, keys)         # on the machines that remain: no wallet needed
    members(newer_header).refusal(device, public_key, number, epoch, hash)

What was there before stays as it is: a removed device may have kept it all. From then on everything is sealed under
the new epoch, and heads of the removed device no longer count.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.crypto.earlier import seal_earlier, with_earlier
from vaultfs.crypto.grants import grant, open_grant
from vaultfs.crypto.keys import KEY_BYTES, MAX_EPOCHS, VaultKeys
from vaultfs.crypto.records import MAC_BYTES, MAX_DEVICES, Header, Removed, Slot, WalletSlot, authenticated, check_mac
from vaultfs.crypto.slots import new_wallet_slot, seal_name, vault_name
from vaultfs.errors import DeviceRemovedError, HeaderDamagedError, NewerKeysError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultfs.crypto.device import DeviceIdentity
    from vaultfs.wallet import Signer


class NewEpoch(NamedTuple):
    """A header with a new epoch, its keys, and the slots that do not open it: their wallets have to be added again."""

    header: Header
    keys: VaultKeys
    dropped: tuple[Slot, ...]


def remove_device(
    header: Header,
    keys: VaultKeys,
    signer: Signer,
    devices: Iterable[tuple[bytes, bytes]],
    removed: tuple[bytes, int] | tuple[bytes, int, bytes] | None,
    *,
    path: str = "vault",
) -> NewEpoch:
    """The next header, with a new master key that `removed` does not get. `header` and `keys` stay as they are.

    `devices`: id and Ed25519 public key of everybody else, this machine too; who is not named has to open the vault
    with a wallet again. `removed`: id, and number and `head_hash` of the one of its heads that counts (number 0: none
    does; without a hash all up to the number do, and it could make another of that number); None: new keys only.
    `signer` is a wallet that opens the vault; it signs twice, for a new slot.

    Raises:
        UsageError: the wallet is not one of the vault's; too many devices or epochs.
        SignerError, SignerNotDeterministicError: the wallet gave no usable signature.
        HeaderDamagedError: the header is not one of these keys.
    """
    check_mac(header, keys.header(), path=path)
    if header.vault_id != keys.vault_id or header.epoch != keys.epoch:
        raise HeaderDamagedError(path=path, detail="it is of other keys")
    if keys.epoch == MAX_EPOCHS:
        raise UsageError(detail=f"A vault can have its keys replaced {MAX_EPOCHS - 1} times; make a new vault")
    slots = {slot.public_key: slot for slot in header.slots if isinstance(slot, WalletSlot)}
    slot = slots.get(signer.choose(list(slots)) or b"")
    if slot is None:
        raise UsageError(detail=f"The wallet {signer.address} does not open this vault; add it first: vaultfs key add")
    gone = {one.device: one for one in header.removed}
    if removed is not None:
        now = Removed(*removed)
        before = gone.get(now.device, now)
        gone[now.device] = min(before, now, key=lambda one: (one.number, not one.head))
    granted = {device: public_key for device, public_key in devices if device not in gone}
    if max(len(gone), len(granted)) > MAX_DEVICES:
        raise UsageError(detail=f"A vault has at most {MAX_DEVICES} devices, and as many removed ones")
    newest = VaultKeys(secrets.token_bytes(KEY_BYTES), keys.vault_id, keys.masters())
    unsigned = Header(
        number=header.number + 1,
        vault_id=header.vault_id,
        name=seal_name(newest, vault_name(header, keys, path=path)),
        # A slot with an id of its own: the signature that opened the old one may be known to the removed device.
        slots=(new_wallet_slot(newest, signer, slot.label),),
        earlier=seal_earlier(newest),
        granted=tuple(grant(newest, device, granted[device]) for device in sorted(granted)),
        removed=tuple(gone[device] for device in sorted(gone)),
        mac=bytes(MAC_BYTES),
    )
    dropped = tuple(other for other in header.slots if other is not slot)
    return NewEpoch(authenticated(unsigned, newest.header()), newest, dropped)


def renew(header: Header, identity: DeviceIdentity, keys: VaultKeys, *, path: str = "vault") -> VaultKeys:
    """The keys of a newer header, by this device's grant; `keys` themselves where the epoch is the same.

    Raises:
        DeviceRemovedError: this device was removed.
        NewerKeysError: this device was not given the new keys; a wallet opens them.
        HeaderDamagedError: of another vault, of an earlier epoch, or made by somebody who does not have our keys.
    """
    if header.vault_id != keys.vault_id:
        raise HeaderDamagedError(path=path, detail="it belongs to another vault")
    if header.epoch < keys.epoch:
        raise HeaderDamagedError(path=path, detail="it is of older keys than this machine has")
    if header.epoch == keys.epoch:
        check_mac(header, keys.header(), path=path)
        return keys
    if any(one.device == identity.id for one in header.removed):
        raise DeviceRemovedError
    mine = next((one for one in header.granted if one.device == identity.id), None)
    if mine is None or mine.public_key != identity.public_key:
        raise NewerKeysError(what=f"The header {path}", found=header.epoch, known=keys.epoch)
    master = open_grant(mine, identity, keys.vault_id, header.epoch, path=path)
    newer = with_earlier(header, master, path=path)
    if not newer.continues(keys):
        raise HeaderDamagedError(path=path, detail="its keys are not this vault's")
    return newer


@dataclass(frozen=True)
class Members:
    """Whose heads count, by a header that was authenticated. `granted`: public keys by device.

    `removed`: the number of the last head that counts of a device; `hashes`: the hash of that one, where it is known.
    """

    epoch: int
    granted: dict[bytes, bytes]
    removed: dict[bytes, int]
    hashes: dict[bytes, bytes] = field(default_factory=dict)

    def counts(self, device: bytes, number: int) -> bool:
        """Whether a head of that number can count: what is not even worth a look does not."""
        last = self.removed.get(device, number)
        return number == last or (number < last and device not in self.hashes)

    def refusal(self, device: bytes, public_key: bytes, number: int, epoch: int, head: bytes = b"") -> str | None:
        """Why a head sealed under the keys of `epoch` does not count; None: it does. `head`: its hash.

        A removed device still has the old keys and could call itself anything: under them only devices count that
        were there when they were replaced. The others show by the newest keys that they belong here.
        """
        if device in self.removed:
            if not self.counts(device, number):
                return "of a removed device"
            wanted = self.hashes.get(device, head)
            return None if wanted == head else "of a removed device, and not the one that it had when it was removed"
        if epoch < self.epoch and self.granted.get(device) != public_key:
            return "under old keys, of a device that was not known when they were replaced"
        return None


def members(header: Header) -> Members:
    """The members of a vault. `header` must have been authenticated."""
    return Members(
        header.epoch,
        {one.device: one.public_key for one in header.granted},
        {one.device: one.number for one in header.removed},
        {one.device: one.head for one in header.removed if one.head},
    )
