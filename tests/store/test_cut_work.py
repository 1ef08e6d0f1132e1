"""What happens while a cut is worked on, and commits that come to nothing."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.store.committing import read_block, working_tree
from tests.store.cut_vault import Vault, short
from tests.store.stores import make_file, work_off
from vaultfs.format.pack import BLOCK_BYTES, block_id
from vaultfs.tree import ROOT
from vaultfs.tree.housekeeping import SyncWork
from vaultfs.tree.replay import restore

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker


# -- pictures


def test_writes_after_the_cut_do_not_show(vault: Vault) -> None:
    """Not even when the journal's ring has been used again and again, and all else was sealed and collected."""
    ino = vault.write(b"pages", os.urandom(200_000))
    vault.write(b"small", b"before")
    expected = working_tree(vault.tree)
    cut = vault.tree.cut()
    tree = vault.tree
    held = {segment.codec.number for segment in tree.state.journal.segments if segment.pins}
    assert held
    for _ in range(3):
        for number in range(400):
            tree.content.write(ino, number % 4 * 40_000, os.urandom(50_000))
        vault.tree.content.write(vault.ino(b"small"), 0, b"after!")
        work_off(tree.keeper.seal(everything=True))
        work_off(SyncWork(tree.keeper))
        work_off(tree.keeper.collect())
    assert held <= {segment.codec.number for segment in tree.state.journal.segments}
    tree.names.unlink(ROOT, b"pages")
    tree.forget(ino)
    work_off(cut.work())
    work_off(SyncWork(tree.keeper))
    work_off(tree.keeper.collect())
    assert vault.commits.tree_of(vault.commits.settle(tree, cut)) == expected
    work_off(SyncWork(tree.keeper))
    assert not held & {segment.codec.number for segment in tree.state.journal.segments}
    vault.commit()


def test_blocks_of_a_cut_are_not_collected_before_it_ends(vault: Vault) -> None:
    data = os.urandom(60_000)
    ino = vault.write(b"f", data)
    cut = vault.tree.cut()
    vault.tree.content.write(ino, 0, os.urandom(60_000))
    work_off(cut.work())
    for _ in range(2):
        work_off(SyncWork(vault.tree.keeper))
        work_off(vault.tree.keeper.collect())
    assert read_block(vault.tree, block_id(vault.tree.state.keys, data)) == data
    assert vault.tree.blocks.pinned
    cut.failed()
    assert not vault.tree.blocks.pinned


def test_blocks_in_an_interrupted_pack_are_sealed_again(stores: StoreMaker, vault: Vault) -> None:
    """A pack that a crash interrupted has no index, so it is never published."""
    data = os.urandom(2 * BLOCK_BYTES)
    vault.tree.flush()
    vault.write(b"whole", data)
    vault.tree = stores.crash(vault.tree)
    (state,) = {
        state
        for (state,) in vault.tree.state.all(
            "SELECT p.state FROM extent e JOIN block b ON b.blk=e.blk JOIN pack p ON p.pack=b.pack WHERE e.ino=?",
            vault.ino(b"whole"),
        )
    }
    assert state == 0
    cut = vault.tree.cut()
    expected = working_tree(vault.tree)
    committed = vault.commits.finish(vault.tree, cut)
    assert vault.commits.tree_of(committed) == expected
    packs = {
        pack
        for (pack,) in vault.tree.state.all(
            "SELECT b.pack FROM extent e JOIN block b ON b.blk=e.blk WHERE e.ino=?", vault.ino(b"whole")
        )
    }
    assert packs <= set(cut.packs)
    assert all(vault.tree.ledger.pack_of(pack).state == 1 for pack in cut.packs)


def test_a_small_file_needs_nothing_of_an_interrupted_pack(stores: StoreMaker, vault: Vault) -> None:
    """It rested and was sealed before the commit; its bytes are in the commit itself, whatever became of the pack."""
    vault.tree.flush()
    vault.write(b"small", b"few")
    work_off(vault.tree.keeper.seal(everything=True))
    vault.tree = stores.crash(vault.tree)
    cut = vault.tree.cut()
    expected = working_tree(vault.tree)
    committed = vault.commits.finish(vault.tree, cut)
    assert vault.commits.tree_of(committed) == expected
    assert cut.packs == []


def test_what_is_damaged_here_does_not_hold_up_the_rest(vault: Vault) -> None:
    bad = vault.write(b"bad", b"b" * 1000)
    vault.write(b"good", b"g" * 1000)
    run = vault.tree.state.pages[bad][0]
    os.pwrite(run.segment.slot.fd, b"damage", run.offset + 20)
    cut = vault.tree.cut()
    work_off(cut.work())
    assert short(cut) == [("new", b"good")]
    vault.commits.settle(vault.tree, cut)
    assert vault.tree.changes.dirty(bad)
    vault.unlink(b"bad")
    assert vault.commit() == []


# -- commits that come to nothing


def test_failed(vault: Vault) -> None:
    vault.tree.content.write(vault.ino(b"d/g"), 0, b"one")
    vault.move(b"d/f", b"d/f2")
    first = vault.tree.cut()
    vault.tree.content.write(vault.ino(b"d/g"), BLOCK_BYTES, b"two")
    vault.move(b"d/f2", b"d/f3")
    work_off(first.work())
    with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
        vault.tree.cut()
    first.failed()
    first.done()
    assert vault.tree.stats().commit == first.counter + 1
    assert vault.commit() == [("moved", b"d/f", b"d/f3"), ("written", b"d/g")]
    assert vault.tree.inode(vault.ino(b"d/g")).counter == first.counter + 1


@pytest.mark.parametrize("kept", [False, True])
def test_a_crash_takes_base_and_changes_together(stores: StoreMaker, vault: Vault, kept: bool) -> None:
    """Whatever of it the last checkpoint had."""
    vault.tree.flush()
    vault.write(b"new", b"n" * 1000)
    cut = vault.commits.cut(vault.tree)
    vault.write(b"newer", b"m" * 1000)
    work_off(SyncWork(vault.tree.keeper))
    vault.commits.finish(vault.tree, cut)
    vault.write(b"newest", b"l" * 1000)
    if kept:
        work_off(SyncWork(vault.tree.keeper))
    vault.tree = stores.crash(vault.tree)
    lost = [] if kept else [("new", b"new")]
    assert sorted(vault.commit()) == sorted([*lost, ("new", b"newer"), ("new", b"newest")])


def test_the_database_gives_up_what_was_not_durable(vault: Vault) -> None:
    """A checkpoint that meets a full disk takes the base back; the changes come back with it."""
    vault.tree.flush()
    vault.write(b"new", b"n" * 1000)
    vault.commit()
    vault.write(b"newer", b"m" * 1000)
    before = vault.tree.ledger.base
    cut = vault.tree.cut()
    restore(vault.tree.state, vault.tree.blocks)
    assert vault.tree.ledger.base != before
    work_off(cut.work())
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        work_off(cut.add_nodes({b"n" * 32: b"node"}))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        cut.done()
    assert sorted(vault.commit()) == [("new", b"new"), ("new", b"newer")]


def test_a_first_commit_that_fails(stores: StoreMaker) -> None:
    """The vault is as local as before."""
    tree = stores.new()
    make_file(tree, b"f", b"1")
    cut = tree.cut(everything=True)
    make_file(tree, b"g", b"1")
    work_off(SyncWork(tree.keeper))
    cut.failed()
    assert not tree.changes.enabled
    tree = stores.crash(tree)
    assert not tree.changes.enabled
    assert sorted(short(tree.cut(everything=True))) == [("new", b""), ("new", b"f"), ("new", b"g")]
