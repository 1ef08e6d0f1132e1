"""A device whose counters were used twice goes on as another one.

A restored or cloned machine finds heads of its own on the remote that it does not know. What it committed since the
last head it does know carries dots that mean something else there; they become dots of its new device id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from vaultfs.format.node import Commit, Dot, Entry, Group, Member, Ref, Unit
from vaultfs.format.node_codec import encode_node
from vaultfs.format.node_trie import Names, Part, Split, Trie
from vaultfs.sync.depth import allow_depth
from vaultfs.sync.elements import sorted_elements
from vaultfs.sync.merge import State, load_commit

if TYPE_CHECKING:
    from vaultfs.format.node import Element, ElementBase, Nodes

_E = TypeVar("_E", bound="ElementBase")


def restamp(nodes: Nodes, state: State, device: bytes, above: int, new: bytes) -> State:
    """`state` with every commit of `device` above `above` counted as one of `new` instead, from 1 on.

    Reads and writes in proportion to what those commits changed. `new` must never have been used.
    """
    allow_depth()
    renaming = _Renaming(Trie(nodes), device, above, new)
    commit = load_commit(nodes, state.root)
    root = Commit(
        renaming.elements(commit.elements), renaming.directory(commit.below), renaming.directory(commit.conflicts)
    )
    vector = dict(state.vector)
    latest = vector.pop(device, 0)
    if above:
        vector[device] = min(latest, above)
    if latest > above:
        vector[new] = latest - above
    return State(nodes.put(encode_node(root)), dict(sorted(vector.items())))


class _Renaming:
    def __init__(self, trie: Trie, device: bytes, above: int, new: bytes) -> None:
        self._trie = trie
        self._device = device
        self._above = above
        self._new = new

    def _dot(self, dot: Dot) -> Dot:
        if dot.device == self._device and dot.counter > self._above:
            return Dot(self._new, dot.counter - self._above)
        return dot

    def _concerns(self, ref: Ref) -> bool:
        dots = [Dot(span.device, span.high) for span in ref.versions] + [*ref.placed]
        return any(self._dot(dot) != dot for dot in (*dots, *([ref.stamp] if ref.stamp else [])))

    def elements(self, elements: tuple[Element, ...]) -> tuple[Element, ...]:
        return sorted_elements([self._element(element) for element in elements])

    def _element(self, element: Element) -> Element:
        element = self._dots(element)
        if isinstance(element, Unit):
            return replace(element, below=self.directory(element.below))
        if isinstance(element, Group):
            members = tuple(Member(member.suffix, self._dots(member.file)) for member in element.members)
            return replace(element, members=members)
        return element

    def _dots(self, element: _E) -> _E:
        version, placed = self._dot(element.version), element.placed and self._dot(element.placed)
        if (version, placed) == (element.version, element.placed):
            return element
        return replace(element, version=version, placed=placed)

    def directory(self, ref: Ref | None) -> Ref | None:
        return None if ref is None else self._trie.store(self._part(ref, 0))

    def _part(self, part: Part, depth: int) -> Part:
        if isinstance(part, Ref) and not self._concerns(part):
            return part
        opened = self._trie.open(part, depth)
        if isinstance(opened, dict):
            names: Names = {}
            for name, entry in opened.items():
                names[name] = Entry(name, self.elements(entry.elements), self.directory(entry.below))
            return names
        return Split([child and self._part(child, depth + 1) for child in opened])
