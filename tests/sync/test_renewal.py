"""A running machine gets new keys by itself, believes nobody else's, and says so when it gets none."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import msgspec
import pytest
from blake3 import blake3

from tests.pure.removal import Vault, publish
from tests.remote.memory import MemoryBackend
from tests.sync.false_headers import Kept
from vaultfs.crypto.device import make_device
from vaultfs.crypto.epochs import NewEpoch, remove_device
from vaultfs.crypto.keys import VaultKeys
from vaultfs.crypto.records import authenticated
from vaultfs.crypto.slots import add_wallet_slot, create_header
from vaultfs.errors import (
    DeviceRemovedError,
    HeaderDamagedError,
    NewerFormatError,
    NewerKeysError,
    RemoteObjectMissingError,
    StoreFullError,
)
from vaultfs.format.header import encode_header
from vaultfs.remote import Limits, Remote
from vaultfs.sync.header import write_header
from vaultfs.sync.renewal import PATIENCE, Renewal

if TYPE_CHECKING:
    from vaultfs.crypto.device import DeviceIdentity
    from vaultfs.crypto.records import Header
    from vaultfs.wallet import Signer

pytestmark = pytest.mark.trio


class Place:
    """A vault of three devices, its remote, and one running machine."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self.vault = Vault(
            create_header(signer, name="v"), make_device("mine"), make_device("stays"), make_device("goes")
        )
        self.backend = MemoryBackend()
        self.remote = Remote(self.backend, Limits(call=1.0))
        self.kept: list[int] = []
        self.offered: list[int] = []
        self.full = False
        self.here = self.machine(self.vault.stays)
        self.put(self.vault.created.header)

    def machine(self, identity: DeviceIdentity) -> Renewal:
        created = self.vault.created
        self.keys = VaultKeys(created.keys.master(), created.keys.vault_id)
        return Renewal(self.remote, self.keys, lambda: identity, created.header, self.keep, self.offer)

    async def keep(self, header: Header) -> None:
        if self.full:
            raise StoreFullError(path="/here")
        self.kept.append(header.number)

    async def offer(self, header: Header) -> None:
        self.offered.append(header.number)

    def put(self, header: Header, name: str = "") -> None:
        assert self.backend.objects is not None
        self.backend.objects[name or f"vault.{header.number}"] = encode_header(header)


@pytest.fixture
def place(alice: Signer) -> Place:
    return Place(alice)


async def test_nothing_new_costs_one_request(place: Place) -> None:
    assert await place.here.check() is None
    before = dataclasses.replace(place.remote.requests)
    assert await place.here.check() is None
    cost = place.remote.requests - before
    assert (before.gets, cost.gets, cost.lists, place.kept) == (2, 1, 0, [])


async def test_new_keys_come_by_themselves(place: Place) -> None:
    vault = place.vault
    made = vault.remove(place.signer)
    later = publish(made.keys, vault.mine, 8)
    assert not later.readable(place.keys)
    await write_header(place.remote, made.header.number, made.header)
    assert await place.here.check() is place.keys, "the keys that everybody holds have grown"
    assert later.readable(place.keys)
    assert place.kept == [2]
    assert place.here.members.removed == {vault.goes.id: 7}
    assert await place.here.check() is None


async def test_several_headers_at_once(place: Place, bob: Signer) -> None:
    """A key was added, then a device removed, then a key added: in order, each kept."""
    vault, created = place.vault, place.vault.created
    second = add_wallet_slot(created.header, created.keys, bob)
    third = remove_device(second, created.keys, place.signer, vault.devices, (vault.goes.id, 1))
    fourth = add_wallet_slot(third.header, third.keys, bob)
    for header in (second, third.header, fourth):
        place.put(header)
    assert await place.here.check() is place.keys
    assert (place.kept, place.keys.epoch, place.here.header) == ([2, 3, 4], 2, fourth)


async def test_a_key_that_was_added_is_no_new_key_of_the_vault(place: Place, bob: Signer) -> None:
    place.put(add_wallet_slot(place.vault.created.header, place.vault.created.keys, bob))
    assert await place.here.check() is None
    assert place.kept == [2]


async def test_a_removed_machine_is_told(place: Place) -> None:
    place.put(place.vault.remove(place.signer).header)
    there = place.machine(place.vault.goes)
    with pytest.raises(DeviceRemovedError):
        await there.check()
    assert (place.keys.epoch, place.kept) == (1, [])


async def test_a_machine_that_was_not_known(place: Place) -> None:
    """It asks for the wallet, until somebody who knows it gives it the keys."""
    late, vault = make_device("late"), place.vault
    made = vault.remove(place.signer)
    place.put(made.header)
    there = place.machine(late)
    for _ in range(2):
        with pytest.raises(NewerKeysError):
            await there.check()
    assert (place.kept, place.offered) == ([], [2, 2]), "for the next time that there is a wallet"
    again = remove_device(made.header, made.keys, place.signer, [*vault.devices, (late.id, late.public_key)], None)
    place.put(again.header)
    assert await there.check() is place.keys
    assert place.keys.masters() == again.keys.masters()


async def test_what_is_no_header_of_the_vault_is_passed_over(place: Place, bob: Signer) -> None:
    """It is told, and stands in nobody's way."""
    other = create_header(bob, name="v", with_words=False)
    place.put(msgspec.structs.replace(other.header, number=2), "vault.2")
    place.put(msgspec.structs.replace(place.vault.remove(place.signer).header, removed=()), "vault.3")
    made = place.vault.remove(place.signer)
    place.put(renumbered(made, 4), "vault.4")
    assert await place.here.check() is place.keys
    assert (place.kept, place.keys.epoch) == ([4], 2)
    assert place.keys.masters() == made.keys.masters()


async def test_a_damaged_header_is_told_and_looked_at_again(place: Place) -> None:
    made = place.vault.remove(place.signer)
    place.put(made.header)
    assert place.backend.objects is not None
    whole = place.backend.objects["vault.2"]
    place.backend.objects["vault.2"] = whole[:-1]
    for _ in range(PATIENCE - 1):
        with pytest.raises(HeaderDamagedError, match=r"vault.2"):
            await place.here.check()
    place.backend.objects["vault.2"] = whole
    assert await place.here.check() is place.keys
    place.backend.objects["vault.3"] = b"nothing"
    for _ in range(PATIENCE):
        with pytest.raises(HeaderDamagedError, match=r"vault.3"):
            await place.here.check()
    assert await place.here.check() is None
    assert list(place.here.refused) == [3]


async def test_a_vault_that_was_moved_to_another_remote(place: Place, bob: Signer) -> None:
    """There it begins with number 1; what this machine has is not taken back, what is newer is found."""
    vault, created = place.vault, place.vault.created
    place.here.header = add_wallet_slot(created.header, created.keys, bob)  # number 2 here
    assert await place.here.check() is None
    assert place.kept == []
    place.put(vault.remove(place.signer).header)
    assert await place.here.check() is place.keys
    assert (place.kept, place.here.header.number) == ([2], 2)


async def test_a_header_under_another_number(place: Place) -> None:
    place.put(place.vault.created.header, "vault.2")
    with pytest.raises(HeaderDamagedError, match="number 1"):
        await place.here.check()


async def test_keys_of_the_removed_machine_after_the_real_ones(place: Place, bob: Signer) -> None:
    """It has the old keys, may write to the remote, and gives everybody new keys of its own."""
    vault, created = place.vault, place.vault.created
    place.put(vault.remove(place.signer).header)
    own = remove_device(add_wallet_slot(created.header, created.keys, bob), created.keys, bob, vault.devices, None)
    assert own.header.number == 3
    place.put(own.header)
    more = remove_device(own.header, own.keys, bob, vault.devices, None)
    place.put(more.header)
    assert await place.here.check() is place.keys
    with pytest.raises(HeaderDamagedError, match=r"vault\.4"):
        await place.here.check()
    assert place.keys.masters() != own.keys.masters()
    assert place.kept == [2]
    assert not publish(place.keys, vault.stays, 9).readable(more.keys)


async def test_a_header_of_a_later_version(place: Place) -> None:
    assert place.backend.objects is not None
    data = bytearray(encode_header(place.vault.created.header))
    data[8] = 2
    place.backend.objects["vault.2"] = bytes(data[:-16]) + blake3(bytes(data[:-16])).digest(16)
    for _ in range(PATIENCE + 1):
        with pytest.raises(NewerFormatError):
            await place.here.check()
    assert not place.here.refused


async def test_what_cannot_be_kept_is_not_used(place: Place) -> None:
    """Else the machine would write what it cannot read after a restart without the remote."""
    place.put(place.vault.remove(place.signer).header)
    place.full = True
    with pytest.raises(StoreFullError):
        await place.here.check()
    assert place.keys.epoch == 1
    place.full = False
    assert await place.here.check() is place.keys


async def test_a_header_that_is_gone(place: Place) -> None:
    """Nothing is taken that stands behind a gap: the one in it could have been the real one."""
    made = place.vault.remove(place.signer)
    place.put(renumbered(made, 3))
    assert await place.here.check() is None
    assert place.keys.epoch == 1
    with pytest.raises(RemoteObjectMissingError):
        await place.remote.get("vault.2")


def renumbered(made: NewEpoch, number: int) -> Header:
    return authenticated(msgspec.structs.replace(made.header, number=number), made.keys.header())


async def test_keys_of_the_removed_machine_for_one_that_was_forgotten(place: Place) -> None:
    """It was given nothing when another was removed; that one gives it a key of its own, behind the real header."""
    vault = place.vault
    kept = Kept(vault.created.header, vault.created.keys, place.signer)
    there = place.machine(late := make_device("late"))
    made = vault.remove(place.signer)
    place.put(made.header)
    place.put(kept.header(3, [late])[0])
    for _ in range(PATIENCE + 1):
        with pytest.raises(NewerKeysError):  # which keeps it from publishing
            await there.check()
    assert (place.keys.epoch, place.kept) == (1, [])
    assert set(place.offered) == {2}, "the wallet opens the real one"
