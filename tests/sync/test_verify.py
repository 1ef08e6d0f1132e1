"""What is wrong with a tree is found, and named by its path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from tests.support.nodes import MemoryNodes
from tests.sync.pictures import DEVICES, KEY, directory, entry_of, file, start, unit
from vaultfs.format.node import BRANCHES, Branch, Commit, Dot, Entry, Leaf, NodeDamagedError, Ref
from vaultfs.format.node_codec import encode_node
from vaultfs.format.node_summary import Summary
from vaultfs.format.node_trie import Trie
from vaultfs.sync.edits import Editor
from vaultfs.sync.merge import State, load_commit, merge
from vaultfs.sync.verify import Problem, verify

if TYPE_CHECKING:
    from collections.abc import Callable

A, B = DEVICES[:2]


@pytest.fixture(autouse=True)
def small_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaultfs.format.node_summary.LEAF_WEIGHT", 1000)


@pytest.fixture
def tree() -> tuple[MemoryNodes, State]:
    nodes, empty = start()
    editor = Editor(nodes, empty, Dot(A, 1), 1)
    for name in (b"d", b"e"):
        editor.write((name,), directory(name.ljust(16), 1))
        for number in range(40):
            editor.write((name, b"%d" % number), file(b"%016d" % number, b"x", number))
    editor.write((b"u",), unit(b"u" * 16, 1))
    editor.write((b"u", b"f"), file(b"f" * 16, b"f", 1))
    base = editor.commit()
    editor = Editor(nodes, base, Dot(A, 2), 2)
    editor.rename((b"e",), (b"moved",))
    editor.write((b"d", b"1"), file(b"%016d" % 1, b"A", 5))
    other = Editor(nodes, base, Dot(B, 1), 2)
    other.write((b"d", b"1"), file(b"%016d" % 1, b"B", 6))
    return nodes, merge(nodes, editor.commit(), other.commit())


def test_nothing_wrong(tree: tuple[MemoryNodes, State]) -> None:
    nodes, state = tree
    assert list(verify(nodes, state.root)) == []


def test_every_missing_and_every_swapped_node(tree: tuple[MemoryNodes, State]) -> None:
    """Each node that the commit needs, taken away or replaced by another one."""
    nodes, state = tree
    used = MemoryNodes(KEY, nodes)
    needed: set[bytes] = set()

    class Watching:
        def get(self, node_id: bytes, /) -> bytes:
            needed.add(node_id)
            return used.get(node_id)

        def put(self, data: bytes, /) -> bytes:
            return used.put(data)

    assert list(verify(Watching(), state.root)) == []
    assert len(needed) > 20
    for node_id in needed:
        kept = nodes.new.pop(node_id)
        found = list(verify(used, state.root))
        assert [problem.detail for problem in found][:1] == ["a node that is missing"]
        nodes.new[node_id] = encode_node(Leaf((entry_of(b"other", file(bytes(16), b"")),)))
        (first, *_) = verify(used, state.root)
        assert first.detail == "a damaged node: another node than was asked for"
        with pytest.raises(NodeDamagedError):
            used.get(node_id)
        nodes.new[node_id] = kept


def lying(change: Callable[[Ref], Ref]) -> Callable[[Trie, Ref], Ref]:
    return lambda _, ref: change(ref)


def in_a_leaf(trie: Trie, ref: Ref) -> Ref:
    """All in one node, however much it is."""
    entries = sorted(trie.entries(ref), key=lambda entry: entry.name)
    return Summary().add_entries(entries).ref(trie.nodes.put(encode_node(Leaf(tuple(entries)))))


def in_a_branch(trie: Trie, _: Ref) -> Ref:
    """One name, with a branch above it that nobody needs, at the wrong place."""
    leaf = trie.build([entry_of(b"a", file(bytes(16), b"", dot=Dot(A, 1)))])
    children: list[Ref | None] = [None] * BRANCHES
    children[0] = leaf
    assert leaf is not None
    return Summary().add_child(leaf).ref(trie.nodes.put(encode_node(Branch(tuple(children)))))


def stamped_within(trie: Trie, _: Ref) -> Ref:
    """A common `placed` that is written in the node instead of on the reference."""
    entry = entry_of(b"a", replace(file(bytes(16), b"", dot=Dot(A, 1)), placed=Dot(A, 2)))
    return Summary().add_entries([entry]).ref(trie.nodes.put(encode_node(Leaf((entry,)))))


LIES: dict[str, Callable[[Trie, Ref], Ref]] = {
    "names": lying(lambda ref: replace(ref, names=ref.names + 1)),
    "size": lying(lambda ref: replace(ref, size=0)),
    "crowded": lying(lambda ref: replace(ref, crowded=not ref.crowded)),
    "versions": lying(lambda ref: replace(ref, versions=())),
    "weight": lying(lambda ref: replace(ref, weight=ref.weight - 1)),
    "placed": lying(lambda ref: replace(ref, placed=(Dot(B, 9),))),
    "one node": in_a_leaf,
    "two nodes": in_a_branch,
    "stamp within": stamped_within,
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_nodes_that_lie(lie: Callable[[Trie, Ref], Ref], tree: tuple[MemoryNodes, State]) -> None:
    nodes, state = tree
    trie, commit = Trie(nodes), load_commit(nodes, state.root)
    entry = trie.lookup(commit.below, b"d")
    assert entry is not None
    assert entry.below is not None
    below = trie.apply(commit.below, {b"d": Entry(b"d", entry.elements, lie(trie, entry.below))})
    root = nodes.put(encode_node(Commit(commit.elements, below, commit.conflicts)))
    found = list(verify(nodes, root))
    assert found
    assert {problem.path[:1] for problem in found} == {(b"d",)}
    assert all(isinstance(problem, Problem) for problem in found)
