"""What a checkout has to do: the difference between two commits, as far as the working tree has looked at it.

Pure but for the nodes it reads and the questions it asks about the working tree; for a worker thread. Directories
that nobody looked into are not gone into: they only learn what is in them now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.format.node import Commit, Directory, Dot, File, Group, Unit
from vaultfs.format.node_trie import Trie
from vaultfs.sync.depth import allow_depth
from vaultfs.sync.elements import in_place
from vaultfs.sync.merge import load_commit
from vaultfs.sync.seen import encode_seen
from vaultfs.sync.units import COMPANIONS, split_name
from vaultfs.sync.walking import chosen
from vaultfs.tree.inode import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultfs.format.node import Element, Entry, Nodes, Ref
    from vaultfs.sync.conflicts import Path
    from vaultfs.tree.incoming import Incoming


class Here(NamedTuple):
    """What the working tree has under a name. `folded`: a directory that nobody looked into yet."""

    ino: int
    directory: bool
    folded: bool
    version: Dot
    id: bytes


class Lag(NamedTuple):
    """A name that is to be checked out. `seen`: what the working tree has there (vaultfs.sync.seen), None: nothing."""

    parent: int
    name: bytes
    seen: bytes | None


class Refold(NamedTuple):
    """A directory that is still unexpanded: what was in it (nothing is done if that is not so), and is now."""

    ino: int
    ref: Ref | None


@dataclass(slots=True)
class Plan:
    """All of it. `attributes`: directories that only got other attributes.

    `strays`: files of the new commit that stand where a group beside them has a name: to be moved aside by an edit.
    """

    lags: list[Lag] = field(default_factory=list)
    refolds: list[Refold] = field(default_factory=list)
    attributes: list[tuple[int, Directory]] = field(default_factory=list)
    strays: list[Path] = field(default_factory=list)


class Shown(NamedTuple):
    """A name as the working tree shows it, and the element it is (a part of)."""

    incoming: Incoming
    element: Element


def shown(entries: Sequence[Entry], path: Path) -> dict[bytes, Shown]:
    """What is seen of these entries of one directory, by name."""
    by_name = {entry.name: entry for entry in entries}
    found = {}
    for item, group in chosen(entries, path):
        element = in_place(by_name[item.name if group is None else group])
        found[item.name] = Shown(item, item.element if element is None else element)
    return found


def plan(nodes: Nodes, old: bytes | None, new: bytes, find: Callable[[int, bytes], Here | None]) -> Plan:
    """What turns a working tree of the commit `old` (None: an empty one) into one of `new`.

    Raises what reading nodes raises.
    """
    allow_depth()
    planning = _Planning(Trie(nodes), find)
    b = load_commit(nodes, new)
    a = Commit((), None, None) if old is None else load_commit(nodes, old)
    planning.top(a.elements, b.elements)
    here = find(0, b"")
    if old is None or (here is not None and here.folded):
        planning.plan.refolds.append(Refold(ROOT, b.below))
    else:
        planning.directory(ROOT, (), a.below, b.below)
    return planning.plan


class _Planning:
    def __init__(self, trie: Trie, find: Callable[[int, bytes], Here | None]) -> None:
        self.plan = Plan()
        self._trie = trie
        self._find = find

    def top(self, old: tuple[Element, ...], new: tuple[Element, ...]) -> None:
        """The attributes of the vault's top directory."""
        newest = [element for element in new if isinstance(element, Directory)]
        if old != new and newest:
            self.plan.attributes.append((ROOT, max(newest, key=lambda element: (element.time, element.version))))

    def directory(self, ino: int, path: Path, old: Ref | None, new: Ref | None) -> None:
        """The differences in one directory that the working tree has looked into."""
        changes = list(self._trie.diff(old, new, placed=False))
        before = shown([a for _, a, _ in changes if a is not None], path)
        after = shown([b for _, _, b in changes if b is not None], path)
        for name, _, b in changes:
            if b is not None:
                self._find_strays(path, name, b, new)
        groups = {name for shows in (before, after) for name, one in shows.items() if isinstance(one.element, Group)}
        for name in sorted(before.keys() | after.keys()):
            was, now = before.get(name), after.get(name)
            if name in groups and (now is not None or self._find(ino, name) is not None):
                # With the others, even if it is as it was: what lags, lags as a whole. And so if it was removed here
                # just now, from what it was before: else it would stay away, with nothing here that says so.
                self._lag(ino, name, was)
            else:
                self._name(ino, (*path, name), was, now)

    def _find_strays(self, path: Path, name: bytes, entry: Entry, below: Ref | None) -> None:
        element = in_place(entry)
        if isinstance(element, Group):
            beside = [(name + suffix, self._trie.lookup(below, name + suffix)) for suffix in COMPANIONS]
            self.plan.strays += [
                (*path, other) for other, found in beside if found and isinstance(in_place(found), File)
            ]
        elif isinstance(element, File):
            main, suffix = split_name(name)
            group = self._trie.lookup(below, main) if suffix else None
            if group is not None and isinstance(in_place(group), Group):
                self.plan.strays.append((*path, name))

    def _name(self, parent: int, path: Path, a: Shown | None, b: Shown | None) -> None:
        name = path[-1]
        if a is not None and b is not None and _same(a.incoming, b.incoming):
            return
        here = self._find(parent, name)
        if here is None and b is None:
            return
        if here is not None and b is not None and here.directory and isinstance(b.incoming.element, Directory | Unit):
            if _is_unit(a) or _is_unit(b):
                self._lag(parent, name, a)  # as a whole
            else:
                self._both_directories(here, path, a, b)
            return
        if here is not None and b is not None and not here.directory and _is(here, b.incoming):
            return
        if here is not None and here.directory and not here.folded and not _is_unit(a):
            # What is in it goes first.
            self.directory(here.ino, path, a.incoming.below if a is not None else None, None)
        self._lag(parent, name, a)

    def _both_directories(self, here: Here, path: Path, a: Shown | None, b: Shown) -> None:
        element, below = b.incoming.element, b.incoming.below
        if isinstance(element, Directory) and (here.version, here.id) != (element.version, element.id):
            self.plan.attributes.append((here.ino, element))
        if here.folded:
            self.plan.refolds.append(Refold(here.ino, below))
        else:
            self.directory(here.ino, path, a.incoming.below if a is not None else None, below)

    def _lag(self, parent: int, name: bytes, a: Shown | None) -> None:
        self.plan.lags.append(Lag(parent, name, None if a is None else encode_seen(a.element)))


def _is_unit(shown: Shown | None) -> bool:
    return shown is not None and isinstance(shown.incoming.element, Unit)


def _is(here: Here, incoming: Incoming) -> bool:
    return (here.version, here.id) == (incoming.element.version, incoming.element.id)


def _same(a: Incoming, b: Incoming) -> bool:
    """Whether the working tree would show the same; `placed` counts for nothing."""
    x, y = a.element, b.element
    if (type(x), x.id, x.version) != (type(y), y.id, y.version):
        return False
    return (a.below and a.below.id) == (b.below and b.below.id)
