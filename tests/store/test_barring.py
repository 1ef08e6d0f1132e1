"""What `--respect-leases` bars, on a tree: whose lease, until when, and what is never barred."""

from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from vaultfs.daemon.barring import find_bar
from vaultfs.daemon.card import Card, Lease
from vaultfs.tree.inode import ROOT

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker
    from vaultfs.tree import Tree

ME, OTHER = b"\1" * 16, b"\2" * 16
HOUR = timedelta(hours=1)


def lease(path: str, since: float = 0, length: timedelta = HOUR) -> Lease:
    begun = datetime.now(UTC) + timedelta(minutes=since)
    return Lease(path, begun, begun + length)


def barred(tree: Tree, ino: int, name: bytes, **leases: list[Lease]) -> bool:
    cards = {ME: Card(leases=leases.get("mine", [])), OTHER: Card(leases=leases.get("theirs", []))}
    bar = find_bar(tree, cards, ME, datetime.now(UTC))
    if bar is None:
        return False
    try:
        bar(ino, name)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return True
    return False


@pytest.fixture
def tree(stores: StoreMaker) -> Tree:
    return stores.new()


def make(tree: Tree, parent: int, name: bytes, kind: int = stat.S_IFREG) -> int:
    return tree.names.make(parent, name, kind | 0o700, os.getuid(), os.getgid()).ino


def test_who_bars_what(tree: Tree) -> None:
    agent = make(tree, ROOT, b"hermes", stat.S_IFDIR)
    note, other = make(tree, agent, b"note"), make(tree, ROOT, b"hermes2")
    for theirs, expected in (
        ([lease("hermes")], [True, True, False]),
        ([lease("hermes/note")], [True, False, False]),
        ([lease("")], [True, True, True]),
        ([lease("hermes", -90)], [False, False, False]),  # over
        ([lease("hermes", 0, 30 * 24 * HOUR)], [False, False, False]),  # longer than leases can be
        ([], [False, False, False]),
    ):
        found = [barred(tree, ino, name, theirs=theirs) for ino, name in ((note, b""), (agent, b"new"), (other, b""))]
        assert found == expected, theirs


def test_of_two_leases_the_older_counts(tree: Tree) -> None:
    note = make(tree, ROOT, b"note")
    assert not barred(tree, note, b"", mine=[lease("note", -2)], theirs=[lease("note", -1)])
    assert barred(tree, note, b"", mine=[lease("note", -1)], theirs=[lease("note", -2)])
    assert not barred(tree, note, b"", mine=[lease("note")])


def test_what_readers_of_databases_make_the_cards_and_what_stays_here_are_never_barred(tree: Tree) -> None:
    everything = [lease("")]
    cards = make(tree, ROOT, b".vaultfs-devices", stat.S_IFDIR)
    wal, log = make(tree, ROOT, b"state.db-wal"), make(tree, ROOT, b"gateway.pid")
    assert not barred(tree, cards, b"x.json", theirs=everything)
    assert not barred(tree, wal, b"", theirs=everything)
    assert not barred(tree, ROOT, b"state.db-shm", theirs=everything)
    assert barred(tree, log, b"", theirs=everything)
    tree.changes.outside = frozenset({(ROOT, b"gateway.pid")})
    assert not barred(tree, log, b"", theirs=everything)
    tree.names.unlink(ROOT, b"gateway.pid")
    assert not barred(tree, log, b"", theirs=everything), "what has no name is nobody's"
