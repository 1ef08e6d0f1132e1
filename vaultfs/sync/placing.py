"""What edits are made of: find a name, take away what is in place, put something there.

Whoever takes something away has decided for what was in place: its siblings go to the conflicts namespace in the same
commit, so that none of them ever comes back in place by itself.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, TypeVar

from blake3 import blake3
from msgspec.structs import replace

from vaultfs.format.node import NAME_MAX, Directory, Unit
from vaultfs.format.node_summary import placed_by
from vaultfs.format.node_trie import Trie
from vaultfs.sync.conflicts import everything
from vaultfs.sync.depth import LEVELS_MAX, allow_depth
from vaultfs.sync.elements import sorted_elements
from vaultfs.sync.merge import State, load_commit
from vaultfs.sync.workspace import Folder, Slot, Workspace

if TYPE_CHECKING:
    from vaultfs.format.node import Dot, Element, Nodes, Ref
    from vaultfs.sync.conflicts import Path

PRIVATE = 0o700  # of a directory whose attributes went with its removal elsewhere
_E = TypeVar("_E", bound="Element")


class Placing:
    """A tree being edited as commit `dot`. Used by `Editor` alone."""

    def __init__(self, nodes: Nodes, state: State, dot: Dot, now: int) -> None:
        allow_depth()
        self._nodes = nodes
        self._state = state
        self._dot = dot
        self._now = now
        commit = load_commit(nodes, state.root)
        self._space = Workspace(Trie(nodes), dot, now)
        self._top = Slot(commit.elements, Folder(commit.below))
        self._conflicts = Folder(commit.conflicts)

    def _aside(self, path: Path) -> Slot:
        """The slot of that path in the conflicts namespace."""
        folder = self._conflicts
        for name in path[:-1]:
            slot = self._space.slot(folder, name)
            slot.below = folder = slot.below or Folder()
        return self._space.slot(folder, path[-1])

    def _set_aside(self, path: Path, element: Element) -> None:
        slot = self._aside(path)
        slot.elements = sorted_elements((*slot.elements, placed_by(element, self._dot)))

    def _new(self, element: _E) -> _E:
        return replace(element, version=self._dot, placed=None)

    def _moved(self, element: Element) -> Element:
        # Written and moved in one commit: the version says it already.
        return placed_by(element, None if element.version == self._dot else self._dot)

    def _folder(self, slot: Slot, path: Path, *, edit: bool) -> Folder | None:
        """The folder behind a slot. For an edit it is made what an edit needs: a directory with attributes."""
        element = self._space.chosen(slot)
        if isinstance(element, Directory) or (element is None and self._space.below(slot) is not None):
            if element is None and edit:
                slot.elements = (self._plain_directory(path), *slot.elements)
                slot.elements = sorted_elements(slot.elements)
            slot.below = slot.below or Folder()
            return slot.below
        if isinstance(element, Unit):
            if edit and (slot.inside is None or len(slot.elements) > 1 or slot.below is not None):
                element = self._take(slot, path)
            if edit:
                slot.touched = True
            if slot.inside is None:
                inside = Folder(element.below if isinstance(element, Unit) else None)
                if not edit:
                    return inside
                slot.inside = inside
            return slot.inside
        if not edit:
            return None
        raise error(errno.ENOENT if element is None else errno.ENOTDIR, path)

    def _slot(self, path: Path) -> Slot:
        """The slot at `path`, about to be edited."""
        if not path:
            raise error(errno.EBUSY, path)
        if len(path) > LEVELS_MAX or max(map(len, path)) > NAME_MAX:
            raise error(errno.ENAMETOOLONG, path)
        slot = self._top
        for depth, name in enumerate(path):
            folder = self._folder(slot, path[:depth], edit=True)
            slot = self._space.slot(folder or Folder(), name)
        return slot

    def _plain_directory(self, path: Path) -> Directory:
        # From dot and path, so that the same edit is the same wherever it is made.
        name = blake3(self._dot.device + self._dot.counter.to_bytes(8, "little") + b"/".join(path)).digest(16)
        return Directory(name, self._dot, None, self._now, PRIVATE, None, None, self._now, ())

    def _exists(self, slot: Slot) -> bool:
        return bool(slot.elements) or self._space.below(slot) is not None

    def _is_directory(self, slot: Slot) -> bool:
        element = self._space.chosen(slot)
        return isinstance(element, Directory) or (element is None and self._space.below(slot) is not None)

    def _holds_something(self, slot: Slot) -> bool:
        """Whether it is a directory, or a unit that is one, and not empty."""
        self._space.settle(slot)
        element = self._space.chosen(slot)
        return element.below is not None if isinstance(element, Unit) else self._space.below(slot) is not None

    def _take(self, slot: Slot, path: Path) -> Element | None:
        """What is in place, alone: its siblings are in the conflicts namespace from now on."""
        self._space.settle(slot)
        element = self._space.chosen(slot)
        for other in slot.elements:
            # The attributes of a directory are no conflict worth keeping: the newest count.
            if other is not element and not isinstance(other, Directory):
                self._set_aside(path, other)
        slot.elements = () if element is None else (element,)
        if isinstance(element, Unit) and slot.below is not None:
            for below, other in everything(self._space.trie, self._space.below(slot), path):
                self._set_aside(below, other)
            slot.below = None
        return element

    def _clear_siblings(self, folder: Folder, path: Path) -> None:
        for entry in self._space.trie.crowded(self._space.write(folder)):
            slot, here = self._space.slot(folder, entry.name), (*path, entry.name)
            self._take(slot, here)
            if slot.below is not None:
                self._clear_siblings(slot.below, here)

    def _detach(self, slot: Slot, path: Path) -> tuple[Element, Ref | None]:
        """What is in place, with what is below it, no longer there."""
        element = self._take(slot, path) or self._plain_directory(path)
        below = None
        if slot.below is not None:
            self._clear_siblings(slot.below, path)
            below = self._space.below(slot)
        slot.elements, slot.below, slot.inside, slot.touched = (), None, None, False
        return element, below

    def _put(self, slot: Slot, what: tuple[Element, Ref | None]) -> None:
        element, below = what
        slot.elements = (self._moved(element),)
        slot.below = None if below is None else Folder(self._space.trie.stamp(below, self._dot))
        slot.inside, slot.touched = None, False


def error(number: int, path: Path) -> OSError:
    """What the like system call would say."""
    return OSError(number, os.strerror(number), b"/".join(path))
