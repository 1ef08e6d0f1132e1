"""Dead packs are removed in the middle of everything else, and the machine stops at any moment of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.store.platter import Platter
from tests.store.stores import content, make_file, names_of, work_off
from tests.support.quick_stores import quick_stores
from vaultfs.format.pack import BLOCK_BYTES, Kind
from vaultfs.sync.resealing import _seal_anew
from vaultfs.tree import ROOT, collect, packs
from vaultfs.tree.housekeeping import SyncWork
from vaultfs.tree.nodes import NodesWork
from vaultfs.tree.packs import PackWriter, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.store.cut_vault import Vault
    from tests.store.stores import StoreMaker
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.tree import Tree
    from vaultfs.tree.housekeeping import Work
    from vaultfs.tree.packs import Placed

STEPS = 6  # collecting, waiting until it is on disk that the packs are dead, waiting for the note that says so


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Packs of 1 MiB."""
    for module in (packs, collect):
        monkeypatch.setattr(module, "PACK_BYTES", 1 << 20)
    with quick_stores(segment_bytes=2 << 20):
        yield


def pack_files(tree: Tree) -> set[Path]:
    return set(tree.blocks.directory.glob("*/*"))


def overwrite(tree: Tree, ino: int, times: int = 40) -> None:
    for _ in range(times):
        tree.content.write(ino, 0, os.urandom(BLOCK_BYTES))


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Stopped:
    """A store in whose last checkpoint a pack is, open, that was filled with what is dead now, and removed since."""

    def __init__(self, stores: StoreMaker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stores = stores
        tree = self.tree = stores.new()
        work_off(tree.tick())  # a spare segment
        self.ino = make_file(tree, b"f", os.urandom(BLOCK_BYTES)).ino
        self.kept = os.urandom(BLOCK_BYTES)
        make_file(tree, b"kept", self.kept)  # stands in the first pack, and is to be taken out of it
        work_off(SyncWork(tree.keeper))
        self.platter = Platter(monkeypatch, tree.state.store)
        overwrite(tree, self.ino)
        self.before = pack_files(tree)
        self.synced = {b"f", b"kept"}
        self.answered = set(self.synced)

    def write(self, step: int) -> None:
        """Somebody writes one file with fsync, and one without."""
        self.synced.add(b"synced%d" % step)
        make_file(self.tree, b"synced%d" % step, b"confirmed")
        self.tree.keeper.sync_inline()
        make_file(self.tree, b"not%d" % step, b"answered")
        self.answered |= {b"synced%d" % step, b"not%d" % step}

    def collect(self, steps: int, *, busy: bool) -> None:
        """So much of the collection; `busy`: others write all the time."""
        tree, done = self.tree, 0
        work: Work | None = tree.keeper.collect()
        while work is not None:
            for step in (work.run, work.apply):
                if done == steps:
                    return
                following = step()
                done += 1
                if busy:
                    self.write(done)
            work = following
        assert done == steps

    def check(self, tree: Tree, *, names: set[bytes]) -> None:
        assert tree.health == []
        assert set(names_of(tree)) >= names
        assert content(tree, tree.names.lookup(ROOT, b"kept").ino) == self.kept
        for name in names_of(tree):
            node = tree.names.lookup(ROOT, name)
            assert len(content(tree, node.ino)) == node.size
        work_off(SyncWork(tree.keeper))
        work_off(tree.keeper.collect())
        assert content(tree, tree.names.lookup(ROOT, b"kept").ino) == self.kept
        known = {pack_id.hex() for (pack_id,) in tree.state.all("SELECT id FROM pack")}
        assert {path.name for path in pack_files(tree)} == known


@pytest.fixture
def stopped(stores: StoreMaker, monkeypatch: pytest.MonkeyPatch) -> Stopped:
    return Stopped(stores, monkeypatch)


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("steps", range(STEPS + 1))
def test_killed_while_dead_packs_are_removed(stopped: Stopped, steps: int, busy: bool) -> None:
    """All that was answered is there: the replay does not take what was removed for what a power cut lost."""
    stopped.collect(steps, busy=busy)
    tree = stopped.stores.crash(stopped.tree)
    assert tree.startup.notes == []
    stopped.check(tree, names=stopped.answered)


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("steps", range(STEPS + 1))
def test_no_power_while_dead_packs_are_removed(stopped: Stopped, tmp_path: Path, steps: int, busy: bool) -> None:
    """All that fsync confirmed is there, though nothing need be on disk that says that it is."""
    stopped.collect(steps, busy=busy)
    tree = stopped.stores.open(stopped.platter.cut(tmp_path / "cut"))
    stopped.check(tree, names=stopped.synced)


def test_dead_packs_are_removed_once_the_journal_says_so_on_disk(stopped: Stopped) -> None:
    stopped.collect(STEPS - 2, busy=False)
    assert pack_files(stopped.tree) >= stopped.before
    work_off(stopped.tree.keeper.collect())
    assert not pack_files(stopped.tree) >= stopped.before


def test_nothing_is_removed_where_the_note_finds_no_room(stopped: Stopped, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last frame filled its segment, and the disk has no room for another one."""
    tree = stopped.tree
    collecting = tree.keeper.collect()
    collecting.run()
    work = collecting.apply()
    assert work is not None
    work.run()
    journal = tree.state.journal
    while journal.free:
        journal.begin_segment()
    journal._frozen = True
    monkeypatch.setattr(journal, "prepare_slot", no_room)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        work.apply()
    assert pack_files(tree) >= stopped.before


# -- commits


def test_a_block_that_a_cut_needs_stays_in_its_pack(vault: Vault) -> None:
    """Else the pack that it comes to could go when the file does, while the commit is still being made."""
    tree = vault.tree
    tree.flush()
    data = os.urandom(BLOCK_BYTES)
    vault.write(b"kept", data)
    overwrite(tree, vault.write(b"f", b""))
    work_off(SyncWork(tree.keeper))
    collecting = tree.keeper.collect()
    collecting.run()
    cut = vault.commits.cut(tree)
    work_off(collecting.apply())
    vault.unlink(b"kept")
    work_off(SyncWork(tree.keeper))
    work_off(tree.keeper.collect())
    work_off(cut.work())
    committed = vault.commits.settle(tree, cut)
    assert vault.commits.tree_of(committed)[b"kept",].data == data


# -- packs that are sealed anew


def sealed_anew(tree: Tree) -> tuple[Path, Path]:
    """What `Resealing.seal_anew` does to the only pack before its checkpoint, which waits; the old file, the new."""
    ((number, old),) = tree.state.all("SELECT pack, id FROM pack")
    directory, new = tree.blocks.directory, tree.state.keys.object_id()
    _seal_anew(tree.state.keys, path_of(directory, old), old, new, path_of(directory, new))
    tree.ledger.rename_pack(number, new)
    tree.blocks.reader.drop(number)
    return path_of(directory, old), path_of(directory, new)


@pytest.mark.parametrize("first", [False, True], ids=["while it looks", "before it looks"])
def test_a_pack_that_is_sealed_anew_keeps_its_old_file_until_that_is_durable(stores: StoreMaker, first: bool) -> None:
    tree = stores.new()
    data = os.urandom(BLOCK_BYTES)
    make_file(tree, b"f", data)
    writer, tree.blocks.writer = tree.blocks.writer, None
    assert writer is not None
    tree.state.begin()
    tree.blocks.finish(writer)
    tree.state.end()
    work_off(SyncWork(tree.keeper))
    old, new = sealed_anew(tree) if first else (Path(), Path())
    collecting = tree.keeper.collect()
    collecting.run()
    if not first:
        old, new = sealed_anew(tree)
    work_off(collecting.apply())
    killed = stores.open(stores.killed(tree))
    assert killed.health == []
    assert content(killed, killed.names.lookup(ROOT, b"f").ino) == data
    work_off(SyncWork(tree.keeper))
    work_off(tree.keeper.collect())
    assert pack_files(tree) == {new}
    assert not old.exists()
    assert content(tree, tree.names.lookup(ROOT, b"f").ino) == data


# -- nodes of a merge

NODES = {bytes([number]) * 32: os.urandom(100) for number in range(3)}


def nodes_work(tree: Tree) -> NodesWork:
    return NodesWork(tree.state, tree.blocks, tree.ledger, NODES)


def test_a_pack_for_nodes_is_not_collected_before_they_are_in_it(stores: StoreMaker) -> None:
    """It waits for the housekeeping before it, which may be a checkpoint and a collection."""
    tree = stores.new()
    work = nodes_work(tree)
    work_off(SyncWork(tree.keeper))
    work_off(tree.keeper.collect())
    work_off(work)
    pack = tree.ledger.pack_of(work.pack)
    assert path_of(tree.blocks.directory, pack.id).exists()
    assert not tree.blocks.pinned


@pytest.mark.parametrize("fails", ["add", "finish"])
def test_nodes_in_a_pack_that_was_not_finished_are_nowhere(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """And the pack goes."""
    tree = stores.new()
    work = nodes_work(tree)
    with monkeypatch.context() as full:
        full.setattr(PackWriter, fails, no_room)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            work_off(work)
    assert [tree.ledger.place_of_node(name) for name in NODES] == [None] * len(NODES)
    assert not tree.blocks.pinned
    assert pack_files(tree)
    work_off(SyncWork(tree.keeper))
    work_off(tree.keeper.collect())
    assert not pack_files(tree)


class Cramped(PackWriter):
    """Packs for which the disk has no room from step `at` on: making one, two blocks, and its end; 4: there is."""

    at = 0
    steps = 0

    @classmethod
    def step(cls) -> None:
        if cls.steps == cls.at:
            no_room()
        cls.steps += 1

    def __init__(self, directory: Path, keys: VaultKeys, number: int) -> None:
        self.step()
        super().__init__(directory, keys, number)

    def add(self, identity: bytes, data: bytes | memoryview, kind: Kind = Kind.BLOCK) -> Placed:
        self.step()
        return super().add(identity, data, kind)

    def finish(self) -> None:
        self.step()
        super().finish()


@pytest.mark.parametrize("at", range(5))
def test_a_full_disk_removes_what_is_dead_and_moves_nothing(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    tree = stores.new()
    junk = make_file(tree, b"junk").ino
    files = {}
    for name in (b"one", b"two"):
        files[name] = os.urandom(BLOCK_BYTES)
        make_file(tree, name, files[name])
        overwrite(tree, junk)
    work_off(SyncWork(tree.keeper))
    before = pack_files(tree)
    monkeypatch.setattr(Cramped, "at", at)
    monkeypatch.setattr(Cramped, "steps", 0)
    monkeypatch.setattr(collect, "PackWriter", Cramped)
    work_off(tree.keeper.collect())
    left = pack_files(tree)
    moved = at == 4
    assert len(left - before) == moved
    assert len(left) == (2 if moved else 3), "the one being written, and those with a block that is needed"
    tree = stores.crash(tree)
    assert {name: content(tree, tree.names.lookup(ROOT, name).ino) for name in files} == files
    assert tree.health == []
