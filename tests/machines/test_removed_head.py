"""A removed machine signs another head under the number that counts of it: nobody takes that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.test_removal import Machine, Scene, begun
from tests.support.nodes import MemoryNodes
from tests.sync.vaults import make_pack
from vaultfs.crypto.epochs import members
from vaultfs.crypto.keys import VaultKeys
from vaultfs.crypto.slots import create_header
from vaultfs.errors import RemoteDamagedError
from vaultfs.format.head import Head, head_name, seal_head, vector_of
from vaultfs.format.node import Commit, Directory, Dot, Entry, File, Inline
from vaultfs.format.node_codec import encode_node
from vaultfs.format.node_trie import Trie
from vaultfs.format.pack import node_key
from vaultfs.remote import Limits, Remote
from vaultfs.sync.archive import Archive
from vaultfs.sync.garbage import Garbage
from vaultfs.sync.repair import Repair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vaultfs.crypto.epochs import NewEpoch
    from vaultfs.wallet import Signer

pytestmark = pytest.mark.trio

LATE = 1 << 62


class Joining(Machine):
    """A machine that opens the vault after the removal."""

    def __init__(self, base: Path, label: str, scene: Scene, made: NewEpoch) -> None:
        self.header = made.header
        earlier = made.keys.masters()[:-1]
        keys = VaultKeys(made.keys.master(), made.keys.vault_id, earlier)
        super(Machine, self).__init__(base, label, scene.backend, keys=keys)


class Removal:
    """`lost` has been removed, and the others went on."""

    def __init__(self, base: Path, scene: Scene) -> None:
        self.base, self.scene = base, scene

    async def begin(self) -> None:
        scene = self.scene
        await begun(scene)
        await scene.lost.write("more-of-lost", b"its last")
        await scene.lost.sync()
        for one in (scene.a, scene.b):
            await one.sync()
        self.made = scene.remove()
        self.number = members(self.made.header).removed[scene.lost.identity.id]
        self.name = head_name(scene.lost.identity.id, self.number)
        self.real = scene.objects[self.name]
        for one in (scene.a, scene.b):
            await one.renew()
            await one.write(f"after-{one.label}", b"written after the removal")
            await one.sync()
        for one in (scene.a, scene.b):
            await one.sync()

    def forge(self, *, delete: bool, older: bool = False) -> None:
        """The removed machine writes a file; with `delete` all else is gone, by a device that it made up."""
        scene, number = self.scene, self.number - older
        lost, old = scene.lost.identity, scene.old
        newest: dict[bytes, int] = {}
        for name in scene.objects:
            if name.startswith("heads/"):
                device = bytes.fromhex(name[6:38])
                newest[device] = max(newest.get(device, 0), int(name[-16:]))
        nodes = MemoryNodes(node_key(old))
        evil = File(
            b"e" * 16, Dot(lost.id, number + 1), None, LATE, 0o755, None, None, LATE, (), 12, Inline(b"after it all")
        )
        below = Trie(nodes).build([Entry(b"evil.sh", (evil,), None)])
        top = Directory(bytes(16), Dot(lost.id, number), None, 1, 0o700, None, None, 1, ())
        root = nodes.put(encode_node(Commit((top,), below, None)))
        pack = make_pack(77, nodes=list(nodes.new.values()), keys=old)
        scene.objects[pack.name] = pack.data
        vector = vector_of({**newest, **({b"x" * 16: 1} if delete else {}), lost.id: number})
        head = Head(lost.id, lost.public_key, number, root, vector, 1, "lost", (pack.place,), (), (), ())
        scene.objects[head_name(lost.id, number)] = seal_head(head, lost, old)

    def joining(self, label: str) -> Joining:
        return Joining(self.base, label, self.scene, self.made)

    async def archive(self) -> Archive:
        """As `ls` and `restore` look at it."""
        archive = Archive(Remote(self.scene.backend, Limits(call=1.0)), self.made.keys, self.made.header)
        await archive.look()
        return archive


@pytest.fixture
def scene(tmp_path: Path, alice: Signer) -> Iterator[Scene]:
    scene = Scene(tmp_path, create_header(alice, name="v", with_words=False), alice)
    yield scene
    for one in (scene.a, scene.b, scene.lost):
        one.close()


@pytest.fixture
def removal(tmp_path: Path, scene: Scene) -> Removal:
    return Removal(tmp_path, scene)


@pytest.mark.parametrize("delete", [False, True], ids=["a file is written", "all is deleted"])
async def test_the_last_head_written_anew(removal: Removal, scene: Scene, *, delete: bool) -> None:
    await removal.begin()
    before = await scene.b.listing()
    assert {"of-lost", "after-a", "after-b"} <= set(before)
    removal.forge(delete=delete)
    new = removal.joining("new")
    try:
        await new.begin()
        for _ in range(2):
            await new.sync()
        assert set(await new.listing()) == set(before)
        assert ["removed device" in alarm.text for alarm in new.engine.heads.alarms] == [True]
        await new.write("by-new", b"new")
        await new.sync()
    finally:
        new.close()
    for one in (scene.a, scene.b):
        await one.sync()
        assert set(await one.listing()) == {*before, "by-new"}
        assert not one.engine.heads.alarms, "it has the real one"
    with pytest.raises(RemoteDamagedError, match="removed device"):
        await (await removal.archive()).present()
    # The real one is put back: who has not seen it yet gets it.
    scene.objects[removal.name] = removal.real
    late = removal.joining("late")
    try:
        await late.begin()
        await late.sync()
        assert not late.engine.heads.alarms
        assert [head.number for head in late.engine.heads.seen if head.device == scene.lost.identity.id] == [
            removal.number
        ]
        assert set(await late.listing()) == {*before, "by-new"}
    finally:
        late.close()


async def test_an_older_head_written_anew(removal: Removal, scene: Scene) -> None:
    """Not even as history: only the one head is known to be what it was."""
    await removal.begin()
    lost = scene.lost.identity.id
    assert removal.number > 1, "else there is no older one"
    removal.forge(delete=False, older=True)
    forged = head_name(lost, removal.number - 1)
    assert forged in scene.objects
    assert (await removal.archive()).numbers[lost] == [removal.number]
    new = removal.joining("new")
    try:
        await new.begin()
        await new.sync()
        for one in (new, scene.a):
            assert forged not in {head.name for head in await Garbage(one.engine)._heads(set())}
            assert not one.engine.heads.alarms
            done = await Repair(one.engine).run(dry_run=True)
            assert done.lost == []
    finally:
        new.close()
