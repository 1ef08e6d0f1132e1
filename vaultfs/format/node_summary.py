"""What a reference to a node says about it, so that most questions need not read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blake3 import blake3
from msgspec.structs import replace

from vaultfs.format.node import (
    BRANCHES,
    DEPTH_MAX,
    LEAF_WEIGHT,
    Blocks,
    Directory,
    Dot,
    Entry,
    File,
    Group,
    Inline,
    Ref,
    Span,
    Symlink,
    Unit,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultfs.format.node import Element

_BITS = BRANCHES.bit_length() - 1


def bucket(name: bytes, depth: int) -> int:
    """Which child of a branch at `depth` a name belongs to: 4 bits of its BLAKE3, from the lowest up."""
    return (int.from_bytes(blake3(name).digest(8), "little") >> (_BITS * depth)) & (BRANCHES - 1)


def fits_leaf(width: int, weight: int, depth: int) -> bool:
    """Whether `width` names of `weight` together are one leaf: a question of what is there, not of how it came."""
    return width <= 1 or weight <= LEAF_WEIGHT or depth >= DEPTH_MAX


def weight(entry: Entry) -> int:
    """About as many bytes as the entry takes. Dots don't count, so that a stamp changes no directory's shape."""
    total = 16 + len(entry.name) + (120 if entry.below is not None else 0)
    return total + sum(_element_weight(element) for element in entry.elements)


def _element_weight(element: Element) -> int:
    if isinstance(element, Group):
        return 64 + sum(64 + _element_weight(member.file) for member in element.members)
    total = 96 + sum(8 + len(name) + len(value) for name, value in element.xattrs)
    if isinstance(element, File):
        content = element.content
        if isinstance(content, Inline):
            return total + len(content.data)
        return total + (40 * len(content.blocks) if isinstance(content, Blocks) else 40)
    if isinstance(element, Symlink):
        return total + len(element.target)
    return total + (120 if isinstance(element, Unit) else 0)


def element_size(element: Element) -> int:
    """The bytes of the files that an element stands for."""
    if isinstance(element, File):
        return element.size
    if isinstance(element, Group):
        return sum(member.file.size for member in element.members)
    return element.below.size if isinstance(element, Unit) and element.below is not None else 0


def has_siblings(entry: Entry) -> bool:
    """Whether more than one thing stands under the name: elements, or a file and what is below a directory."""
    elements = entry.elements
    return len(elements) > 1 or (entry.below is not None and bool(elements) and not isinstance(elements[0], Directory))


def placed_by(element: Element, dot: Dot | None) -> Element:
    """The same element, having come to its place in commit `dot`."""
    return element if element.placed == dot else replace(element, placed=dot)


def is_plain(ref: Ref) -> bool:
    """Whether no `placed` is written in the node or below it, so that a stamp on the reference says it all."""
    return ref.stamp is not None or not ref.placed


def stamped(ref: Ref, dot: Dot | None) -> Ref:
    """A plain directory, everything in it having come to its place in commit `dot`."""
    return ref if ref.stamp == dot else replace(ref, stamp=dot)


def stamped_entry(entry: Entry, dot: Dot | None) -> Entry:
    """The entry of a plain directory as it is under a stamp: what is below it is plain, too."""
    elements = tuple(placed_by(element, dot) for element in entry.elements)
    return Entry(entry.name, elements, None if entry.below is None else stamped(entry.below, dot))


def common_stamp(entries: Iterable[Entry]) -> Dot | None:
    """The `placed` that everything in these entries has, all the way down; None where there is no such."""
    found: set[Dot | None] = set()
    for entry in entries:
        found.update(element.placed for element in entry.elements)
        if entry.below is not None:
            found.add(entry.below.stamp)
        if len(found) > 1 or None in found:
            return None
    return found.pop() if found else None


class Summary:
    """Adds up what a `Ref` says."""

    __slots__ = ("_high", "_low", "_placed", "crowded", "names", "size", "weight", "width")

    def __init__(self) -> None:
        self.width = self.weight = self.names = self.size = 0
        self.crowded = False
        self._low: dict[bytes, int] = {}
        self._high: dict[bytes, int] = {}
        self._placed: dict[bytes, int] = {}

    def add_entries(self, entries: Iterable[Entry]) -> Summary:
        """Count entries of a leaf."""
        for entry in entries:
            self.width += 1
            self.names += 1
            self.weight += weight(entry)
            self.crowded |= has_siblings(entry)
            for element in entry.elements:
                self.size += element_size(element)
                self._add_version(*element.version, element.version.counter)
                if element.placed is not None:
                    self._add_placed(element.placed)
                if isinstance(element, Unit) and element.below is not None:
                    self.names += element.below.names
            if entry.below is not None:
                self._add_below(entry.below)
        return self

    def add_child(self, ref: Ref) -> Summary:
        """Count a child of a branch."""
        self.width += ref.width
        self.weight += ref.weight
        self._add_below(ref)
        return self

    def _add_below(self, ref: Ref) -> None:
        self.names += ref.names
        self.size += ref.size
        self.crowded |= ref.crowded
        for span in ref.versions:
            self._add_version(*span)
        for dot in ref.placed if ref.stamp is None else (ref.stamp,):
            self._add_placed(dot)

    def _add_version(self, device: bytes, low: int, high: int) -> None:
        if self._high.get(device, 0) < high:
            self._high[device] = high
        if self._low.get(device, low) >= low:
            self._low[device] = low

    def _add_placed(self, dot: Dot) -> None:
        if self._placed.get(dot.device, 0) < dot.counter:
            self._placed[dot.device] = dot.counter

    def ref(self, node_id: bytes) -> Ref:
        """What was counted, as the reference to the node `node_id`."""
        versions = tuple(Span(device, self._low[device], self._high[device]) for device in sorted(self._low))
        placed = tuple(Dot(device, self._placed[device]) for device in sorted(self._placed))
        return Ref(node_id, None, self.width, self.weight, self.names, self.size, self.crowded, versions, placed)
