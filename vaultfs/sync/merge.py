"""Merging two commits (docs/merging.md): a set operation on elements that looks at dots alone.

Kept is what both sides have, and what one side has and the other does not know. Equal nodes are not read, nor
nodes whose reference already says that all or nothing in them is known; so the cost follows what differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vaultfs.format.node import Commit, Entry, Ref
from vaultfs.format.node_codec import decode_node, encode_node
from vaultfs.format.node_trie import Trie
from vaultfs.sync import elements
from vaultfs.sync.depth import allow_depth
from vaultfs.sync.vectors import Vector, includes, joined, knows, knows_all, knows_none

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultfs.format.node import Nodes
    from vaultfs.format.node_trie import Names, Part


class State(NamedTuple):
    """A tree and what it includes: the id of a commit's root node, and a version vector."""

    root: bytes
    vector: Vector


def load_commit(nodes: Nodes, root: bytes) -> Commit:
    """The root node of a commit. Raises what `nodes.get` raises, and `NodeDamagedError`."""
    return decode_node(nodes.get(root), Commit)


def merge(nodes: Nodes, a: State, b: State) -> State:
    """Both together: the same for (a, b) and (b, a), and for several states in whatever order.

    A state that includes all the other does is the result as it is, and is not read.
    """
    if a.root == b.root:
        return State(a.root, joined(a.vector, b.vector))
    a_first, b_first = includes(a.vector, b.vector), includes(b.vector, a.vector)
    if a_first and b_first:
        # Equal trees have equal roots, so a device's counters were used twice. What is known cannot be told any more.
        both = merge_trees(nodes, State(a.root, {}), State(b.root, {}))
        return State(both.root, joined(a.vector, b.vector))
    if a_first or b_first:
        return a if a_first else b
    return merge_trees(nodes, a, b)


def merge_trees(nodes: Nodes, a: State, b: State) -> State:
    """`merge` without looking first whether one side includes the other."""
    allow_depth()
    merging = _Merging(Trie(nodes), a.vector, b.vector)
    x, y = load_commit(nodes, a.root), load_commit(nodes, b.root)
    commit = Commit(
        elements.merged(x.elements, y.elements, a.vector, b.vector),
        merging.directories(x.below, y.below),
        merging.directories(x.conflicts, y.conflicts),
    )
    return State(nodes.put(encode_node(commit)), joined(a.vector, b.vector))


class _Merging:
    """One merge: where the nodes are, and what both sides have seen."""

    def __init__(self, trie: Trie, vector_a: Mapping[bytes, int], vector_b: Mapping[bytes, int]) -> None:
        self._trie = trie
        self._a = vector_a
        self._b = vector_b

    def directories(self, a: Ref | None, b: Ref | None) -> Ref | None:
        return self._trie.store(self._parts(a, b, 0))

    def _parts(self, a: Part | None, b: Part | None, depth: int) -> Part | None:
        if a is None:
            return None if b is None else self._unknown(b, self._a, depth)
        if b is None:
            return self._unknown(a, self._b, depth)
        if a == b:
            return a
        opened_a, opened_b = self._trie.open(a, depth), self._trie.open(b, depth)
        if isinstance(opened_a, dict) and isinstance(opened_b, dict):
            return self._names(opened_a, opened_b)
        children_a = self._trie.divide(opened_a, depth) if isinstance(opened_a, dict) else opened_a
        children_b = self._trie.divide(opened_b, depth) if isinstance(opened_b, dict) else opened_b
        children = [self._parts(x, y, depth + 1) for x, y in zip(children_a, children_b, strict=True)]
        return self._trie.assemble(children, depth)

    def _names(self, a: Names, b: Names) -> Names:
        out: Names = {}
        for name in a.keys() | b.keys():
            x, y = a.get(name), b.get(name)
            if x == y and x is not None:
                out[name] = x
                continue
            none = Entry(name, (), None)
            x, y = x or none, y or none
            kept = elements.merged(x.elements, y.elements, self._a, self._b)
            below = self.directories(x.below, y.below)
            if kept or below is not None:
                out[name] = Entry(name, kept, below)
        return out

    def _unknown(self, part: Part, vector: Mapping[bytes, int], depth: int) -> Part | None:
        """What the other side, which has nothing here, does not know."""
        if isinstance(part, Ref):
            if knows_all(vector, part):
                return None
            if knows_none(vector, part):
                return part
        opened = self._trie.open(part, depth)
        if isinstance(opened, dict):
            names: Names = {}
            for name, entry in opened.items():
                kept = self._unknown_entry(entry, vector)
                if kept is not None:
                    names[name] = kept
            return part if names == opened else names
        children = [child and self._unknown(child, vector, depth + 1) for child in opened]
        if all(new is old for new, old in zip(children, opened, strict=True)):
            return part
        return self._trie.assemble(children, depth)

    def _unknown_entry(self, entry: Entry, vector: Mapping[bytes, int]) -> Entry | None:
        kept = tuple(element for element in entry.elements if not knows(vector, element))
        below = entry.below
        if below is not None:
            below = self._trie.store(self._unknown(below, vector, 0))
        return Entry(entry.name, kept, below) if kept or below is not None else None
