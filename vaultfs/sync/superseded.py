"""Conflicts that are none: versions which their own machine had replaced already when another moved them aside.

Two machines drive one agent. B edits where A's version is a sibling, and moves that aside; meanwhile A has written the
next one, made from it. A merge looks at dots alone and keeps both, so each commit of a busy agent could leave a
conflict. A version that is here no more, although it is known here, was given up by somebody who saw it: what A has
written since was made from it, or is what A put in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.format.node import Directory
from vaultfs.format.node_trie import Trie
from vaultfs.sync.elements import identity
from vaultfs.sync.merge import load_commit
from vaultfs.sync.vectors import covers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.format.node import Element, Entry, Nodes, Ref
    from vaultfs.sync.conflicts import Path
    from vaultfs.sync.elements import Identity
    from vaultfs.sync.merge import State


def superseded(nodes: Nodes, base: State, merged: State) -> list[tuple[Path, Identity]]:
    """Those that came into the conflicts namespace from `base` to `merged`. Reads in proportion to what came."""
    before, after = load_commit(nodes, base.root), load_commit(nodes, merged.root)
    trie = Trie(nodes)
    found = []
    for path, aside, element in _came(trie, before.conflicts, after.conflicts, ()):
        if element.placed is None or covers(base.vector, element.placed):
            continue  # it was aside here, and somebody has ended it
        if not covers(base.vector, element.version):
            continue
        here = (*_elements(trie, before.below, path), *(() if aside is None else aside.elements))
        if any((one.version, one.id) == (element.version, element.id) for one in here):
            continue
        if any(_later(one, element) for one in here):
            found.append((path, identity(element)))
    return found


def _came(trie: Trie, old: Ref | None, new: Ref | None, path: Path) -> Iterator[tuple[Path, Entry | None, Element]]:
    for name, a, b in trie.diff(old, new):
        if b is None:
            continue
        for element in b.elements:
            if a is None or element not in a.elements:
                yield (*path, name), a, element
        yield from _came(trie, None if a is None else a.below, b.below, (*path, name))


def _elements(trie: Trie, below: Ref | None, path: Path) -> tuple[Element, ...]:
    entry = None
    for name in path:
        entry = trie.lookup(below, name)
        if entry is None:
            return ()
        below = entry.below
    return () if entry is None else entry.elements


def _later(one: Element, element: Element) -> bool:
    """Whether the machine that wrote `element` has written this, later."""
    same = one.version.device == element.version.device
    return same and one.version.counter > element.version.counter and not isinstance(one, Directory)
