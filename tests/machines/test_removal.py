"""A machine is removed while others work: nothing that is published afterwards opens with its keys."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.machines.computer import Computer
from tests.remote.memory import MemoryBackend
from vaultfs.crypto.epochs import NewEpoch, members, remove_device
from vaultfs.crypto.keys import VaultKeys
from vaultfs.crypto.records import head_hash
from vaultfs.crypto.slots import Created, create_header
from vaultfs.errors import DeviceRemovedError, NewerKeysError
from vaultfs.format.head import HeadRefusedError, head_name, open_head
from vaultfs.format.header import encode_header
from vaultfs.format.pack import PackCodec, PackDamagedError, parse_header
from vaultfs.sync.patience import PATIENCE
from vaultfs.sync.renewing import Renewing
from vaultfs.tree.packs import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vaultfs.crypto.records import Header
    from vaultfs.wallet import Signer

pytestmark = pytest.mark.trio


class Machine(Computer):
    """A machine that opened the vault with its header."""

    def __init__(self, base: Path, label: str, backend: MemoryBackend, created: Created) -> None:
        self.header = created.header
        super().__init__(base, label, backend, keys=VaultKeys(created.keys.master(), created.keys.vault_id))

    def _open(self) -> None:
        super()._open()
        ports = self.engine._ports
        ports.header, ports.keep_header = self.header, self._keep
        self.engine.renewing = Renewing(ports, self.engine.heads)

    async def _keep(self, header: Header) -> None:
        self.header = header

    async def renew(self) -> bool:
        return await self.engine.renewing.look(now=True)


class Scene:
    def __init__(self, base: Path, created: Created, signer: Signer) -> None:
        self.backend = MemoryBackend()
        self.created = created
        self._signer = signer
        self.objects = self.backend.objects or {}
        self.backend.objects = self.objects
        self.objects["vault.1"] = encode_header(created.header)
        self.a, self.b, self.lost = (Machine(base, label, self.backend, created) for label in ("a", "b", "lost"))
        self.old = VaultKeys(created.keys.master(), created.keys.vault_id)

    def remove(self) -> NewEpoch:
        """`lost` is removed, on another machine than these."""
        devices = [(one.identity.id, one.identity.public_key) for one in (self.a, self.b)]
        number = max(
            int(name[-16:]) for name in self.objects if name.startswith(f"heads/{self.lost.identity.id.hex()}")
        )
        last = head_hash(self.objects[head_name(self.lost.identity.id, number)])
        made = remove_device(
            self.created.header, self.created.keys, self._signer, devices, (self.lost.identity.id, number, last)
        )
        self.objects["vault.2"] = encode_header(made.header)
        return made

    def readable(self, keys: VaultKeys) -> set[str]:
        """The names of the packs and heads that open with these keys."""
        return {name for name, data in self.objects.items() if name[0] in "ph" and opens(keys, name, data)}


def opens(keys: VaultKeys, name: str, data: bytes) -> bool:
    try:
        if name.startswith("heads/"):
            open_head(data, name, keys)
        else:
            PackCodec(keys, parse_header(data)[1]).read_footer(data)
    except (HeadRefusedError, NewerKeysError, PackDamagedError):
        return False
    return True


@pytest.fixture
def scene(tmp_path: Path, alice: Signer) -> Iterator[Scene]:
    scene = Scene(tmp_path, create_header(alice, name="v", with_words=False), alice)
    yield scene
    for one in (scene.a, scene.b, scene.lost):
        one.close()


async def begun(scene: Scene) -> set[str]:
    """All three have the vault and have published; the names of all objects."""
    for one in (scene.a, scene.b, scene.lost):
        await one.begin()
        await one.write(f"of-{one.label}", one.label.encode() * 999)
        await one.sync()
    for one in (scene.a, scene.b):
        await one.sync()
    names = {name for name in scene.objects if name[0] in "ph"}
    assert scene.readable(scene.old) == names, "the test must be able to fail"
    return names


async def test_nothing_that_is_published_afterwards_opens_with_old_keys(scene: Scene) -> None:
    before = await begun(scene)
    made = scene.remove()
    # One that waits to be published, and one that was only written: both before this machine knew.
    await scene.a.write("waits", b"secret" * 5000)
    await scene.a.commit()
    await scene.a.write("written", b"secret too")
    assert await scene.a.renew()
    await scene.a.sync()
    await scene.b.renew()
    await scene.b.write("later", b"more" * 100_000)
    await scene.b.sync()
    await scene.a.sync()
    assert scene.readable(scene.old) == before & set(scene.objects)
    fresh = {name for name in scene.objects if name[0] in "ph"} - before
    assert len(fresh) >= 4
    assert scene.readable(made.keys) >= fresh
    for one in (scene.a, scene.b):
        assert await one.read("waits") == b"secret" * 5000
        assert await one.read("written") == b"secret too"
        assert await one.read("later") == b"more" * 100_000
        assert await one.read("of-lost") == b"lost" * 999


async def test_the_removed_machine_is_neither_heard_nor_told(scene: Scene) -> None:
    await begun(scene)
    made = scene.remove()
    for one in (scene.a, scene.b):
        assert await one.renew()
    await scene.lost.write("late", b"too late")
    await scene.lost.sync()
    await scene.a.write("secret", b"of a")
    for one in (scene.a, scene.b, scene.a):
        await one.sync()
    for one in (scene.a, scene.b):
        assert "late" not in await one.listing()
        assert not one.engine.heads.alarms
    assert not await scene.lost.renew()
    assert type(scene.lost.engine.renewing.trouble).__name__ == "DeviceRemovedError"
    await scene.lost.follow()
    assert "secret" not in await scene.lost.listing()
    assert scene.lost.keys.epoch == 1
    assert members(made.header).removed.keys() == {scene.lost.identity.id}


async def news_under_new_keys(scene: Scene) -> Renewing:
    """One machine was removed and another has published since; what the third has to get the new keys with."""
    await begun(scene)
    scene.remove()
    await scene.a.renew()
    await scene.a.write("news", b"under new keys")
    await scene.a.sync()
    return scene.b.engine.renewing


async def test_a_machine_that_meets_newer_keys_asks_for_them_at_once(scene: Scene) -> None:
    renewing = await news_under_new_keys(scene)
    await scene.b.follow()
    renewing._due = (renewing._due or 0.0) - 30.0  # as if it had not been asked just now
    await scene.b.follow()
    assert scene.b.keys.epoch == 2
    assert await scene.b.read("news") == b"under new keys"


async def test_what_waits_for_newer_keys_is_told_only_when_they_do_not_come(scene: Scene) -> None:
    renewing = await news_under_new_keys(scene)
    headers = {name: scene.objects.pop(name) for name in list(scene.objects) if name.startswith("vault.")}
    for _ in range(PATIENCE):
        assert [alarm.kind for alarm in scene.b.engine.facts().alarms] == []
        renewing._due = 0.0
        await scene.b.follow()
    (alarm,) = scene.b.engine.facts().alarms
    assert (alarm.kind, alarm.device) == ("unreadable", scene.a.identity.id)
    assert not next(one for one in scene.b.engine.facts().devices if one.id == alarm.device).accepted
    scene.objects.update(headers)
    assert await scene.b.renew()
    await scene.b.follow()
    assert scene.b.engine.facts().alarms == []
    assert await scene.b.read("news") == b"under new keys"


@pytest.mark.parametrize("moment", ["written", "named", "checkpoint"])
async def test_a_crash_while_things_are_sealed_anew(scene: Scene, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await begun(scene)
    await scene.a.write("waits", b"secret" * 50_000)
    await scene.a.commit()
    scene.remove()
    assert await scene.a.renew()
    resealing = scene.a.engine.publisher.resealing
    assert resealing is not None

    def crash(*_: object) -> None:
        raise InterruptedError

    async def later_crash(*_: object) -> None:
        crash()

    if moment == "written":
        monkeypatch.setattr("vaultfs.tree.ledger.Ledger.rename_pack", crash)
    elif moment == "named":
        monkeypatch.setattr(resealing, "_sync_names", crash)
    else:
        monkeypatch.setattr(scene.a.engine.commits, "checkpoint", later_crash)
    with pytest.raises(InterruptedError):
        await scene.a.publish()
    monkeypatch.undo()
    scene.a.crash()
    await scene.a.begin()
    await scene.a.sync()
    await scene.b.renew()
    await scene.b.sync()
    assert await scene.a.read("waits") == await scene.b.read("waits") == b"secret" * 50_000
    assert scene.readable(scene.old) == before & set(scene.objects)


async def test_a_pack_that_cannot_be_read_waits(scene: Scene) -> None:
    await begun(scene)
    await scene.a.write("waits", b"secret" * 50_000)
    await scene.a.commit()
    scene.remove()
    await scene.a.renew()
    ledger = scene.a.tree.ledger
    (pack, *_) = (ledger.pack_of(number).id for number in ledger.waiting_packs())
    path = path_of(scene.a.tree.blocks.directory, pack)
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes(50) + whole[150:])
    with pytest.raises(OSError, match="Input/output"):
        await scene.a.publish()
    assert len(ledger.outbox()) == 1
    assert not list(path.parent.parent.glob("*/*.anew"))
    path.write_bytes(whole)
    await scene.a.sync()
    assert not ledger.outbox()


async def test_a_head_that_cannot_be_made_anew_leaves_all_waiting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await begun(scene)
    await scene.a.write("waits", b"secret" * 50_000)
    await scene.a.commit()
    scene.remove()
    await scene.a.renew()
    ledger = scene.a.tree.ledger
    waiting = ledger.outbox()

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(scene.a.engine.commits, "list_pack", fail)
    with pytest.raises(OSError, match="Input/output"):
        await scene.a.publish()
    assert ledger.outbox() == waiting
    monkeypatch.undo()
    await scene.a.sync()
    assert not ledger.outbox()
    await scene.b.renew()
    await scene.b.sync()
    assert await scene.b.read("waits") == b"secret" * 50_000
    assert scene.readable(scene.old) == before & set(scene.objects)


async def test_nothing_is_published_before_the_first_look(scene: Scene) -> None:
    """A machine that was away for a week: what it wrote goes out under the new keys only."""
    before = await begun(scene)
    await scene.a.write("waits", b"secret" * 999)
    await scene.a.commit()
    scene.a.crash()
    scene.remove()
    await scene.a.begin()
    await scene.a.engine.publish()
    fresh = {name for name in scene.objects if name[0] in "ph"} - before
    assert fresh
    assert not scene.readable(scene.old) & fresh


async def test_who_lacks_the_newest_keys_publishes_nothing(scene: Scene) -> None:
    await begun(scene)
    scene.remove()
    await scene.lost.write("late", b"too late")
    await scene.lost.commit()
    scene.lost.crash()
    await scene.lost.begin()
    objects = dict(scene.objects)
    for _ in range(2):
        with pytest.raises(DeviceRemovedError):
            await scene.lost.engine.publish()
    assert scene.objects == objects
    assert await scene.lost.read("late") == b"too late"
