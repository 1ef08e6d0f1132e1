"""What was changed since the last cut is known, after a crash too; and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store.stores import DIRECTORY, make_file, work_off
from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.tree import ROOT
from vaultfs.tree.housekeeping import SyncWork

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker
    from vaultfs.tree import Tree


def tracked(stores: StoreMaker) -> Tree:
    """A tree with two directories and two files, all of it in the base."""
    tree = stores.new()
    folder = tree.names.make(ROOT, b"d", DIRECTORY, 0, 0).ino
    make_file(tree, b"big", b"b" * 5 * BLOCK_BYTES, folder)
    make_file(tree, b"small", b"s", folder)
    tree.names.make(ROOT, b"e", DIRECTORY, 0, 0)
    tree.start_tracking()
    tree.flush()
    return tree


def ino_of(tree: Tree, *path: bytes) -> int:
    ino = ROOT
    for name in path:
        ino = tree.names.lookup(ino, name).ino
    return ino


def known(tree: Tree) -> tuple[object, ...]:
    changes = tree.changes
    return dict(changes.names), dict(changes.inodes), changes.current.blocks, changes.current.folders, changes.outside


def change_everything(tree: Tree) -> None:
    """One of each kind."""
    folder, big = ino_of(tree, b"d"), ino_of(tree, b"d", b"big")
    tree.content.write(big, 2 * BLOCK_BYTES + 5, b"x")
    tree.content.write(big, 4 * BLOCK_BYTES, b"y" * BLOCK_BYTES)
    tree.names.rename(folder, b"small", ROOT, b"moved")
    tree.attributes.set(folder, mode=0o700)
    tree.names.rmdir(ROOT, b"e")
    new = make_file(tree, b"new", b"n" * 100_000)
    tree.xattrs.set(new.ino, b"user.a", b"1")
    tree.names.make(ROOT, b"newer", DIRECTORY, 0, 0)
    cut = make_file(tree, b"cut", b"c" * 100_000, folder)
    tree.attributes.set(cut.ino, size=10)


def test_nothing_is_recorded_without_a_base(stores: StoreMaker) -> None:
    tree = stores.new()
    make_file(tree, b"f", b"1")
    assert tree.changes.empty
    assert (tree.changes.count, tree.changes.oldest_ns) == (0, 0)


def test_each_kind_of_change(stores: StoreMaker) -> None:
    tree = tracked(stores)
    folder, gone = ino_of(tree, b"d"), ino_of(tree, b"e")
    big, small = ino_of(tree, b"d", b"big"), ino_of(tree, b"d", b"small")
    change_everything(tree)
    new, newer = ino_of(tree, b"new"), ino_of(tree, b"newer")
    cut = ino_of(tree, b"d", b"cut")
    names, inodes, blocks, folders, _ = known(tree)
    assert names == {
        (folder, b"small"): small, (ROOT, b"moved"): 0, (ROOT, b"e"): gone, (ROOT, b"new"): 0,
        (ROOT, b"newer"): 0, (folder, b"cut"): 0,
    }  # fmt: skip
    assert inodes == {big: False, folder: False, new: True, newer: True, cut: True}
    assert blocks == {big: {2, 4}}
    assert folders == {gone}
    assert tree.changes.touched(ROOT, b"moved")
    assert not tree.changes.touched(ROOT, b"d")
    assert tree.changes.dirty(big)
    assert not tree.changes.dirty(small)
    assert tree.changes.within(folder)
    assert not tree.changes.within(small)
    assert tree.changes.inos() == {*inodes, folder, ROOT}
    assert tree.changes.count == len(names) + len(inodes)
    assert tree.changes.oldest_ns > 0


def test_a_crash_forgets_none_of_it(stores: StoreMaker) -> None:
    """Before and after a checkpoint, and half of it on each side."""
    tree = tracked(stores)
    change_everything(tree)
    expected = known(tree)
    tree = stores.crash(tree)
    assert known(tree) == expected
    tree = stores.crash(tree)
    assert known(tree) == expected
    tree.content.write(ino_of(tree, b"d", b"big"), 0, b"z")
    tree.names.rename(ROOT, b"moved", ROOT, b"again")
    expected = known(tree)
    tree = stores.crash(tree)
    assert known(tree) == expected
    store = tree.state.store
    tree.close()
    stores.trees.remove(tree)
    assert known(stores.open(store)) == expected


def test_a_checkpoint_writes_only_what_is_new(stores: StoreMaker) -> None:
    tree = tracked(stores)
    for number in range(100):
        make_file(tree, b"f%d" % number)
    work_off(SyncWork(tree.keeper))
    tree.state.db.execute("CREATE TEMP TABLE seen(name)")
    tree.state.db.execute(
        "CREATE TEMP TRIGGER seeing AFTER INSERT ON change_name BEGIN INSERT INTO seen VALUES(new.name); END"
    )
    make_file(tree, b"last")
    work_off(SyncWork(tree.keeper))
    assert tree.state.all("SELECT name FROM seen") == [(b"last",)]
    assert tree.state.one("SELECT count(*) FROM change_name") == 101


def test_reading_sealing_and_collecting_change_nothing(stores: StoreMaker) -> None:
    tree = tracked(stores)
    ino = ino_of(tree, b"d", b"small")
    tree.attributes.set(ino, atime=5)
    while (work := tree.keeper.seal(everything=True)) is not None:
        work_off(work)
    work_off(SyncWork(tree.keeper))
    work_off(tree.keeper.collect())
    assert tree.changes.empty
    tree = stores.crash(tree)
    assert tree.changes.empty


def test_what_a_cut_took_comes_back_from_the_database_as_it_was(stores: StoreMaker) -> None:
    """The older of two records counts, also where no checkpoint came between them."""
    tree = tracked(stores)
    small = ino_of(tree, b"d", b"small")
    tree.names.rename(ino_of(tree, b"d"), b"small", ROOT, b"a")
    tree.attributes.set(small, size=0)
    cut = tree.cut()
    tree.names.rename(ROOT, b"a", ino_of(tree, b"d"), b"small")
    tree.content.write(small, 0, b"1")
    cut.failed()
    expected = known(tree)
    store = tree.state.store
    tree.close()
    stores.trees.remove(tree)
    tree = stores.open(store)
    assert known(tree) == expected
    assert tree.changes.names == {(ino_of(tree, b"d"), b"small"): small, (ROOT, b"a"): 0}
    assert tree.changes.inodes == {small: True}


def test_quiet_frames_are_no_edits(stores: StoreMaker) -> None:
    tree = tracked(stores)
    state, node = tree.state, tree.inode(ino_of(tree, b"d", b"small"))
    before = node.writer, node.counter, node.written
    now = state.begin(quiet=True)
    node.mode ^= 0o1
    state.stamp(node, now)
    entry, cookie = state.place(ROOT, b"quiet")
    assert entry is None
    node.nlink += 1
    state.put_name(ROOT, cookie, b"quiet", node.ino)
    state.put_xattr(node.ino, b"user.q", b"1")
    state.end()
    assert (node.writer, node.counter, node.written) == before
    assert tree.changes.empty
    tree = stores.crash(tree)
    assert tree.changes.empty
    assert ino_of(tree, b"quiet") == node.ino
    make_file(tree, b"loud")
    assert not tree.changes.empty


def test_what_is_gone_is_forgotten(stores: StoreMaker) -> None:
    """Of a temporary file its name is left, which had nothing before; in the database too."""
    tree = tracked(stores)
    node = make_file(tree, b"tmp", b"1" * 100_000)
    work_off(SyncWork(tree.keeper))
    tree.names.unlink(ROOT, b"tmp")
    tree.forget(node.ino)
    assert (dict(tree.changes.names), dict(tree.changes.inodes)) == ({(ROOT, b"tmp"): 0}, {})
    work_off(SyncWork(tree.keeper))
    tree = stores.crash(tree)
    assert (dict(tree.changes.names), dict(tree.changes.inodes)) == ({(ROOT, b"tmp"): 0}, {})


def test_the_counter_goes_up_at_a_cut_only(stores: StoreMaker) -> None:
    tree = tracked(stores)
    assert tree.stats().commit == 1
    for _ in range(3):
        make_file(tree, b"f%d" % tree.keeper.committed)
        work_off(SyncWork(tree.keeper))
    assert tree.stats().commit == 1
    tree.cut().done()
    assert make_file(tree, b"g").counter == 2
    tree = stores.crash(tree)
    assert tree.stats().commit == 2
