"""Bringing the last commit into the working tree: what lags behind comes into place, unless it is in use.

Each name (a database with its companions at once) is staged under a new inode and put in place by the mount. What is
open for writing or was changed here meanwhile stays as it is, and in the table of what lags; it is tried again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import trio

from vaultfs.format.node import Directory, Dot, File, Group, Unit
from vaultfs.sync.plan import Here
from vaultfs.sync.seen import seen_element
from vaultfs.sync.units import family, split_name
from vaultfs.sync.walking import Snapshot
from vaultfs.tree.arrivals import Swap
from vaultfs.tree.inode import ROOT, Flag
from vaultfs.tree.whereabouts import exact_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vaultfs.format.node import Element, Nodes
    from vaultfs.sync.conflicts import Path
    from vaultfs.sync.ports import Ports
    from vaultfs.tree.arrivals import Batch
    from vaultfs.tree.incoming import Incoming

_AT_ONCE = 256
_SHARED_MEMORY = b"-shm"  # SQLite's index of the -wal: wrong for another database, made anew when missing


class Name(NamedTuple):
    """A name that lags: its directory, and its path."""

    parent: int
    name: bytes
    path: Path


class Found(NamedTuple):
    """What is to come under a name: what the commit shows, of a group all its files. `grouped`: it is a group."""

    name: Name
    shows: dict[bytes, Incoming]
    grouped: bool


class Checkout:
    """Works through the table of what lags. `busy`: held by whoever changes the base."""

    def __init__(self, ports: Ports, nodes: Callable[[], Nodes], busy: trio.Lock) -> None:
        self._ports = ports
        self._tree = ports.tree
        self._nodes = nodes
        self._busy = busy

    def find(self, parent: int, name: bytes) -> Here | None:
        """What the working tree has there; `(0, b"")` is the top."""
        tree = self._tree
        ino = ROOT
        if parent:
            entry = tree.state.entry(parent, name)
            if entry is None:
                return None
            ino = entry.ino
        node = tree.inode(ino)
        version = Dot(tree.device(node.writer).id, node.counter)
        folded = bool(node.is_dir and node.flags & Flag.FOLDED)
        return Here(ino, node.is_dir, folded, version, tree.state.file_ids.of(node))

    async def run(self) -> int:
        """Bring in what can be of the base; returns how many names came into place.

        The base stays what it is meanwhile: else a name that came in would count as that of a newer base, which it is
        not. And who asks while it is being done, waits: `sync` must not say that all is in place before it is.
        """
        done = 0
        async with self._busy:
            while rows := self._ready():
                base = self._tree.ledger.base
                if base is None:
                    break
                found = await trio.to_thread.run_sync(partial(_resolve, self._nodes(), base.root, rows[:_AT_ONCE]))
                came = await self._bring(found)
                done += came
                if not came:
                    break
        return done

    def held(self) -> list[Name]:
        """The names that wait, because they are in use here."""
        return [name for name in self._names() if self._in_use(name)]

    def _names(self) -> list[Name]:
        state = self._tree.state
        out = []
        for parent, name, _ in self._tree.ledger.lag():
            above = exact_path(state, parent)
            if above is None:
                continue  # its directory is gone here; the next cut tells what becomes of it
            out.append(Name(parent, name, (*above, name)))
        # What is in a directory goes before the directory does.
        return sorted(out, key=lambda name: -len(name.path))

    def _ready(self) -> list[Name]:
        return [name for name in self._names() if not self._in_use(name)]

    def _in_use(self, name: Name) -> bool:
        """Whether the name cannot change hands now, or one that would have to with it."""
        together = [name._replace(name=other) for other in family(name.name)]
        if any(self._is_used(other) for other in together):
            return True
        if not isinstance(self._seen(name), Group):
            return False
        return any(self._is_open(other) for other in together)  # to read is enough: see Obstacles.check

    def _seen(self, name: Name) -> Element | None:
        """What the working tree has there, as it was committed."""
        record = self._tree.ledger.seen_at(name.parent, name.name)
        return None if record is None else seen_element(record)

    def _is_open(self, name: Name) -> bool:
        entry = self._tree.state.entry(name.parent, name.name)
        return entry is not None and self._tree.handles.is_used(entry.ino)

    def _is_used(self, name: Name) -> bool:
        tree = self._tree
        if tree.changes.touched(name.parent, name.name):
            return True
        entry = tree.state.entry(name.parent, name.name)
        if entry is None:
            return False
        if tree.changes.dirty(entry.ino) or tree.handles.is_open_for_writing(entry.ino):
            return True
        return tree.inode(entry.ino).is_dir and self._unit_in_use(name, entry.ino)

    def staying(self, name: Name) -> bytes:
        """The name of something in the unit there that stays on this machine, and keeps the newer version out."""
        entry = self._tree.state.entry(name.parent, name.name)
        if entry is None or not self._is_unit(name):
            return b""
        return self._tree.arrivals.obstacles.staying(entry.ino)

    def _unit_in_use(self, name: Name, ino: int) -> bool:
        """Whether anything in a unit is open or was changed, or stays on this machine."""
        tree = self._tree
        if not self._is_unit(name):
            return False
        obstacles = tree.arrivals.obstacles
        if any(obstacles.is_below(other, ino) for other in (*tree.handles.inos(), *tree.changes.inos())):
            return True
        return bool(obstacles.servers(ino) or obstacles.staying(ino))

    def _is_unit(self, name: Name) -> bool:
        """Whether what is here is a directory that comes and goes as a whole."""
        return isinstance(self._seen(name), Unit)

    async def _bring(self, found: list[Found]) -> int:
        batches: list[Batch] = []
        rows: list[list[Name]] = []
        done: set[tuple[int, bytes]] = set()
        there: list[Name] = []
        left = 0
        try:
            for one in found:
                if one.name[:2] in done:
                    continue
                together = self._together(one, found)
                names = [member.name for member in together]
                done.update(name[:2] for name in names)
                batch = self._batch(together)
                if batch is None:
                    there += names
                else:
                    batches.append(batch)
                    rows.append(names)
            self._tree.arrivals.caught_up([name[:2] for name in there])
            for names, came in zip(rows, await self._ports.mount.present_all(batches), strict=True):
                if not came:
                    left += len(names)
        except BaseException:
            for batch in batches:  # those that were not presented are still waiting, and what is staged for them
                self._tree.arrivals.done(batch)
            raise
        return len(done) - left

    def _together(self, one: Found, found: list[Found]) -> list[Found]:
        """The names that come into place at once with this one: the files of a group, before and after."""
        if not one.grouped and not isinstance(self._seen(one.name), Group):
            return [one]
        names = family(one.name.name)
        return [other for other in found if other.name.parent == one.name.parent and other.name.name in names]

    def _batch(self, together: list[Found]) -> Batch | None:
        """The swaps for these names; None where nothing is left to do."""
        swaps: list[Swap] = []
        try:
            for one in together:
                swap = self._swap(one.name, one.shows.get(one.name.name))
                if swap is not None:
                    swaps.append(swap)
            return self._prepared(together, swaps) if swaps else None
        except OSError:
            for swap in swaps:
                if swap.token is not None:
                    self._tree.arrivals.discard(swap.token)
            raise

    def _prepared(self, together: list[Found], swaps: list[Swap]) -> Batch:
        for one in together:
            if one.grouped:
                swaps += self._companions(one, [other.name for other in together])
                break
        swapped = {(swap.parent, swap.name) for swap in swaps}
        along = [one.name[:2] for one in together if one.name[:2] not in swapped]
        return self._tree.arrivals.prepare(swaps, along)

    def _swap(self, name: Name, now: Incoming | None) -> Swap | None:
        """What is to be done for one name; None: it is there already."""
        here = self.find(name.parent, name.name)
        if now is None:
            return None if here is None else Swap(name.parent, name.name, whole=self._is_unit(name))
        element = now.element
        if here is not None and here.directory and isinstance(element, Directory):
            return Swap(name.parent, name.name, attributes=element)
        if here is not None and not here.directory and (here.version, here.id) == (element.version, element.id):
            return None
        return Swap(name.parent, name.name, self._tree.arrivals.stage(now).token)

    def _companions(self, one: Found, names: list[Name]) -> Iterable[Swap]:
        """What stands beside a database here and would be taken for the new one's."""
        parent, (main, *companions) = one.name.parent, family(one.name.name)
        listed = {name.name for name in names} | one.shows.keys()
        for name in (*companions, main + _SHARED_MEMORY):
            here = None if name in listed else self.find(parent, name)
            if here is not None and not here.directory:  # no program takes a directory for its log
                yield Swap(parent, name)


def _resolve(nodes: Nodes, root: bytes, names: list[Name]) -> list[Found]:
    """What the commit `root` shows under each name, with what belongs together with it."""
    snapshot = Snapshot(nodes, root)
    return [Found(name, *_shown(snapshot, name.path)) for name in names]


def _shown(snapshot: Snapshot, path: Path) -> tuple[dict[bytes, Incoming], bool]:
    """What comes under that name, and under others with it; whether it is a group."""
    try:
        found = snapshot.find(path)
    except (FileNotFoundError, NotADirectoryError):
        main, suffix = split_name(path[-1])
        return ({}, False) if not suffix else _shown_beside(snapshot, (*path[:-1], main))
    if found.unit is None or len(found.unit) < len(path) or not isinstance(found.item.element, File):
        return {path[-1]: found.item}, False
    return {file.path[-1]: file.item for file in snapshot.together(found)[1]}, True


def _shown_beside(snapshot: Snapshot, main: Path) -> tuple[dict[bytes, Incoming], bool]:
    """Nothing comes under a name; if it is one of a group's, the group does."""
    shows, grouped = _shown(snapshot, main)
    return (shows, True) if grouped else ({}, False)
