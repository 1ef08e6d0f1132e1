"""A commit as a person sees it: names, what is in place under them, and what is in directories. Reads only.

Siblings are not shown (`sync.conflicts` lists them). A group stands here as its files, one by one, and a unit as the
directory that it is. A directory whose attributes went with its removal elsewhere shows as a private one.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from vaultfs.format.node import Directory, Dot, Entry, File, Group, Unit
from vaultfs.format.node_trie import Trie
from vaultfs.sync.depth import allow_depth
from vaultfs.sync.elements import in_place, newness
from vaultfs.sync.merge import load_commit
from vaultfs.sync.placing import PRIVATE
from vaultfs.sync.units import split_name
from vaultfs.tree.incoming import Incoming

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vaultfs.format.node import Nodes, Ref, Symlink
    from vaultfs.sync.conflicts import Path

    Shown = Directory | File | Symlink | Unit

_NOBODY = Dot(bytes(16), 1)


class Found(NamedTuple):
    """A path and what stands there. `unit`: the path of the unit that it is, or is in; None: it is in none.

    The unit of a group's file is the group's name.
    """

    path: Path
    item: Incoming
    unit: Path | None = None


class Snapshot:
    """The tree of one commit. Errors are `OSError` as of the like system call, and what `nodes.get` raises."""

    def __init__(self, nodes: Nodes, root: bytes) -> None:
        allow_depth()
        self.nodes = nodes
        self.root = root
        self.trie = Trie(nodes)
        commit = load_commit(nodes, root)
        top = max((it for it in commit.elements if isinstance(it, Directory)), key=newness, default=nameless(()))
        self.top = Found((), Incoming(b"", top, commit.below))

    def find(self, path: Path) -> Found:
        """What is in place at `path`. ENOENT, ENOTDIR."""
        found = self.top
        for depth in range(len(path)):
            item = found.item
            if not isinstance(item.element, Directory | Unit):
                raise _error(errno.ENOTDIR, path[:depth])
            child = self._child(item.below, path[: depth + 1])
            if child is None:
                raise _error(errno.ENOENT, path)
            found = _in_unit(child, found.unit)
        return found

    def inside(self, found: Found) -> Iterator[Found]:
        """What is in a directory or unit, sorted by name; nothing for anything else."""
        for item, group in listing(self.trie, found.item.below, found.path):
            child = Found((*found.path, item.name), item, None if group is None else (*found.path, group))
            yield _in_unit(child, found.unit)

    def walk(self, found: Found) -> Iterator[Found]:
        """`found` and everything below it, a directory before what is in it."""
        waiting = [iter((found,))]
        while waiting:
            here = next(waiting[-1], None)
            if here is None:
                waiting.pop()
                continue
            yield here
            if here.item.below is not None:
                waiting.append(self.inside(here))

    def together(self, found: Found) -> tuple[Found, list[Found]]:
        """What `found` makes sense with: the unit it belongs to, and the files beside it that are of one group.

        Returns what is to be taken for it (itself, if it is in no unit), and all that stands for: of a group, every
        file of it.
        """
        if found.unit is None:
            return found, [found]
        entry = self._entry(found.unit)
        element = in_place(entry) if entry is not None else None
        if entry is None or not isinstance(element, Group):
            whole = self.find(found.unit)
            return whole, [whole]
        parent = found.unit[:-1]
        files = [Found((*parent, item.name), item, found.unit) for item, _ in present(entry, found.unit)]
        return next((file for file in files if file.path == found.unit), files[0]), files

    def _entry(self, path: Path) -> Entry | None:
        return self.trie.lookup(self.find(path[:-1]).item.below, path[-1])

    def _child(self, below: Ref | None, path: Path) -> Found | None:
        """As `listing`, for one name: a file of a group stands before one of its own, a directory before both."""
        name = path[-1]
        entry = self.trie.lookup(below, name)
        shown = {item.name: (item, group) for item, group in present(entry, path)} if entry is not None else {}
        own, group = shown.get(name, (None, None))
        if own is not None and (group is not None or isinstance(own.element, Directory | Unit)):
            return Found(path, own, None if group is None else path)
        for prefix in _prefixes(name):
            entry = self.trie.lookup(below, prefix)
            if entry is None or not isinstance(in_place(entry), Group):
                continue
            for item, _ in present(entry, (*path[:-1], prefix)):
                if item.name == name:
                    return Found(path, item, (*path[:-1], prefix))
        main, suffix = split_name(name)
        if own is None or (suffix and isinstance(own.element, File) and self._is_group(below, main)):
            return None
        return Found(path, own)

    def _is_group(self, below: Ref | None, name: bytes) -> bool:
        entry = self.trie.lookup(below, name)
        return entry is not None and isinstance(in_place(entry), Group)


def listing(trie: Trie, below: Ref | None, path: Path) -> Iterator[tuple[Incoming, bytes | None]]:
    """What is seen in the directory at `path`, sorted by name, with the name of the group that a file is of."""
    yield from chosen(trie.entries(below), path)


def chosen(entries: Iterable[Entry], path: Path) -> list[tuple[Incoming, bytes | None]]:
    """What is seen of these entries of the directory at `path`, each name once.

    A group has all names that it could have: a file of its own beside it, which only a merge brings about, is not seen
    (a program would take a foreign `-wal` for the database's). But what is in a directory stays reachable.
    """
    seen: dict[bytes, tuple[Incoming, bytes | None]] = {}
    listed = list(entries)
    groups = {entry.name for entry in listed if isinstance(in_place(entry), Group)}
    for entry in listed:
        for item, group in present(entry, (*path, entry.name)):
            main, suffix = split_name(item.name)
            if group is None and suffix and isinstance(item.element, File) and main in groups:
                continue
            before = seen.get(item.name)
            if before is None or _rank(item, group) > _rank(*before):
                seen[item.name] = item, group
    return [seen[name] for name in sorted(seen)]


def present(entry: Entry, path: Path) -> list[tuple[Incoming, bytes | None]]:
    """What is seen under the name of `entry`, and under a group's other names: with the group's name, if it is one."""
    element = in_place(entry)
    if isinstance(element, Group):
        return [(Incoming(entry.name + suffix, file), entry.name) for suffix, file in element.members]
    if element is None:
        return [(Incoming(entry.name, nameless(path), entry.below), None)]
    below = entry.below if isinstance(element, Directory) else None
    return [(Incoming(entry.name, element, element.below if isinstance(element, Unit) else below), None)]


def nameless(path: Path) -> Directory:
    """The attributes shown of a directory that has none: private, of nobody, made at the beginning of time."""
    file_id = blake3(b"nameless\0" + b"/".join(path)).digest(16)
    return Directory(file_id, _NOBODY, None, 0, PRIVATE, None, None, 0, ())


def _rank(item: Incoming, group: bytes | None) -> tuple[bool, bool]:
    return isinstance(item.element, Directory | Unit), group is not None


def _in_unit(found: Found, outer: Path | None) -> Found:
    """With the outermost unit that it is in."""
    if outer is not None:
        return found._replace(unit=outer)
    return found._replace(unit=found.path) if isinstance(found.item.element, Unit) else found


def _prefixes(name: bytes) -> list[bytes]:
    """What the group can be called that has a file of that name; the likely first: a suffix begins with a sign."""
    cuts = range(1, len(name))
    return [name[:cut] for cut in sorted(cuts, key=lambda cut: (name[cut : cut + 1].isalnum(), -cut))]


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), b"/".join(path))
