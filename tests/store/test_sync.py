"""Invariant 1: what fsync waits for is all that was done before it, whoever else is waiting."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.store.stores import make_file
from vaultfs import durable
from vaultfs.durable import AHEAD_BYTES
from vaultfs.format.pack import BLOCK_BYTES

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker


def test_nothing_is_waited_for_twice(stores: StoreMaker) -> None:
    tree = stores.new()
    make_file(tree, b"a", b"x")
    ticket = tree.sync()
    assert ticket is not None
    ticket.run()
    ticket.done()
    assert tree.sync() is None


def test_what_was_written_while_another_ticket_ran_is_still_to_be_waited_for(stores: StoreMaker) -> None:
    """The note that the first ticket leaves stands behind changes it knows nothing of (found by a power cut)."""
    tree = stores.new()
    node = make_file(tree, b"a", b"x")
    first = tree.sync()
    assert first is not None
    tree.content.write(node.ino, 0, b"y")
    first.run()
    first.done()
    second = tree.sync()
    assert second is not None
    assert second.lsn > first.lsn
    second.run()
    second.done()
    assert tree.sync() is None


def test_two_tickets_at_once_each_cover_everything(stores: StoreMaker) -> None:
    tree = stores.new()
    make_file(tree, b"a", os.urandom(70000))
    first = tree.sync()
    second = tree.sync()
    assert first is not None
    assert second is not None
    assert first.heavy
    assert second.heavy
    second.run()
    second.done()
    first.run()
    first.done()
    assert tree.sync() is None


def test_an_error_that_the_kernel_told_another_ticket_counts_for_all(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = stores.new()
    make_file(tree, b"a", b"x")
    first, second = tree.sync(), tree.sync()
    assert first is not None
    assert second is not None

    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        with pytest.raises(OSError, match="Input/output"):
            first.run()
    second.run()  # the kernel has forgotten it
    with pytest.raises(OSError, match="Input/output"):
        second.done()
    assert tree.state.journal.synced < second.lsn


@pytest.mark.parametrize("gone", ["moved", "removed"])
def test_a_file_that_lost_its_name_is_synced_all_the_same(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """Somebody moves the store below a mount, or a pack goes that no file has anything in."""
    tree = stores.new()
    make_file(tree, b"a", os.urandom(70000))
    ticket = tree.sync()
    assert ticket is not None
    (pack,) = tree.blocks.unsynced
    pack.sync()
    files = [tree.state.journal.segments[-1].slot.path, pack.path]
    wanted = {path.stat().st_ino for path in files}
    for path in files:
        path.rename(path.with_name("elsewhere")) if gone == "moved" else path.unlink()
    synced = set()
    fdatasync = os.fdatasync

    def noted(descriptor: int) -> None:
        fdatasync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fdatasync", noted)
    ticket.run_apart()
    assert synced >= wanted


def test_a_segment_that_was_given_up_is_not_waited_for(stores: StoreMaker) -> None:
    """The database on disk has all of it."""
    tree = stores.new()
    make_file(tree, b"a", b"x")
    ticket = tree.sync()
    assert ticket is not None
    journal = tree.state.journal
    journal.begin_segment()
    tree.flush()
    while len(journal.segments) > 1:
        journal.free.append(journal.segments.popleft().slot)
    journal.shrink(0)
    ticket.run_apart()
    assert not tree.health


def test_what_is_sent_ahead_is_what_was_written_since(stores: StoreMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int, bool]] = []
    monkeypatch.setattr(
        durable, "write_out", lambda _, offset, length, *, wait: sent.append((offset, offset + length, wait))
    )
    tree = stores.new()
    journal = tree.state.journal
    while journal.segments:
        journal.free.append(journal.segments.popleft().slot)
    tree.sync_soon()
    assert sent == [], "nothing was written yet"
    node = make_file(tree, b"a", b"x" * 5000)
    end = 0
    for _ in range(5000):
        before = journal.newest
        tree.content.write(node.ino, 4096, b"y" * 4096)
        tree.sync_soon()
        begun, used, waits = sent[-1]
        assert (begun, used, waits) == (
            end // 4096 * 4096 if journal.newest == before else 0,
            journal.segments[-1].used,
            False,
        )
        end = used
    assert journal.newest > 2
    assert tree.sync() is not None, "it makes nothing durable"


def test_an_error_of_what_was_sent_ahead_is_left_to_the_fsync(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(durable, "write_out", fails)
    tree = stores.new()
    tree.begins_writing(lambda begin: begin())
    make_file(tree, b"a", b"x")
    tree.sync_soon()
    node = make_file(tree, b"b")
    for offset in range(0, 4 * AHEAD_BYTES, BLOCK_BYTES):
        tree.content.write(node.ino, offset, os.urandom(BLOCK_BYTES))
    assert not tree.state.failed
    assert tree.sync() is not None
