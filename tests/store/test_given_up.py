"""Journal segments that a start gave up: what came later does not follow on them, and nothing is missing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.store.stores import make_file, names_of

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker
    from vaultfs.tree import Tree


def sync(tree: Tree) -> None:
    """As an fsync does."""
    ticket = tree.sync()
    assert ticket is not None
    ticket.run()
    ticket.done()


def lose(tree: Tree, lost: bytes, then: bytes) -> None:
    """The record of the file `lost` ends a segment, and did not reach the disk; that of `then` begins the next."""
    journal = tree.state.journal
    old = journal.segments[-1]
    end = old.used
    make_file(tree, lost)
    journal.begin_segment()
    make_file(tree, then)
    os.pwrite(old.slot.fd, bytes(old.used - end), end)


def test_an_empty_segment_behind_a_note_is_no_damage(stores: StoreMaker) -> None:
    """The segment whose last record only says what was synced is free; the next one was begun for nothing."""
    tree = stores.new()
    make_file(tree, b"one")
    sync(tree)
    journal = tree.state.journal
    assert journal.lsn == journal.note
    journal.begin_segment()
    tree.keeper.commit()
    tree = stores.crash(tree)
    make_file(tree, b"two")
    sync(tree)
    tree = stores.crash(tree)
    assert tree.health == []
    assert names_of(tree).keys() == {b"one", b"two"}


def test_records_that_a_power_cut_took_are_not_missed_later(stores: StoreMaker) -> None:
    """The end of one segment is gone and the next one, which follows on it, is there: given up, and written anew."""
    tree = stores.new()
    make_file(tree, b"one")
    sync(tree)
    lose(tree, b"lost", b"lost too")
    tree = stores.crash(tree)
    assert tree.health == []
    assert names_of(tree).keys() == {b"one"}
    for name in (b"two", b"three"):
        make_file(tree, name)
        sync(tree)
        tree = stores.crash(tree)
        assert tree.health == []
    assert names_of(tree).keys() == {b"one", b"two", b"three"}


def test_what_is_missing_is_still_told(stores: StoreMaker) -> None:
    tree = stores.new()
    make_file(tree, b"one")
    lose(tree, b"gone", b"two")
    sync(tree)
    tree = stores.crash(tree)
    assert any("damaged" in line for line in tree.health)
    assert names_of(tree).keys() == {b"one", b"two"}
