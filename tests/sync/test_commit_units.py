"""Directories that are one unit, in commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.nodes import MemoryNodes
from tests.sync.machine_edits import A, B, Machine, Start, path
from tests.sync.pictures import KEY
from vaultfs.format.node import Directory, Dot, Unit
from vaultfs.format.node_trie import Trie
from vaultfs.sync.edits import empty_root
from vaultfs.sync.elements import in_place
from vaultfs.sync.merge import State, merge

if TYPE_CHECKING:
    from vaultfs.tree.edit import Edit


@pytest.fixture
def empty() -> tuple[Machine, Machine, State]:
    nodes = MemoryNodes(KEY)
    top = Directory(b"r" * 16, Dot(bytes(16), 1), None, 0, 0o755, None, None, 0, ())
    return Machine(nodes, A), Machine(nodes, B), State(empty_root(nodes, top), {})


def git(machine: Machine, at: str, head: bytes = b"ref: main") -> list[Edit]:
    made = [machine.directory(at), machine.directory(f"{at}/objects"), machine.directory(f"{at}/refs")]
    return [*made, machine.file(f"{at}/HEAD", head)]


def test_a_git_directory_becomes_a_unit(empty: Start) -> None:
    a, b, base = empty
    state = a.commit(base, a.directory("repo"), *git(a, "repo/.git"), a.file("repo/x", b"1"))
    assert isinstance(a.element(state, "repo/.git"), Unit)
    assert a.read(state, "repo/.git/HEAD") == b"ref: main"
    other = b.commit(state, b.file("repo/.git/HEAD", b"B", time=9), now=9)
    mine = a.commit(state, a.file("repo/.git/objects/o", b"A"), a.directory("repo/.git", time=2), now=2)
    merged = merge(a.nodes, other, mine)
    assert a.read(merged, "repo/.git/HEAD") == b"B"
    assert a.element(merged, "repo/.git/objects/o") is None
    ((where, kept),) = a.kept(merged)
    assert where == path("repo/.git")
    assert isinstance(kept, Unit)
    assert isinstance(a.element(a.commit(merged, a.directory("repo/.git", time=3)), "repo/.git"), Unit)


def test_a_held_unit_is_concurrent_as_a_whole(empty: Start) -> None:
    a, b, base = empty
    start = a.commit(base, *git(a, "g"), now=1)
    seen = a.element(start, "g")
    newer = b.commit(start, b.file("g/HEAD", b"B", time=9), now=9)
    merged = merge(a.nodes, start, newer)
    mine = a.commit(merged, a.file("g/HEAD", b"A", time=5), a.file("g/refs/r", b"r"), held={"g": seen}, now=5)
    assert a.read(mine, "g/HEAD") == b"B"
    assert a.element(mine, "g/refs/r") is None
    ((where, kept),) = a.kept(mine)
    assert where == path("g")
    trie = Trie(a.nodes)
    assert isinstance(kept, Unit)
    assert trie.lookup(kept.below, b"HEAD").elements[0].content.data == b"A"
    assert trie.lookup(trie.lookup(kept.below, b"refs").below, b"r").elements[0].content.data == b"r"
    # Nothing written in it: nothing to keep.
    assert a.kept(a.commit(merged, a.file("other", b"x"), held={"g": seen}, now=6)) == []


def test_many_units_write_their_directories_once(empty: Start) -> None:
    a, _, base = empty
    edits: list[Edit] = []
    for number in range(40):
        top = f"p{number}"
        edits += [a.directory(name) for name in (top, f"{top}/.git", f"{top}/.git/objects", f"{top}/.git/refs")]
        edits += [a.file(f"{top}/.git/{name}", b"x" * 100) for name in ("HEAD", "objects/a", "refs/b")]
    before = len(a.nodes.new)
    state = a.commit(base, *edits)
    assert isinstance(a.element(state, "p39/.git"), Unit)
    # In each two directories, the unit, and what it stands in.
    assert len(a.nodes.new) - before < 40 * 4 + 5


def test_other_attributes_of_a_unit_that_is_held_do_not_empty_it(empty: Start) -> None:
    a, b, base = empty

    def made(one: Machine) -> list[Edit]:
        names = [one.directory(name) for name in ("g", "g/objects", "g/refs")]
        return [*names, one.file("g/HEAD", one.device), one.file("g/x", one.device)]

    mine, theirs = a.commit(base, *made(a), now=1), b.commit(base, *made(b), now=2)
    seen = a.element(mine, "g")
    merged = merge(a.nodes, mine, theirs)
    assert a.read(merged, "g/x") == B, "the newer is in place"
    for more in ([], [a.file("g/y", b"new")]):
        state = a.commit(merged, a.directory("g"), *more, held={"g": seen})
        assert a.read(state, "g/x") == B
        ((where, unit),) = a.kept(state)
        assert where == path("g")
        assert isinstance(unit, Unit)
        found = {entry.name for entry in Trie(a.nodes).entries(unit.below)}
        assert found == {b"HEAD", b"objects", b"refs", b"x"} | ({b"y"} if more else set())


def test_a_unit_made_here_does_not_mix_with_one_that_came_meanwhile(empty: Start) -> None:
    a, b, base = empty

    def made(one: Machine) -> list[Edit]:
        names = [one.directory(name) for name in ("g", "g/objects", "g/refs")]
        return [*names, one.file("g/HEAD", one.device), one.file("g/x", one.device)]

    theirs = b.commit(base, *made(b), now=2)
    state = a.commit(theirs, *made(a), held={"g": None}, now=3)
    units = [unit for _, unit in a.kept(state)] + [a.element(state, "g")]
    assert len(units) == 2
    for unit in units:
        assert isinstance(unit, Unit)
        names = {entry.name: in_place(entry) for entry in Trie(a.nodes).entries(unit.below)}
        assert names.keys() == {b"HEAD", b"objects", b"refs", b"x"}
        assert names[b"x"].content.data == names[b"HEAD"].content.data == unit.version.device


def test_a_directory_that_becomes_a_unit_does_not_mix_with_the_one_that_came_meanwhile(empty: Start) -> None:
    """git was half done at the last commit here: what it goes on writing is not put into the other machine's."""
    a, b, base = empty
    folders = [b.directory(name) for name in ("g", "g/objects", "g/refs")]
    theirs = b.commit(base, *folders, b.file("g/HEAD", b.device), b.file("g/x", b.device), now=5)
    mine = a.commit(base, a.directory("g"), a.directory("g/objects"), a.file("g/HEAD", a.device), now=2)
    seen, merged = a.element(mine, "g"), merge(a.nodes, mine, theirs)
    assert isinstance(seen, Directory)
    state = a.commit(merged, a.directory("g/refs"), a.file("g/x", a.device), held={"g": seen}, now=7)
    units = [a.element(state, "g"), *(unit for where, unit in a.kept(state) if where == path("g"))]
    assert len(units) == 2
    for unit in units:
        assert isinstance(unit, Unit)
        names = {entry.name: in_place(entry) for entry in Trie(a.nodes).entries(unit.below)}
        assert names.keys() == {b"HEAD", b"objects", b"refs", b"x"}
        assert names[b"x"].content.data == names[b"HEAD"].content.data == unit.version.device
