"""The kernel calls clean what the disk did not take, and tells it once: neither may cost what fsync acknowledged."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.crash.below import ext4_on_such_a_disk
from tests.store.stores import StoreMaker, content, make_file
from vaultfs.tree import ROOT
from vaultfs.tree.housekeeping import DurableWork
from vaultfs.tree.state import State

if TYPE_CHECKING:
    from tests.crash.below import Below
    from vaultfs.tree import Inode, Tree
    from vaultfs.tree.sync import Ticket

pytestmark = [pytest.mark.root, pytest.mark.fuse, pytest.mark.slow]
OLD, NEW = b"old" * 100, os.urandom(30_000)


def sync(tree: Tree) -> None:
    """What an fsync does."""
    ticket = tree.sync()
    if ticket is not None:
        ticket.run()
        ticket.done()


def store_with_a_file(disk: Below) -> tuple[StoreMaker, Tree, Inode]:
    """All of it is on the disk."""
    stores = StoreMaker(disk.mountpoint)
    tree = stores.new()
    node = make_file(tree, b"a", OLD)
    sync(tree)
    os.sync()
    return stores, tree, node


def after_a_cut(disk: Below, tree: Tree) -> Tree:
    """The store as the next start finds it; what is open on the dead disk is let go."""
    where = disk.cut()
    tree.state.journal.close()
    tree.state.db.close()
    return StoreMaker(where).open(where / tree.state.store.name)


def tickets(tree: Tree) -> tuple[Ticket, Ticket]:
    """Two who wait for the same."""
    first, second = tree.sync(), tree.sync()
    assert first is not None
    assert second is not None
    return first, second


@pytest.mark.parametrize("loop_is_first", [False, True])
def test_an_error_is_told_to_a_thread_and_to_the_loop_both(
    monkeypatch: pytest.MonkeyPatch, *, loop_is_first: bool
) -> None:
    """Whoever is told first has no time to tell the other."""
    with ext4_on_such_a_disk() as disk:
        stores, tree, node = store_with_a_file(disk)
        monkeypatch.setattr(State, "fail", lambda *_: None)
        disk.fault(errno.EIO)
        tree.content.write(node.ino, 0, NEW)
        thread, loop = tickets(tree)
        calls = [loop.run, thread.run_apart] if loop_is_first else [thread.run_apart, loop.run]
        for call in calls:
            with pytest.raises(OSError, match="Input/output"):
                call()
        disk.heal()
        stores.end()


def test_what_the_disk_did_not_take_is_not_taken_for_durable_after_a_new_start() -> None:
    with ext4_on_such_a_disk() as disk:
        stores, tree, node = store_with_a_file(disk)
        disk.fault(errno.EIO)
        tree.content.write(node.ino, 0, NEW)
        with pytest.raises(OSError, match="Input/output"):
            sync(tree)
        tree.close()
        disk.heal()
        again = stores.open(tree.state.store)
        seen = content(again, node.ino)
        assert seen in (OLD, NEW)
        sync(again)
        after = after_a_cut(disk, again)
        assert content(after, node.ino) == seen, "it was there after an fsync, and is not after a power cut"
        after.close()


def test_a_database_that_the_disk_did_not_take_is_not_built_upon_after_a_new_start() -> None:
    """The kernel shows its log as it was to become, and what came to stand behind that would be lost with it."""
    with ext4_on_such_a_disk() as disk:
        stores = StoreMaker(disk.mountpoint)
        tree = stores.new()
        for name in (b"v", b"w", b"x", b"y", b"z"):
            if name == b"z":  # the log begins anew, in a file that has its size: only its content is still to fail
                tree.state.db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            make_file(tree, name)
            tree.keeper.sync_inline()
            tree.keeper.commit()
        made = make_file(tree, b"a")
        tree.keeper.sync_inline()
        os.sync()
        disk.fault(errno.EIO)
        work = DurableWork(tree.keeper, tree.keeper.commit())
        with pytest.raises(OSError, match="Input/output"):
            work.run()
        tree.close()
        disk.heal()
        again = stores.open(tree.state.store)
        for _ in range(len(again.state.journal.free)):
            again.state.journal.begin_segment()  # what the database says that it has is written over
        more = make_file(again, b"b")
        sync(again)
        after = after_a_cut(disk, again)
        assert [after.names.lookup(ROOT, name).ino for name in (b"a", b"b")] == [made.ino, more.ino]
        after.close()
