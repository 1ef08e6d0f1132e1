"""Edits of a tree, as one commit of one device (docs/merging.md).

Whoever writes, removes or renames where there are siblings has decided for what is in place: in the same commit the
others go to the conflicts namespace, so that none of them ever comes back in place by itself.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from msgspec.structs import replace

from vaultfs.format.node import NAME_MAX, Commit, Directory, Entry, File, Group, Unit
from vaultfs.format.node_codec import check_node, encode_node
from vaultfs.sync.elements import identity, sorted_elements
from vaultfs.sync.merge import State
from vaultfs.sync.placing import PRIVATE, Placing, error
from vaultfs.sync.vectors import joined
from vaultfs.sync.workspace import Slot

if TYPE_CHECKING:
    from vaultfs.format.node import Element, Nodes
    from vaultfs.sync.conflicts import Path
    from vaultfs.sync.elements import Identity

__all__ = ["PRIVATE", "Editor", "empty_root"]


def empty_root(nodes: Nodes, root: Directory) -> bytes:
    """The root id of a vault with nothing in it; `root` holds the attributes of its top directory."""
    return nodes.put(encode_node(Commit((root,), None, None)))


class Editor(Placing):
    """Edits the tree of `state` as commit `dot`; `now` is the time of what has no time of its own.

    A path is a tuple of names. All raise `OSError` with the errno of the like system call.
    """

    def commit(self) -> State:
        """Write the tree out: the new state. Nothing of it is referred to before."""
        commit = Commit(self._top.elements, self._space.below(self._top), self._space.write(self._conflicts))
        check_node(commit)
        root = self._nodes.put(encode_node(commit))
        return State(root, joined(self._state.vector, {self._dot.device: self._dot.counter}))

    def look(self, path: Path) -> Entry | None:
        """The entry as it is now, siblings and all; None where there is nothing. Writes out what is below it."""
        slot = self._peek(path)
        if slot is None:
            return None
        self._space.settle(slot)
        below = self._space.below(slot)
        return Entry(path[-1] if path else b"", slot.elements, below) if slot.elements or below is not None else None

    def exists(self, path: Path) -> bool:
        """Whether there is anything."""
        slot = self._peek(path)
        return slot is not None and self._exists(slot)

    def is_unit(self, path: Path) -> bool:
        """Whether a unit is among what is there."""
        slot = self._peek(path)
        return slot is not None and any(isinstance(element, Unit) for element in slot.elements)

    def has_unit_in_place(self, path: Path) -> bool:
        """Whether a unit is in place there."""
        slot = self._peek(path)
        return slot is not None and isinstance(self._space.chosen(slot), Unit)

    def _peek(self, path: Path) -> Slot | None:
        slot = self._top
        for depth, name in enumerate(path):
            folder = self._folder(slot, path[:depth], edit=False)
            if folder is None:
                return None
            slot = self._space.slot(folder, name)
        return slot

    def write(self, path: Path, element: Element, *, seen: Identity | None = None, whole: bool = False) -> None:
        """Put `element` in place: new content, new attributes, a new file or directory.

        What is in a directory or unit there stays in it (`whole`: a unit comes with all that is in it); nothing of
        another kind takes the place of one with something in it (`enclose` and `release` turn one into the other).

        `version` and `placed` are set here, `time` is the caller's. `seen`: what the change was made from, where that
        may not be what is in place now (a file that was held open while a newer one was merged): then the change is
        concurrent, and nothing but what it was made from goes away.
        """
        slot = self._slot(path)
        if self._unseen(slot, seen):
            self._given_up(slot, path, seen)
            slot.elements = sorted_elements((*slot.elements, self._new(element)))
            return
        self._space.settle(slot)
        old = self._space.chosen(slot)
        if isinstance(old, Unit) and isinstance(element, Unit) and not whole:
            element = replace(element, below=old.below)  # attributes are written here, what is in it by its paths
        self._replace(slot, path, element)

    def _replace(self, slot: Slot, path: Path, element: Element) -> None:
        same = isinstance(element, Unit if isinstance(self._space.chosen(slot), Unit) else Directory)
        if not same and self._holds_something(slot):
            raise error(errno.EISDIR, path)
        if isinstance(element, Group) and max(len(path[-1] + member.suffix) for member in element.members) > NAME_MAX:
            raise error(errno.ENAMETOOLONG, path)
        self._take(slot, path)
        slot.elements, slot.inside, slot.touched = (self._new(element),), None, False
        if isinstance(element, Group):
            self._absorb(path, element)

    def parents(self, path: Path) -> None:
        """Make the directories on the way to `path` that are not there, as an edit that did not see them go away.

        Where something else stands, a directory comes beside it, and so in its place.
        """
        slot = self._top
        for depth, name in enumerate(path[:-1]):
            # Not by `look`, which writes out what is below: a commit of many files would write each directory as often.
            folder = self._folder(slot, path[:depth], edit=False)
            slot = self._space.slot(folder, name) if folder is not None else self._slot(path[: depth + 1])
            element = self._space.chosen(slot)
            if not isinstance(element, Directory | Unit) and (element is not None or not self._exists(slot)):
                slot = self._slot(path[: depth + 1])
                slot.elements = sorted_elements((*slot.elements, self._plain_directory(path[: depth + 1])))

    def set_root(self, attributes: Directory) -> None:
        """New attributes of the vault's top directory."""
        self._top.elements = (self._new(attributes),)

    def link(self, path: Path, new: Path) -> None:
        """Another name for the same file; the file itself does not change."""
        slot = self._slot(path)
        element = self._space.chosen(slot)
        if not isinstance(element, File):
            raise error(errno.ENOENT if element is None else errno.EPERM, path)
        target = self._slot(new)
        if self._exists(target):
            raise error(errno.EEXIST, new)
        target.elements = (self._moved(element),)

    def delete(self, path: Path, *, seen: Identity | None = None) -> None:
        """Take away what is in place, a directory with all that is in it. Siblings are kept as conflicts.

        `seen`: as in `write`; what was not seen stays.
        """
        slot = self._slot(path)
        if not self._exists(slot):
            raise error(errno.ENOENT, path)
        if self._unseen(slot, seen):
            self._given_up(slot, path, seen)
            return
        self._take(slot, path)
        if slot.below is not None:
            self._clear_siblings(slot.below, path)
        slot.elements, slot.below, slot.inside = (), None, None

    def rename(self, old: Path, new: Path) -> None:
        """Move what is in place at `old`, over what is at `new` (a directory there must be empty)."""
        if old == new:
            return
        if new[: len(old)] == old or old[: len(new)] == new:
            raise error(errno.EINVAL if new[: len(old)] == old else errno.ENOTEMPTY, new)
        source, target = self._slot(old), self._slot(new)
        if not self._exists(source):
            raise error(errno.ENOENT, old)
        if self._holds_something(target):
            raise error(errno.ENOTEMPTY, new)
        self._take(target, new)
        self._put(target, self._detach(source, old))

    def exchange(self, a: Path, b: Path) -> None:
        """Let `a` and `b` change places."""
        if a[: len(b)] == b or b[: len(a)] == a:
            raise error(errno.EINVAL, b)
        x, y = self._slot(a), self._slot(b)
        if not (self._exists(x) and self._exists(y)):
            raise error(errno.ENOENT, a if self._exists(y) else b)
        from_x, from_y = self._detach(x, a), self._detach(y, b)
        self._put(x, from_y)
        self._put(y, from_x)

    def enclose(self, path: Path) -> None:
        """Make a unit of a directory: from now on it is merged as a whole."""
        slot = self._slot(path)
        if not self._is_directory(slot):
            raise error(errno.ENOTDIR, path)
        element, below = self._detach(slot, path)
        fields = {name: getattr(element, name) for name in Directory.__struct_fields__}
        slot.elements = (self._new(Unit(**{**fields, "time": self._now}, below=below)),)

    def release(self, path: Path) -> None:
        """Make a directory like any other of a unit."""
        slot = self._slot(path)
        unit = self._take(slot, path) if isinstance(self._space.chosen(slot), Unit) else None
        if not isinstance(unit, Unit):
            raise error(errno.ENOTDIR, path)
        fields = {name: getattr(unit, name) for name in Directory.__struct_fields__}
        # What was in the unit comes to stand under these names now: others cannot know it there.
        self._put(slot, (self._new(Directory(**{**fields, "time": self._now})), unit.below))

    def put_aside(self, path: Path) -> None:
        """Make a conflict of what is in place, and of its siblings. Raises ENOENT."""
        slot = self._slot(path)
        element = self._take(slot, path)
        if element is None or isinstance(element, Directory):
            raise error(errno.ENOENT, path)
        self._set_aside(path, element)
        slot.elements = ()

    def drop_conflict(self, path: Path, which: Identity) -> None:
        """Give up a conflict, a sibling or one that was moved aside."""
        self._remove_conflict(path, which)

    def keep_conflict(self, path: Path, which: Identity) -> None:
        """Put a conflict in place, as an edit made now; what was in place is given up."""
        conflict, element = self._remove_conflict(path, which)
        try:
            self._replace(self._slot(path), path, replace(element, time=self._now))
        except OSError:
            conflict.elements = sorted_elements((*conflict.elements, element))
            raise

    # What the above are made of.

    def _remove_conflict(self, path: Path, which: Identity) -> tuple[Slot, Element]:
        for slot, chosen in (self._sibling_slot(path), (self._aside(path), None)):
            for element in slot.elements:
                if element is not chosen and identity(element) == which:
                    slot.elements = tuple(other for other in slot.elements if other is not element)
                    return slot, element
        raise error(errno.ENOENT, path)

    def _sibling_slot(self, path: Path) -> tuple[Slot, Element | None]:
        """The slot of that path whatever stands on the way there, and its element in place. Changes nothing."""
        slot, loose = self._top, False
        for name in path:
            if slot.below is None:
                return Slot(), None
            loose = loose or isinstance(self._space.chosen(slot), Unit)
            slot = self._space.slot(slot.below, name)
        return slot, None if loose else self._space.chosen(slot)

    def _unseen(self, slot: Slot, seen: Identity | None) -> bool:
        element = self._space.chosen(slot)
        return seen is not None and (element is None or identity(element) != seen)

    def _given_up(self, slot: Slot, path: Path, seen: Identity | None) -> None:
        """What a change was made from goes, also where another machine has moved it out of its way meanwhile."""
        slot.elements = tuple(one for one in slot.elements if identity(one) != seen)
        if seen is not None:
            aside = self._aside(path)
            aside.elements = tuple(one for one in aside.elements if (one.version, one.id) != (seen[0], seen[2]))

    def _absorb(self, path: Path, group: Group) -> None:
        """The other names of a group are no files of their own any more."""
        for member in group.members:
            if member.suffix:
                name = (*path[:-1], path[-1] + member.suffix)
                slot = self._slot(name)
                old = self._take(slot, name)
                if old is not None and old.id != member.file.id and not isinstance(old, Directory):
                    self._set_aside(name, old)
                if not isinstance(old, Directory):
                    slot.elements = ()
