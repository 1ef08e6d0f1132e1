"""Directories as tries of nodes: build, look up, list, change, compare.

Nothing is changed in place: a change writes the nodes on the way to it anew and leaves the rest (path copying). The
nodes are a function of what is in the directory alone, stamps included: equal directories have equal nodes, however
they came about.

`LEAF_WEIGHT` and `BRANCHES` were measured with 100,000 entries (files of one block, names of 20 bytes, three
devices): 16 KiB and 16 write 10 KB in 4 nodes for one change, at most 11 KB; 64 KiB write 27 to 56 KB; with 32
branches four times as many nodes hold the same directory, which is what a listing has to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from vaultfs.format.node import BRANCHES, Branch, Entry, Leaf, Ref
from vaultfs.format.node_codec import check_node, decode_directory, encode_node
from vaultfs.format.node_summary import (
    Summary,
    bucket,
    common_stamp,
    fits_leaf,
    has_siblings,
    is_plain,
    placed_by,
    stamped,
    stamped_entry,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vaultfs.format.node import Dot, Nodes

_CACHED = 512


class Split(NamedTuple):
    """A part of a directory with a child for every value of the next bits of the hash; not stored yet."""

    children: list[Part | None]


Names = dict[bytes, Entry]
"""Entries by name: a part of a directory that is not stored yet."""

Part = Ref | Names | Split


class Trie:
    """Reads and writes the directories in `nodes`."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self._cache: dict[bytes, Leaf | Branch] = {}

    def node(self, ref: Ref) -> Leaf | Branch:
        """The node itself, without the stamp. Raises what `nodes.get` raises, and `NodeDamagedError`."""
        found = self._cache.get(ref.id)
        if found is None:
            found = decode_directory(self.nodes.get(ref.id))
            self._keep(ref.id, found)
        return found

    def _keep(self, node_id: bytes, node: Leaf | Branch) -> None:
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        self._cache[node_id] = node

    def open(self, part: Part, depth: int) -> Names | list[Part | None]:
        """One level of a part: its entries if it is a leaf, else its children. Stamps are pushed down to them."""
        if isinstance(part, Split):
            return part.children
        if not isinstance(part, Ref):
            if fits_leaf(len(part), Summary().add_entries(part.values()).weight, depth):
                return part
            return self.divide(part, depth)
        node, stamp = self.node(part), part.stamp
        if isinstance(node, Branch):
            return [child if child is None or stamp is None else stamped(child, stamp) for child in node.children]
        if stamp is None:
            return {entry.name: entry for entry in node.entries}
        return {entry.name: stamped_entry(entry, stamp) for entry in node.entries}

    @staticmethod
    def divide(names: Names, depth: int) -> list[Part | None]:
        """The children that a branch at `depth` has for these entries."""
        children: list[Names | None] = [None] * BRANCHES
        for name, entry in names.items():
            number = bucket(name, depth)
            child = children[number]
            if child is None:
                child = children[number] = {}
            child[name] = entry
        return list(children)

    def assemble(self, children: list[Part | None], depth: int) -> Part:
        """The part that has these children: entries again where they have become few enough for a leaf."""
        width = weight = 0
        for child in children:
            if child is not None:
                counted = self._count(child)
                width, weight = width + counted[0], weight + counted[1]
        if not fits_leaf(width, weight, depth):
            return Split(children)
        names: Names = {}
        for child in children:
            if child is not None:
                names.update((entry.name, entry) for entry in self._all(child, depth + 1))
        return names

    def _count(self, part: Part) -> tuple[int, int]:
        if isinstance(part, Ref):
            return part.width, part.weight
        if isinstance(part, Split):
            counts = [self._count(child) for child in part.children if child is not None]
            return sum(count[0] for count in counts), sum(count[1] for count in counts)
        summary = Summary().add_entries(part.values())
        return summary.width, summary.weight

    def store(self, part: Part | None, depth: int = 0) -> Ref | None:
        """Write what is not stored yet. None for a directory with nothing in it."""
        if part is None or isinstance(part, Ref):
            return part
        if not isinstance(part, Split):
            if not part:
                return None
            summary = Summary().add_entries(part.values())
            if fits_leaf(summary.width, summary.weight, depth):
                return self._put_leaf([part[name] for name in sorted(part)], summary)
        opened = self.open(part, depth)
        if isinstance(opened, dict):  # pragma: no cover - the branch above took it
            raise TypeError
        return self._put_branch([self.store(child, depth + 1) for child in opened])

    def _put_leaf(self, entries: list[Entry], summary: Summary) -> Ref:
        stamp = common_stamp(entries)
        if stamp is not None:
            entries = [stamped_entry(entry, None) for entry in entries]
        return self._put(Leaf(tuple(entries)), summary, stamp)

    def _put_branch(self, children: list[Ref | None]) -> Ref | None:
        stamps = {child.stamp for child in children if child is not None}
        if not stamps:
            return None
        stamp = stamps.pop() if len(stamps) == 1 else None
        if stamp is not None:
            children = [child and stamped(child, None) for child in children]
        summary = Summary()
        for child in children:
            if child is not None:
                summary.add_child(child)
        return self._put(Branch(tuple(children)), summary, stamp)

    def _put(self, node: Leaf | Branch, summary: Summary, stamp: Dot | None) -> Ref:
        check_node(node)
        ref = summary.ref(self.nodes.put(encode_node(node)))
        self._keep(ref.id, node)
        return ref if stamp is None else replace(ref, stamp=stamp, placed=())

    def stamp(self, ref: Ref, dot: Dot) -> Ref:
        """The same directory, everything in it having come to its place in commit `dot`: it was renamed.

        Reads and writes only what leads to elements that came to their place later than they were written. There
        must be no siblings anywhere below.
        """
        if is_plain(ref):
            return stamped(ref, dot)
        stored = self.store(self._stamp(ref, dot, 0))
        assert stored is not None  # noqa: S101 - there was something in it, and there still is
        return stored

    def _stamp(self, ref: Ref, dot: Dot, depth: int) -> Part:
        if is_plain(ref):
            return stamped(ref, dot)
        opened = self.open(ref, depth)
        if isinstance(opened, dict):
            names: Names = {}
            for name, entry in opened.items():
                elements = tuple(placed_by(element, dot) for element in entry.elements)
                names[name] = Entry(name, elements, entry.below and self.stamp(entry.below, dot))
            return names
        return Split([self._stamp(child, dot, depth + 1) if isinstance(child, Ref) else child for child in opened])

    def build(self, entries: Iterable[Entry]) -> Ref | None:
        """A directory of these entries."""
        return self.store({entry.name: entry for entry in entries})

    def lookup(self, ref: Ref | None, name: bytes) -> Entry | None:
        """The entry of that name; None where there is none."""
        depth, stamp = 0, None
        while ref is not None:
            stamp = stamp or ref.stamp
            node = self.node(ref)
            if isinstance(node, Leaf):
                found = _search(node.entries, name)
                return found if found is None or stamp is None else stamped_entry(found, stamp)
            ref = node.children[bucket(name, depth)]
            depth += 1
        return None

    def entries(self, ref: Ref | None) -> Iterator[Entry]:
        """All entries, in the order of their hashes (in a small directory: of their names)."""
        return self._all(ref, 0) if ref is not None else iter(())

    def crowded(self, ref: Ref | None) -> Iterator[Entry]:
        """The entries that have siblings, or something below them has: reads nothing else."""
        if ref is not None:
            yield from (entry for entry in self._all(ref, 0, only_crowded=True) if is_crowded(entry))

    def _all(self, part: Part, depth: int, *, only_crowded: bool = False) -> Iterator[Entry]:
        if only_crowded and isinstance(part, Ref) and not part.crowded:
            return
        opened = self.open(part, depth)
        if isinstance(opened, dict):
            yield from opened.values()
            return
        for child in opened:
            if child is not None:
                yield from self._all(child, depth + 1, only_crowded=only_crowded)

    def apply(self, ref: Ref | None, changes: Mapping[bytes, Entry | None]) -> Ref | None:
        """The directory with these entries put in or (None) taken out. Unchanged parts keep their nodes."""
        return self.store(self._apply(ref, dict(changes), 0)) if changes else ref

    def _apply(self, part: Part | None, changes: Mapping[bytes, Entry | None], depth: int) -> Part | None:
        opened = {} if part is None else self.open(part, depth)
        if isinstance(opened, dict):
            names = {**opened, **changes}
            kept = {name: entry for name, entry in names.items() if entry is not None}
            return part if kept == opened else kept
        divided: list[dict[bytes, Entry | None]] = [{} for _ in range(BRANCHES)]
        for name, entry in changes.items():
            divided[bucket(name, depth)][name] = entry
        children = [
            self._apply(child, few, depth + 1) if few else child for child, few in zip(opened, divided, strict=True)
        ]
        if all(new is old for new, old in zip(children, opened, strict=True)):
            return part
        return self.assemble(children, depth)

    def diff(
        self, a: Ref | None, b: Ref | None, *, placed: bool = True
    ) -> Iterator[tuple[bytes, Entry | None, Entry | None]]:
        """The names whose entries differ, with both. Parts with equal nodes are not read.

        With `placed=False` a difference in `placed` alone counts for nothing (what a checkout wants); some entries
        that differ in nothing else may still be among them.
        """
        yield from self._diff(a, b, 0, placed)

    def _diff(
        self, a: Part | None, b: Part | None, depth: int, placed: bool
    ) -> Iterator[tuple[bytes, Entry | None, Entry | None]]:
        if _same(a, b, placed=placed):
            return
        opened_a = {} if a is None else self.open(a, depth)
        opened_b = {} if b is None else self.open(b, depth)
        if isinstance(opened_a, dict) and isinstance(opened_b, dict):
            for name in sorted(opened_a.keys() | opened_b.keys()):
                old, new = opened_a.get(name), opened_b.get(name)
                if old != new:
                    yield name, old, new
            return
        children_a = self.divide(opened_a, depth) if isinstance(opened_a, dict) else opened_a
        children_b = self.divide(opened_b, depth) if isinstance(opened_b, dict) else opened_b
        for x, y in zip(children_a, children_b, strict=True):
            yield from self._diff(x, y, depth + 1, placed)


def is_crowded(entry: Entry) -> bool:
    """Whether the name has siblings, or one below it."""
    return has_siblings(entry) or (entry.below is not None and entry.below.crowded)


def _same(a: Part | None, b: Part | None, *, placed: bool) -> bool:
    if isinstance(a, Ref) and isinstance(b, Ref):
        return a.id == b.id and (a.stamp == b.stamp or not placed)
    return a is b


def _search(entries: tuple[Entry, ...], name: bytes) -> Entry | None:
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high) // 2
        if entries[middle].name < name:
            low = middle + 1
        else:
            high = middle
    return entries[low] if low < len(entries) and entries[low].name == name else None
