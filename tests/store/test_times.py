"""When something was last written: what decides between two machines that both wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store.stores import FILE
from vaultfs import clock
from vaultfs.tree import ROOT
from vaultfs.tree.check import check_tree

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker

SECOND = 1_000_000_000


def test_the_kernels_echo_of_a_write_is_no_later_write(stores: StoreMaker) -> None:
    tree = stores.new()
    ino = tree.names.make(ROOT, b"f", FILE, 1000, 1000).ino
    tree.content.write(ino, 0, b"x")
    written = tree.inode(ino).written
    tree.attributes.set(ino, mtime=written - SECOND, ctime=written - SECOND)
    assert tree.inode(ino).written == written
    assert tree.inode(ino).mtime == written - SECOND


def test_times_that_are_so_already_are_not_written_down_again(stores: StoreMaker) -> None:
    tree = stores.new()
    node = tree.names.make(ROOT, b"f", FILE, 1000, 1000)
    tree.content.write(node.ino, 0, b"x", times=False)
    before, written, mtime, ctime = tree.state.journal.lsn, node.written, node.mtime, node.ctime
    for same in ({"mtime": mtime}, {}, {"atime": node.atime}):
        assert tree.attributes.set(node.ino, ctime=ctime, **same) is node
    assert tree.state.journal.lsn == before
    assert (node.written, node.mtime, node.ctime) == (written, mtime, ctime)
    changes = ({"ctime": ctime + 1}, {"atime": 5}, {"mtime": mtime + 7}, {"mode": 0o600}, {"uid": 1000}, {"size": 1})
    for number, change in enumerate(changes, 1):
        tree.attributes.set(node.ino, **{"ctime": ctime} | change)
        assert tree.state.journal.lsn == before + number, change
        node.ctime = ctime
    assert (node.mode & 0o777, node.atime) == (0o600, 5)


def test_what_a_person_changes_is_a_write_now(stores: StoreMaker) -> None:
    tree = stores.new()
    ino = tree.names.make(ROOT, b"f", FILE, 1000, 1000).ino
    written = tree.inode(ino).written
    while clock.tick() == written:
        pass
    tree.attributes.set(ino, mtime=written - 3600 * SECOND)
    later = tree.inode(ino).written
    assert later > written, "touch -d"
    while clock.tick() == later:
        pass
    tree.attributes.set(ino, mode=0o600, mtime=later - SECOND)
    assert tree.inode(ino).written > later, "chmod"


def test_times_of_what_has_no_name_any_more_are_not_written_down(stores: StoreMaker) -> None:
    tree = stores.new()
    ino = tree.names.make(ROOT, b"f", FILE, 1000, 1000).ino
    handle = tree.handles.open(ino, writable=True, pid=1)
    tree.names.unlink(ROOT, b"f")
    before = tree.state.journal.lsn
    tree.attributes.set(ino, mtime=5 * SECOND, ctime=7 * SECOND, mode=0o600)
    assert tree.state.journal.lsn == before
    node = tree.inode(ino)
    assert (node.mtime, node.ctime, node.mode & 0o777) == (5 * SECOND, 7 * SECOND, 0o600), "who has it open sees them"
    tree.attributes.set(ino, size=10)
    assert tree.state.journal.lsn > before, "what is in it still is"
    tree.handles.release(handle)
    tree = stores.crash(tree)
    assert tree.names.find(ROOT, b"f") is None
    assert list(check_tree(tree)) == []
