"""What is different between two commits, and what only moved."""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.format.node import Directory, File, Unit
from vaultfs.format.node_trie import Trie
from vaultfs.sync.depth import allow_depth
from vaultfs.sync.walking import Snapshot, chosen, listing

if TYPE_CHECKING:
    from vaultfs.format.node import Entry, Nodes, Ref
    from vaultfs.sync.conflicts import Path
    from vaultfs.tree.incoming import Incoming


class How(StrEnum):
    """What happened to a path between two commits."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"


class Change(NamedTuple):
    """One difference. `old`: of a file or directory that moved, where it was; it may have changed besides."""

    how: How
    path: Path
    directory: bool = False
    old: Path | None = None


def diff(nodes: Nodes, a: bytes, b: bytes, below: Path = ()) -> list[Change]:
    """What has to happen to get from commit `a` to commit `b`, sorted by path; at and below the path `below` only.

    Reads in proportion to what differs: parts that are equal are skipped unread, and so is what is in a directory
    that moved without a change. What is in a directory that is gone or new is told name by name. That a directory was
    touched because a name in it changed is not told.
    """
    allow_depth()
    comparing = _Comparing(Trie(nodes))
    comparing.pair(below, below, _at(nodes, a, below), _at(nodes, b, below))
    return comparing.result()


def _at(nodes: Nodes, root: bytes, path: Path) -> Incoming | None:
    try:
        return Snapshot(nodes, root).find(path).item
    except (FileNotFoundError, NotADirectoryError):
        return None


@dataclass(slots=True)
class _Loose:
    """Something that is gone, or new; `settled`: it has moved, or something that it is in has."""

    path: Path
    item: Incoming
    settled: bool = False
    inside: list[_Loose] = field(default_factory=list)

    def settle(self) -> None:
        self.settled = True
        for loose in self.inside:
            loose.settle()


class _Side:
    """What is in one of the two commits alone."""

    def __init__(self) -> None:
        self.by_id: dict[bytes, list[_Loose]] = defaultdict(list)
        self.moved: set[Path] = set()

    def find(self, item: Incoming) -> _Loose | None:
        fits = self.by_id.get(item.element.id, ())
        return next((it for it in fits if not it.settled and _is_directory(it.item) == _is_directory(item)), None)

    def left(self) -> list[_Loose]:
        return [loose for listed in self.by_id.values() for loose in listed if not loose.settled]


class _Comparing:
    def __init__(self, trie: Trie) -> None:
        self._trie = trie
        self._changes: list[Change] = []
        self._gone, self._come = _Side(), _Side()
        # Directories that are gone or new, the smallest first: the one that another moved into or out of is found
        # before the one that moved is read.
        self._closed: list[tuple[int, int, _Side, _Loose]] = []

    def result(self) -> list[Change]:
        while self._closed:
            _, _, side, loose = heapq.heappop(self._closed)
            if not loose.settled:
                for item, _ in listing(self._trie, loose.item.below, loose.path):
                    self._add(side, (*loose.path, item.name), item, loose)
        out = self._changes
        for side, how in ((self._gone, How.REMOVED), (self._come, How.ADDED)):
            out += [Change(how, loose.path, _is_directory(loose.item)) for loose in side.left()]
        return sorted(out, key=lambda change: (change.path, change.how))

    def pair(self, old_path: Path, path: Path, old: Incoming | None, new: Incoming | None) -> None:
        if old is not None and new is not None and _is_directory(old) == _is_directory(new):
            if _look(old) != _look(new):
                self._changes.append(Change(How.CHANGED, path, _is_directory(new)))
            if _is_directory(new):
                self._directories(old_path, path, old.below, new.below)
            return
        if old is not None:
            self._add(self._gone, old_path, old)
        if new is not None:
            self._add(self._come, path, new)

    def _directories(self, old_path: Path, path: Path, a: Ref | None, b: Ref | None) -> None:
        before: list[Entry] = []
        after: list[Entry] = []
        for _, x, y in self._trie.diff(a, b, placed=False):
            before += [x] if x is not None else []
            after += [y] if y is not None else []
        old = {item.name: item for item, _ in chosen(before, old_path)}
        new = {item.name: item for item, _ in chosen(after, path)}
        for name in sorted(old.keys() | new.keys()):
            self.pair((*old_path, name), (*path, name), old.get(name), new.get(name))

    def _add(self, side: _Side, path: Path, item: Incoming, parent: _Loose | None = None) -> None:
        if path in side.moved or (parent is not None and parent.settled):
            return
        loose = _Loose(path, item)
        if parent is not None:
            parent.inside.append(loose)
        other = self._come if side is self._gone else self._gone
        partner = other.find(item)
        if partner is not None:
            old, new = (loose, partner) if side is self._gone else (partner, loose)
            self._moved(old, new)
            return
        side.by_id[item.element.id].append(loose)
        if item.below is not None:
            heapq.heappush(self._closed, (item.below.width, len(self._closed), side, loose))

    def _moved(self, old: _Loose, new: _Loose) -> None:
        old.settle()
        new.settle()
        self._gone.moved.add(old.path)
        self._come.moved.add(new.path)
        self._changes.append(Change(How.MOVED, new.path, _is_directory(new.item), old.path))
        if _is_directory(new.item):
            self._directories(old.path, new.path, old.item.below, new.item.below)


def _is_directory(item: Incoming) -> bool:
    return isinstance(item.element, Directory | Unit)


def _look(item: Incoming) -> object:
    """What a person sees of it. A directory's time is that of a name in it, which is told anyway."""
    element = item.element
    seen = (element.mode, element.uid, element.gid, element.xattrs)
    if isinstance(element, Directory | Unit):
        return seen
    what = (element.size, element.content) if isinstance(element, File) else element.target
    return (*seen, element.mtime, what)
