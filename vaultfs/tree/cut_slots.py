"""What each changed name stood for at the last cut, and what it stands for now: the start of a cut.

A slot is a name in a directory, by the directory's inode. Only slots that may differ are looked at.
"""

from __future__ import annotations

import errno
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.inode import ROOT, Flag, Inode
from vaultfs.tree.scope import LEVELS_MAX, RULES_MAX, Path, Rules, rules_of
from vaultfs.tree.state import RULES
from vaultfs.tree.statements import error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.tree.changes import Changes, Record, Slot
    from vaultfs.tree.content import Content
    from vaultfs.tree.scope import Scoping
    from vaultfs.tree.state import State

_LISTING = "SELECT d.name, d.ino, i.rec FROM dirent d LEFT JOIN inode i ON i.ino=d.ino WHERE d.parent=?"
_MANY = 256
_FRAMES = 10 * LEVELS_MAX
_PLACE = "SELECT parent, name FROM dirent WHERE ino=?"


class Was(NamedTuple):
    """What a slot stood for in the base, and what it does now; 0: nothing, or nothing that is in the vault."""

    old: int
    new: int


class Slots:
    """The slots that may differ between the base and the working tree. `everything`: there is no base.

    `found`: the slots. `outside`: as in `Changes`, after this cut. `lag`: slots of which the base has something newer.
    Making it changes nothing; it raises `NotHereError` where something must be fetched first, and `OSError`.
    """

    def __init__(
        self, state: State, content: Content, changes: Changes, record: Record, rules: Scoping, *, everything: bool
    ) -> None:
        # Directories are walked by functions that call themselves; their frames lie on the heap (CPython since 3.11).
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _FRAMES))
        self._state = state
        self._content = content
        self._record = record
        self._scoping = rules
        self._everything = everything
        self._before = frozenset() if everything else changes.outside
        self._rules_changed = set() if everything else set(changes.rules_changed)
        self.lag: set[Slot] = set() if everything else set(map(tuple, state.all("SELECT parent, name FROM lag")))
        self.found: dict[Slot, Was] = {}
        self.outside: set[Slot] = set()
        self._old_place: dict[int, Slot] = {
            old: slot for slot, old in record.names.items() if old in record.folders and not everything
        }
        self._in_base: dict[int, bool] = {ROOT: not everything}
        self._in_tree: dict[int, bool] = {ROOT: True}
        self._places: dict[int, Slot | None] = {}
        self._rules_above: dict[int, list[tuple[int, Rules]]] = {}
        self._paths: dict[int, Path] = {ROOT: ()}
        self._fresh_rules: set[int] = set()  # directories below changed rules
        if everything:
            self._walk(ROOT)
            return
        named = list(self._changed_names())
        places = self._other_names({node.ino for _, node in named if node is not None and node.nlink == 1})
        self._find_changed_rules(places)
        for slot, node in named:
            old = record.names[slot] if slot not in self._before and self.in_base(slot[0]) else 0
            self._put(slot, old, node)
        for node, slot in places:
            if slot not in self.found and slot not in self._before:
                self._put(slot, node.ino if self.in_base(slot[0]) else 0, node)
        self._outside_before()
        for ino in sorted(self._rules_changed):
            if self.in_tree(ino):
                self._judge_again(ino)
        self._new_directories()

    # -- places

    def base_place(self, ino: int) -> Slot | None:
        """Where a directory was in the base; None: it was not, or it is the root."""
        place = self._old_place.get(ino)
        if place is None and not self._everything:
            place = self.place(ino)
            if place is not None and place in self._record.names:
                return None
        return place

    def place(self, ino: int) -> Slot | None:
        """Where a directory is now."""
        if ino not in self._places:
            row = self._state.all(_PLACE, ino) if ino != ROOT else []
            self._places[ino] = tuple(row[0]) if row else None
        return self._places[ino]

    def in_base(self, ino: int) -> bool:
        """Whether the directory was in the base."""
        known = self._in_base.get(ino)
        if known is None:
            place = self.base_place(ino)
            known = place is not None and place not in self._before and self.in_base(place[0])
            self._in_base[ino] = known
        return known

    def in_tree(self, ino: int) -> bool:
        """Whether the directory is in the working tree and in the vault."""
        known = self._in_tree.get(ino)
        if known is None:
            place, node = self.place(ino), self._state.find(ino)
            known = place is not None and node is not None and self.in_tree(place[0])
            if known and place is not None and node is not None:
                known = not self._left_alone(place, ino) and not self._stays(place, node)
            self._in_tree[ino] = known
        return known

    def _left_alone(self, slot: Slot, ino: int) -> bool:
        """Whether the name was outside before, and nothing happened that could change that."""
        record = self._record
        return (
            slot in self._before
            and slot not in record.names
            and ino not in record.inodes
            and slot[0] not in self._fresh_rules
        )

    def path(self, ino: int) -> Path:
        """The path of a directory in the working tree."""
        path = self._paths.get(ino)
        if path is None:
            place = self.place(ino)
            if place is None:
                raise error(errno.ENOENT)
            path = self._paths[ino] = (*self.path(place[0]), place[1])
        return path

    # -- what belongs to the vault

    def _stays(self, slot: Slot, node: Inode) -> bool:
        """Whether the name stays on this machine; its directory does not."""
        own = self._scoping.own(node)
        if own is not None:
            return own
        if self._tracked(slot) and slot[0] not in self._fresh_rules:
            return False
        path = (*self.path(slot[0]), slot[1])
        if len(path) > LEVELS_MAX:
            return True  # no system call could name it either
        return self._scoping.stays(path, node, self._above(slot[0]))

    def _tracked(self, slot: Slot) -> bool:
        """Whether the base has something under that name."""
        if slot in self._before or not self.in_base(slot[0]):
            return False
        old = self._record.names.get(slot)
        return old is None or old > 0

    def _above(self, ino: int) -> list[tuple[int, Rules]]:
        """The `.vaultignore` files from this directory up."""
        found = self._rules_above.get(ino)
        if found is None:
            rules, place = self._rules_in(ino), self.place(ino)
            found = [] if rules is None else [(len(self.path(ino)), rules)]
            if place is not None:
                found += self._above(place[0])
            self._rules_above[ino] = found
        return found

    def _rules_in(self, ino: int) -> Rules | None:
        entry = self._state.entry(ino, RULES)
        node = None if entry is None else self._state.find(entry.ino)
        if node is None or not stat.S_ISREG(node.mode):
            return None
        return rules_of(self._content.read(node.ino, 0, RULES_MAX))

    def _find_changed_rules(self, places: list[tuple[Inode, Slot]]) -> None:
        self._rules_changed.update(slot[0] for _, slot in places if slot[1] == RULES)

        def spread(ino: int) -> None:
            self._fresh_rules.add(ino)
            for _, node in self.listing(ino):
                if node.is_dir:
                    spread(node.ino)

        for ino in self._rules_changed:
            if ino not in self._fresh_rules and self._state.find(ino) is not None:
                spread(ino)

    # -- gathering

    def listing(self, ino: int) -> Iterator[tuple[bytes, Inode]]:
        """Names and inodes of a directory; of a folded one what there is of it."""
        state = self._state
        for name, child, record in state.all(_LISTING, ino):
            node = state.find(child) if record is None else state.known(child, record)
            if node is not None:
                yield name, node

    def _put(self, slot: Slot, old: int, node: Inode | None) -> None:
        """Notes a slot that stood for `old` and now stands for `node`."""
        new = 0
        if node is not None and self.in_tree(slot[0]):
            if self._stays(slot, node):
                self.outside.add(slot)
            else:
                new = node.ino
        self.found[slot] = Was(old, new)

    def _changed_names(self) -> Iterator[tuple[Slot, Inode | None]]:
        """The names that were changed, and what stands under them now."""
        by_parent: dict[int, list[bytes]] = {}
        for parent, name in self._record.names:
            by_parent.setdefault(parent, []).append(name)
        for parent, names in by_parent.items():
            if len(names) > _MANY:
                here = dict(self.listing(parent))
                yield from (((parent, name), here.get(name)) for name in names)
                continue
            for name in names:
                entry = self._state.entry(parent, name)
                yield (parent, name), None if entry is None else self._state.find(entry.ino)

    def _other_names(self, known: set[int]) -> list[tuple[Inode, Slot]]:
        """All names of changed inodes but those in `known`."""
        found: list[tuple[Inode, Slot]] = []
        for ino in self._record.inodes:
            node = None if ino in known or ino == ROOT else self._state.find(ino)
            if node is not None:
                found += [(node, (parent, name)) for parent, name in self._state.all(_PLACE, ino)]
        return found

    def _outside_before(self) -> None:
        """What was outside stays there, unless the rules or the file itself have changed."""
        for slot in self._before:
            if slot in self.found or not self.in_tree(slot[0]):
                continue
            entry = self._state.entry(*slot)
            if entry is None:
                continue
            if self._left_alone(slot, entry.ino):
                self.outside.add(slot)
            else:
                self._put(slot, 0, self._state.find(entry.ino))

    def _judge_again(self, ino: int) -> None:
        """The rules in this directory have changed: what was in the vault may leave it."""
        for name, node in self.listing(ino):
            slot = ino, name
            if slot not in self.found and slot not in self._before and self.in_base(ino):
                self._put(slot, node.ino, node)
            if node.is_dir and slot not in self.outside and slot not in self._before:
                self._judge_again(node.ino)

    def _new_directories(self) -> None:
        """What is in directories that come into the vault, and was not changed itself."""
        for was in list(self.found.values()):
            # In one that was made since the last cut, every name was changed since.
            if was.new and was.new != was.old and not self._record.inodes.get(was.new) and not self.in_base(was.new):
                node = self._state.find(was.new)
                if node is not None and node.is_dir:
                    self._walk(was.new)

    def walk_moved(self, ino: int) -> None:
        """The directory cannot be moved in the base: all that is in it is new where it is now."""
        self._walk(ino, anew=True)

    def _walk(self, ino: int, *, anew: bool = False) -> None:
        if self._state.inode(ino).flags & Flag.FOLDED:
            raise NotHereError(directory=ino)
        for name, node in self.listing(ino):
            slot = ino, name
            was = self.found.get(slot)
            untouched = was is None or was.old == was.new
            if was is None:
                self._put(slot, 0, node)
            elif anew and untouched:
                self.found[slot] = Was(0, was.new)
            if node.is_dir and untouched and self.found[slot].new and (anew or not self.in_base(node.ino)):
                self._walk(node.ino, anew=anew)
