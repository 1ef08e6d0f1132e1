"""The conflicts of a commit: siblings beside what is in place, and what was moved out of an edit's way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vaultfs.format.node import Directory
from vaultfs.format.node_trie import Trie
from vaultfs.sync.depth import allow_depth
from vaultfs.sync.elements import is_loose, siblings
from vaultfs.sync.merge import load_commit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.format.node import Element, Nodes, Ref

Path = tuple[bytes, ...]


class Conflict(NamedTuple):
    """A version that is kept and not in place. `aside`: moved to the conflicts namespace by a later edit."""

    path: Path
    element: Element
    aside: bool


def conflicts(nodes: Nodes, root: bytes) -> Iterator[Conflict]:
    """All conflicts of the commit `root`; reads in proportion to their number."""
    allow_depth()
    trie, commit = Trie(nodes), load_commit(nodes, root)
    yield from _siblings(trie, commit.below, ())
    for path, element in everything(trie, commit.conflicts, ()):
        yield Conflict(path, element, aside=True)


def everything(trie: Trie, ref: Ref | None, path: Path) -> Iterator[tuple[Path, Element]]:
    """All elements below `path` but the attributes of directories."""
    for entry in trie.entries(ref):
        here = (*path, entry.name)
        for element in entry.elements:
            if not isinstance(element, Directory):
                yield here, element
        yield from everything(trie, entry.below, here)


def _siblings(trie: Trie, ref: Ref | None, path: Path) -> Iterator[Conflict]:
    for entry in trie.crowded(ref):
        here = (*path, entry.name)
        for element in siblings(entry):
            yield Conflict(here, element, aside=False)
        if is_loose(entry):
            for below, element in everything(trie, entry.below, here):
                yield Conflict(below, element, aside=False)
        else:
            yield from _siblings(trie, entry.below, here)
