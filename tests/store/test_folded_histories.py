"""Folded directories come, are edited, and crash, in any order: the tree stays consistent."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.elements import (
    a_directory,
    a_file,
    a_link,
    a_ref,
    named,
)
from tests.store.folding import folded
from tests.store.stores import StoreMaker, content, make_file, names_of, work_off
from tests.store.test_arrivals import problems
from vaultfs.format.node import Block, Blocks, Indirect
from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.tree import ROOT
from vaultfs.tree.arrivals import Swap
from vaultfs.tree.housekeeping import SyncWork
from vaultfs.tree.incoming import Incoming

if TYPE_CHECKING:
    import pytest


def test_a_crash_after_any_frame_leaves_all_or_nothing(stores: StoreMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expanding, unfolding, replacing a unit, refolding: stopped after each frame that they write."""
    tree = stores.new()
    listed = Blocks(tuple(Block(idx, os.urandom(32), 5) for idx in range(600)))
    unit = folded(tree, b"unit")
    inside = [named(b"%03d" % number, a_file(b"1")) for number in range(150)]
    long = named(b"long", a_file(Indirect(600, 2, bytes(32)), 600 * BLOCK_BYTES))
    tree.arrivals.expand(unit, [*inside, long])
    small = folded(tree)
    copies = []
    end = tree.state.end

    def end_and_copy(*args: bytes) -> object:
        out = end(*args)
        copies.append(stores.killed(tree))
        return out

    monkeypatch.setattr(tree.state, "end", end_and_copy)
    tree.arrivals.unfold(tree.names.lookup(unit, b"long").ino, listed.blocks)
    tree.arrivals.expand(small, inside)
    staged = tree.arrivals.stage(named(b"unit", a_directory(), a_ref(5)))
    batch = tree.arrivals.prepare([Swap(ROOT, b"unit", staged.token), Swap(ROOT, b"d", attributes=a_directory(mode=0))])
    tree.arrivals.place(batch)
    tree.arrivals.done(batch)
    assert len(copies) > 10
    for copy in copies:
        again = stores.open(copy)
        assert problems(again) == []
        now = again.names.lookup(ROOT, b"unit").ino
        assert (again.inode(small).mode & 0o777 == 0) == (now != unit), "both or neither"
        if now == unit:
            assert len(names_of(again, unit)) == 151
            there = again.state.all("SELECT count(*) FROM extent")
            assert again.arrivals.is_folded(names_of(again, unit)[b"long"]) or there == [(600,)]
        else:
            assert again.arrivals.folded(now) == a_ref(5)
            assert again.stats().files == 150
        if not again.arrivals.is_folded(small):
            assert len(names_of(again, small)) == 150
        assert again.state.all("SELECT ino FROM orphan") == []
        stores.abandon(again)


NAMES = [b"a", b"b", b"c", b"d"]


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "bring-file",
                "bring-dir",
                "take",
                "expand",
                "part",
                "write",
                "make",
                "remove",
                "crash",
                "checkpoint",
                "link",
            ]
        ),
        st.integers(0, 5),
        st.sampled_from(NAMES),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_any_order_of_arrivals_edits_and_crashes_leaves_a_consistent_tree(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bytes]]
) -> None:
    stores = StoreMaker(tmp_path_factory.mktemp("folds"))
    world = World(stores)
    try:
        for number, (what, where, name) in enumerate(steps):
            world.step(number, what, where, name)
        world.compare()
        world.tree = stores.crash(world.tree)
        world.compare()
    finally:
        stores.end()


class World:
    """A tree, and what should be in it: directories as dicts, files as bytes, "?" for what is folded."""

    def __init__(self, stores: StoreMaker) -> None:
        self.stores = stores
        self.tree = stores.new()
        self.tree.start_tracking()
        self.model: dict[bytes, object] = {}
        self.files: list[tuple[object, bytes]] = []

    def directories(self) -> list[tuple[int, dict[bytes, object]]]:
        found: list[tuple[int, dict[bytes, object]]] = [(ROOT, self.model)]
        for ino, inside in found:
            for name, what in inside.items():
                if isinstance(what, dict):
                    found.append((self.tree.names.lookup(ino, name).ino, what))
        return found

    def step(self, number: int, what: str, where: int, name: bytes) -> None:
        tree = self.tree
        if what == "crash":
            self.tree = self.stores.crash(tree)
            return
        if what == "checkpoint":
            work_off(SyncWork(tree.keeper))
            return
        choices = self.directories()
        parent, inside = choices[where % len(choices)]
        existing = inside.get(name)
        if what in {"bring-file", "bring-dir", "link", "take"}:
            self._arrive(number, what, parent, inside, name)
        elif what in {"expand", "part"} and existing == "?":
            ino = tree.names.lookup(parent, name).ino
            # What is in a folded directory is always the same here, as its reference says.
            tree.arrivals.expand(ino, _INSIDE, last=what == "expand")
            if what == "expand":
                inside[name] = {b"a": b"A", b"b": "?", b"c": b"l:t"}
        elif what == "write" and isinstance(existing, bytes) and not existing.startswith(b"l:"):
            ino = tree.names.lookup(parent, name).ino
            if tree.inode(ino).nlink == 1:
                tree.content.write(ino, len(existing), b"+%d" % number)
                inside[name] = existing + b"+%d" % number
        elif what == "make" and existing is None:
            make_file(tree, name, b"%d" % number, parent)
            inside[name] = b"%d" % number
        elif what == "remove" and isinstance(existing, bytes):
            ino = tree.names.lookup(parent, name).ino
            tree.names.unlink(parent, name)
            tree.forget(ino)
            del inside[name]

    def _arrive(self, number: int, what: str, parent: int, inside: dict[bytes, object], name: bytes) -> None:
        arrivals = self.tree.arrivals
        new: object = None
        if what == "bring-file":
            new = b"file %d" % number
            self.files.append((a_file(new, counter=number + 1), new))
            incoming = Incoming(name, self.files[-1][0])  # type: ignore[arg-type]
        elif what == "bring-dir":
            new = "?"
            incoming = Incoming(name, a_directory(counter=number + 1), a_ref())
        elif what == "link" and self.files:
            element, new = self.files[number % len(self.files)]
            incoming = Incoming(name, element)  # type: ignore[arg-type]
        token = None if new is None else arrivals.stage(incoming).token
        swap = Swap(parent, name, token, whole=True)
        busy = arrivals.busy(swap)
        batch = arrivals.prepare([swap])
        try:
            arrivals.place(batch)
        except OSError:
            assert busy
        else:
            assert not busy
            inside.pop(name, None)
            if new is not None:
                inside[name] = new
        arrivals.done(batch)

    def compare(self) -> None:
        assert problems(self.tree) == []
        for ino, inside in self.directories():
            found = names_of(self.tree, ino)
            assert found.keys() == inside.keys()
            for name, what in inside.items():
                node = self.tree.inode(found[name])
                if isinstance(what, bytes):
                    link = stat.S_ISLNK(node.mode)
                    assert (b"l:" + node.target if link else content(self.tree, node.ino)) == what
                else:
                    assert self.tree.arrivals.is_folded(node.ino) == (what == "?")
        files, directories = 0, 1
        inos = set()
        for ino, inside in self.directories():
            inos.update(self.tree.names.lookup(ino, name).ino for name in inside)
        for ino in inos:
            is_dir = self.tree.inode(ino).is_dir
            files, directories = files + (not is_dir), directories + is_dir
        while (work := self.tree.arrivals.due()) is not None:
            work_off(work)
        assert directories <= self.tree.stats().directories
        assert files <= self.tree.stats().files


_INSIDE = [
    named(b"a", a_file(b"A")),
    named(b"b", a_directory(), a_ref()),
    named(b"c", a_link(b"t")),
]
