"""From slots that differ to edits of paths, in an order in which they can be done."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from msgspec.structs import replace

from vaultfs.format.node import XATTRS_MAX
from vaultfs.tree.cut_order import Order, Step
from vaultfs.tree.edit import Moved, Removed, Written
from vaultfs.tree.inode import ROOT, Flag, Inode, Scope
from vaultfs.tree.xattrs import PREFIX, SCOPE

if TYPE_CHECKING:
    from vaultfs.tree.changes import Record, Slot
    from vaultfs.tree.cut_slots import Slots
    from vaultfs.tree.edit import Edit
    from vaultfs.tree.scope import Path
    from vaultfs.tree.state import State

_ASIDE = b".vaultfs-moving-%d"  # at the top, for names that change places; in no commit
_TOP = (0, b"")
TIME_MAX = (1 << 63) - 1
_XATTRS = "SELECT name, value FROM xattr WHERE ino=? ORDER BY name"
_LINKS = "SELECT parent, name FROM dirent WHERE ino=?"


class Plan:
    """Makes the edits, in `edits`.

    `contents`: the regular files written, and whether all of their content is asked for, not only what changed.
    `stale`: inodes that do not say yet that this cut publishes them. `everything`: there is no base.
    """

    def __init__(self, state: State, slots: Slots, record: Record, *, everything: bool) -> None:
        self._state = state
        self._slots = slots
        self._record = record
        self.edits: list[Edit] = []
        self.contents: dict[int, bool] = {}
        self.stale: set[int] = set()
        self._version = state.device, state.counter
        self._copies: dict[int, tuple[Inode, tuple[tuple[bytes, bytes], ...]]] = {}
        self._steps: list[Step] = []
        self._moved: set[int] = set()  # directories
        self._removed: set[int] = set()  # directories
        self._gone: list[tuple[int, Slot]] = []
        self._written: dict[Slot, bool] = {}  # names to be written in the end, and whether they are new there
        self._where: dict[int, Slot] = {}  # where directories are while the edits are being made
        self._aside: dict[Step, Slot] = {}
        self._covered: dict[int, bool] = {ROOT: False}
        self._lagging: set[int] = set()  # directories of the base in which, or below which, something lags
        self._split_lagging()
        for parent, _ in slots.lag:
            if not self._came_to_lagging(parent):  # else what lags there is of where it is now
                self._note_lagging(parent)
        self._pair(everything=everything)
        for ino, slot in self._gone:
            self._remove(ino, slot)
        Order(self._steps, self._emit, above_new=self._above_new, above_old=self._above_old).run()
        self._write()

    def _came_to_lagging(self, ino: int) -> bool:
        """Whether the directory of the base was moved to a name that lags: it is made anew there."""
        slots, place = self._slots, self._slots.place(ino)
        was = slots.found.get(place) if place in slots.lag else None
        return was is not None and was.old != was.new and slots.in_base(ino)

    def _note_lagging(self, ino: int) -> None:
        while ino not in self._lagging:
            self._lagging.add(ino)
            place = self._slots.base_place(ino)
            if place is None:
                return
            ino = place[0]

    def _is_folder(self, ino: int) -> bool:
        if ino in self._record.folders:
            return True
        node = self._state.find(ino)
        return node is not None and node.is_dir

    # -- what becomes of each inode

    def _pair(self, *, everything: bool) -> None:
        """What is gone here and new there was moved."""
        slots = self._slots
        gone: dict[int, list[Slot]] = {}
        came: dict[int, list[Slot]] = {}
        for slot, was in slots.found.items():
            if was.old != was.new:
                if was.old:
                    gone.setdefault(was.old, []).append(slot)
                if was.new:
                    came.setdefault(was.new, []).append(slot)
            elif was.new in self._record.inodes:
                self._written[slot] = slot in slots.lag
        for ino, places in came.items():
            self._settle(ino, gone.pop(ino, []), places)
        self._gone += [(ino, slot) for ino, places in gone.items() for slot in places]
        self._removed |= {ino for ino in gone if self._is_folder(ino)}
        if everything or ROOT in self._record.inodes:
            self._written[_TOP] = everything

    def _split_lagging(self) -> None:
        """A directory whose name lags cannot be moved: its newer version stays there. It is made anew elsewhere."""
        slots = self._slots
        for slot in slots.lag & slots.found.keys():
            was = slots.found[slot]
            for ino in (was.old, was.new) if was.old != was.new else ():
                if ino and self._is_folder(ino) and slots.in_tree(ino) and slots.in_base(ino):
                    slots.walk_moved(ino)

    def _settle(self, ino: int, gone: list[Slot], came: list[Slot]) -> None:
        """An inode that came to stand under new names."""
        lag, folder = self._slots.lag, self._is_folder(ino)
        if not gone and not folder and len(came) == 1 and self._state.inode(ino).nlink == 1:
            self._written[came[0]] = True  # the frequent case: a new file
            return
        sources = sorted(slot for slot in gone if slot not in lag)
        targets = sorted(slot for slot in came if slot not in lag)
        count = min(len(sources), len(targets))
        for old, new in zip(sources, targets, strict=False):
            self._steps.append(Step(ino, old, new))
            if ino in self._record.inodes:
                self._written[new] = False
        if count and folder:
            self._moved.add(ino)
        left = sorted(set(came) - set(targets[:count]))
        for slot in left:
            self._written[slot] = True
            if folder:
                self._steps.append(Step(ino, None, slot))
        if left and not folder and self._state.inode(ino).nlink > 1:
            self._write_links(ino)
        rest = sorted(set(gone) - set(sources[:count]))
        self._gone += [(ino, slot) for slot in rest]
        if rest and folder:
            self._removed.add(ino)

    def _write_links(self, ino: int) -> None:
        """A file got another name: all of them must be of this commit, or they would be several files there."""
        slots = self._slots
        for parent, name in self._state.all(_LINKS, ino):
            slot = parent, name
            if slot not in self._written and slots.in_tree(parent) and slot not in slots.outside:
                self._written[slot] = slot in slots.lag

    # -- what goes

    def _remove(self, ino: int, slot: Slot) -> None:
        if self._goes_with_its_directory(slot[0]):
            return
        if not self._is_folder(ino):
            new = self._slots.found[slot].new
            unseen = slot in self._slots.lag and not self._slots.in_tree(slot[0])
            # What comes in its place takes it away, if that is no directory.
            if not unseen and (not new or self._is_folder(new)):
                self._steps.append(Step(ino, slot, None))
        elif ino in self._lagging:
            self._remove_seen(ino)
        else:
            self._steps.append(Step(ino, slot, None))

    def _remove_seen(self, ino: int) -> None:
        """Of a directory that goes, in which something newer waits: what was seen goes, one by one."""
        slots = self._slots
        for name, node in slots.listing(ino):
            slot = ino, name
            if slot in slots.found or slot in slots.lag:
                continue
            if node.is_dir and node.ino in self._lagging:
                self._remove_seen(node.ino)
            else:
                self._steps.append(Step(node.ino, slot, None))

    def _goes_with_its_directory(self, ino: int) -> bool:
        """Whether the directory, as it was in the base, goes with all that is in it."""
        known = self._covered.get(ino)
        if known is None:
            if ino in self._removed and ino not in self._lagging:
                known = True
            elif ino in self._moved:
                known = False
            else:
                place = self._slots.base_place(ino)
                known = place is not None and self._goes_with_its_directory(place[0])
            self._covered[ino] = known
        return known

    # -- in order

    def _above_new(self, ino: int) -> int | None:
        place = self._slots.place(ino)
        return None if place is None else place[0]

    def _above_old(self, ino: int) -> int | None:
        place = None if ino in self._moved else self._slots.base_place(ino)
        return None if place is None else place[0]

    def _path(self, slot: Slot) -> Path:
        """The path of a name as things stand between the edits."""
        parts = [slot[1]]
        ino = slot[0]
        while ino != ROOT:
            place = self._where.get(ino) or self._slots.base_place(ino) or self._slots.place(ino)
            if place is None:
                raise ValueError(ino)
            ino = place[0]
            parts.append(place[1])
        return tuple(reversed(parts))

    def _emit(self, step: Step, aside: bool) -> None:  # as `Order` calls it
        if step.old is None and step.new is not None:
            self.edits.append(self._edit(self._path(step.new), step.new, step.ino))
            self._where[step.ino] = step.new
        elif step.old is not None and step.new is None:
            self.edits.append(Removed(self._path(step.old), step.old))
        elif step.old is not None and step.new is not None:
            source = self._aside.get(step, step.old)
            target = step.new
            if aside:
                target = self._aside[step] = ROOT, self._name_aside()
            self.edits.append(Moved(self._path(source), self._path(target), step.old, step.new))
            self._where[step.ino] = target

    def _name_aside(self) -> bytes:
        number = len(self._aside)
        while self._state.entry(ROOT, _ASIDE % number) is not None or (ROOT, _ASIDE % number) in self._slots.found:
            number += 1 << 20
        return _ASIDE % number

    # -- what is written

    def _write(self) -> None:
        made = {step.new for step in self._steps if step.old is None}
        names = [(self._final(slot), slot) for slot in self._written if slot not in made]
        for path, slot in sorted(names):
            if slot == _TOP:
                self.edits.append(self._edit((), slot, ROOT))
                continue
            self.edits.append(self._edit(path, slot, self._ino_at(slot)))

    def _ino_at(self, slot: Slot) -> int:
        was = self._slots.found.get(slot)
        if was is not None:
            return was.new
        entry = self._state.entry(*slot)
        if entry is None:
            raise ValueError(slot)
        return entry.ino

    def _final(self, slot: Slot) -> Path:
        return () if slot == _TOP else (*self._slots.path(slot[0]), slot[1])

    def _edit(self, path: Path, slot: Slot, ino: int) -> Written:
        inode, xattrs = self._copy(ino)
        new = self._written[slot]
        if stat.S_ISREG(inode.mode):
            self.contents[ino] = self.contents.get(ino, False) or new
        return Written(path, ino, inode, xattrs, new, slot)

    def _copy(self, ino: int) -> tuple[Inode, tuple[tuple[bytes, bytes], ...]]:
        found = self._copies.get(ino)
        if found is None:
            node = self._state.inode(ino)
            if (node.writer, node.counter) != self._version:
                self.stale.add(ino)
            device, counter = self._version
            mtime = max(-TIME_MAX, min(node.mtime, TIME_MAX))
            copy = replace(node, writer=device, counter=counter, mtime=mtime)
            found = self._copies[ino] = copy, self._xattrs(node)
        return found

    def _xattrs(self, node: Inode) -> tuple[tuple[bytes, bytes], ...]:
        """What there is room for in a commit: more than most file systems have."""
        found = [(SCOPE, b"vault")] if node.scope == Scope.VAULT else []
        room = XATTRS_MAX - sum(len(name) + len(value) for name, value in found)
        if node.flags & ~Flag.FOLDED:
            for name, value in self._state.all(_XATTRS, node.ino):
                if not name.startswith(PREFIX) and len(name) + len(value) <= room:
                    room -= len(name) + len(value)
                    found.append((bytes(name), bytes(value)))
        return tuple(sorted(found))
