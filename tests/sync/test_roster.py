"""Who is given new keys: nobody whose heads do not bear it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pure.removal import Vault, publish
from tests.remote.memory import MemoryBackend
from vaultfs.crypto.device import DeviceIdentity, make_device
from vaultfs.crypto.epochs import remove_device
from vaultfs.crypto.records import head_hash
from vaultfs.crypto.slots import create_header
from vaultfs.errors import RemoteDamagedError, RemoteGoneError
from vaultfs.format.head import head_name
from vaultfs.remote import Limits, Remote
from vaultfs.sync.archive import Archive
from vaultfs.sync.roster import Machine, roster

if TYPE_CHECKING:
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.wallet import Signer

pytestmark = pytest.mark.trio


class Place:
    """A vault of three devices on a remote."""

    def __init__(self, signer: Signer) -> None:
        devices = [make_device(label) for label in ("mine", "stays", "goes")]
        self.signer = signer
        self.vault = Vault(create_header(signer, name="v", with_words=False), *devices)
        self.header, self.keys = self.vault.created.header, self.vault.created.keys
        self.backend = MemoryBackend()
        self.remote = Remote(self.backend, Limits(call=1.0))
        for device in devices:
            for number in (3, 5):
                self.put(device, number)

    def put(self, device: DeviceIdentity, number: int, keys: VaultKeys | None = None, name: str = "") -> None:
        assert self.backend.objects is not None
        made, data = publish(keys or self.keys, device, number).head
        self.backend.objects[name or made] = data

    def remove(self) -> None:
        made = remove_device(self.header, self.keys, self.signer, self.vault.devices, (self.vault.goes.id, 5))
        self.header, self.keys = made.header, made.keys

    async def found(self) -> dict[bytes, Machine]:
        return {one.device: one for one in await roster(self.remote, self.header, self.keys)}


@pytest.fixture
def place(alice: Signer) -> Place:
    return Place(alice)


async def test_everybody(place: Place) -> None:
    found = await place.found()
    for one in (place.vault.mine, place.vault.stays, place.vault.goes):
        assert place.backend.objects is not None
        last = head_hash(place.backend.objects[head_name(one.id, 5)])
        assert found[one.id] == Machine(one.id, one.public_key, one.label, 5, head=last)
    assert len(found) == 3
    assert (place.remote.requests.lists, place.remote.requests.gets) == (1, 6)


async def test_who_was_removed_is_not_there(place: Place) -> None:
    place.remove()
    found = await place.found()
    assert place.vault.goes.id not in found
    assert [one.doubt for one in found.values()] == ["", ""], "heads under old keys, of devices that were known then"


async def test_a_device_that_somebody_with_old_keys_invented(place: Place) -> None:
    old, invented = place.keys, make_device("honest")
    place.remove()
    place.put(invented, 1, old)
    found = (await place.found())[invented.id]
    assert "old keys" in found.doubt
    assert (found.number, found.head) == (0, b""), "nor does a head of it count once it is removed"
    # One that joined honestly shows the new keys with its next head.
    place.put(invented, 2)
    assert (await place.found())[invented.id].doubt == ""


async def test_a_head_signed_with_another_key(place: Place) -> None:
    """Of a member that would have the new keys granted to itself under another's id."""
    stays, goes = place.vault.stays, place.vault.goes
    posing = DeviceIdentity(stays.id, "stays", 0, goes.signing_key)
    place.put(posing, 9)
    found = (await place.found())[stays.id]
    assert (found.public_key, found.number) == (stays.public_key, 5)
    assert "key" in found.doubt
    # Also where it took all others away, if the device was granted keys before.
    place.remove()
    assert place.backend.objects is not None
    for number in (3, 5):
        del place.backend.objects[head_name(stays.id, number)]
    found = (await place.found())[stays.id]
    assert (found.public_key, found.number) == (stays.public_key, 0)
    assert found.doubt


@pytest.mark.parametrize("number", [3, 5])
async def test_a_damaged_head(place: Place, number: int) -> None:
    assert place.backend.objects is not None
    place.backend.objects[head_name(place.vault.stays.id, number)] = b"nothing"
    found = (await place.found())[place.vault.stays.id]
    assert "not a head" in found.doubt
    assert found.number == 8 - number
    place.backend.objects[head_name(place.vault.goes.id, 10**16 - 1)] = b"nothing"
    assert (await place.found())[place.vault.goes.id].number == 5, "a number counts only with a head that is right"


async def test_what_is_no_head_is_passed_over(place: Place) -> None:
    assert place.backend.objects is not None
    place.backend.objects["heads/readme.txt"] = b""
    assert len(await place.found()) == 3


async def test_a_remote_that_is_gone(place: Place) -> None:
    place.backend.objects = None
    with pytest.raises(RemoteGoneError):
        await place.found()


async def test_a_head_that_says_another_label(place: Place) -> None:
    """The newest label is what a person knows."""
    stays = place.vault.stays
    place.put(DeviceIdentity(stays.id, "desk", 0, stays.signing_key), 6)
    assert (await place.found())[stays.id].label == "desk"


async def test_verbs_do_not_take_an_invented_machine_for_one(place: Place) -> None:
    """Who reads commits without a mount neither sees what a removed device publishes, nor what it invents."""
    old, invented = place.keys, make_device("honest")
    place.remove()
    place.put(place.vault.goes, 6, old)
    archive = Archive(place.remote, place.keys, place.header)
    await archive.look()
    assert archive.numbers[place.vault.goes.id] == [3, 5]
    assert len(await archive.newest()) == 3
    place.put(invented, 1, old)
    archive = Archive(place.remote, place.keys, place.header)
    await archive.look()
    with pytest.raises(RemoteDamagedError, match="old keys"):
        await archive.newest()
