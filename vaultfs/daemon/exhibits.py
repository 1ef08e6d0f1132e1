"""The conflicts of a mounted vault as its `.vaultfs/conflicts` shows them, and in the attribute of what is in place."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

from vaultfs.format.node import NAME_MAX, File, Group, Symlink, Unit
from vaultfs.fuse.exhibits import Exhibit, NotShownError, nothing
from vaultfs.sync.decisions import files_of
from vaultfs.tree.whereabouts import exact_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultfs.format.node import Element, Ref
    from vaultfs.fuse.operations import Operations
    from vaultfs.sync.conflicts import Path
    from vaultfs.sync.decisions import Decisions, Kept
    from vaultfs.sync.engine import Engine
    from vaultfs.tree import Tree

_DIRECTORY = stat.S_IFDIR | 0o500
_READABLE = 0o400


def exhibit(operations: Operations, tree: Tree, engine: Callable[[], Engine | None]) -> None:
    """Have a mount show the conflicts of the engine's base, as soon as there is an engine."""
    shown = Conflicts(tree, lambda: None if (found := engine()) is None else found.decisions)
    operations.virtual.conflicts.root = shown.root
    operations.conflicts_of = shown.of


class Conflicts:
    """Directories as the paths of the conflicts, in them `NAME.ID`: a file, a group's files, or a unit.

    Made anew when somebody looks and the base is another; nothing of it is read before.
    """

    def __init__(self, tree: Tree, decisions: Callable[[], Decisions | None]) -> None:
        self._tree = tree
        self._decisions = decisions
        self._made: Sequence[Kept] = ()
        self._root = nothing()
        self._names: dict[Path, list[str]] = {}
        self._listed = False  # just now: good enough for the request that waited for it, however fast commits come

    def root(self) -> Exhibit:
        """What is to be seen. NotShownError: it has to be read first."""
        decisions = self._decisions()
        if decisions is not None:
            if not decisions.fresh and not self._listed:
                raise NotShownError("conflicts", self._list)
            self._listed = False
            self._make(decisions)
        return self._root

    def of(self, ino: int) -> bytes | None:
        """The attribute of a file (or directory) in place: how many conflicts it has, and their names; or None.

        As they were known last: who copies a file must not fail because the remote is away.
        """
        decisions = self._decisions()
        if decisions is None or not decisions.known:
            return None
        self._make(decisions)
        path = exact_path(self._tree.state, ino)
        names = None if path is None else self._names.get(path)
        return None if names is None else json.dumps({"number": len(names), "names": names}).encode()

    async def _list(self) -> None:
        decisions = self._decisions()
        if decisions is not None:
            await decisions.list()
            self._listed = True

    def _make(self, decisions: Decisions) -> None:
        if decisions.known is self._made:
            return
        self._made, self._root, self._names = decisions.known, nothing(), {}
        for kept in self._made:
            *above, name = kept.conflict.path
            place = self._root
            for part in above:
                inside = _children(place)
                place = inside[part] if part in inside else inside.setdefault(part, nothing())
            _children(place).update(_shown(decisions, kept, name))
            self._names.setdefault(kept.conflict.path, []).append(kept.name)


def _children(directory: Exhibit) -> dict[bytes, Exhibit]:
    if directory.inside is None:
        directory.inside = {}
    return directory.inside


def _shown(decisions: Decisions, kept: Kept, name: bytes) -> dict[bytes, Exhibit]:
    """A conflict by the names it has here: those of a group's files still end as they have to."""
    element, mark = kept.conflict.element, f".{kept.name}".encode()
    files: dict[bytes, Element] = {**files_of(element)} or {b"": element}
    return {
        name[: NAME_MAX - len(mark + suffix)] + mark + suffix: _one(decisions, file, None, kept.conflict.path)
        for suffix, file in files.items()
    }


def _one(decisions: Decisions, element: Element, below: Ref | None, path: Path) -> Exhibit:
    if isinstance(element, File):

        async def read(start: int, end: int) -> bytes:
            return await decisions.read(element, start, end)

        mode = stat.S_IFREG | _READABLE | element.mode & 0o500
        return Exhibit(mode, element.mtime, element.size, read=read)
    if isinstance(element, Symlink):
        return Exhibit(stat.S_IFLNK | 0o777, element.mtime, len(element.target), element.target)
    inner = element.below if isinstance(element, Unit) else below

    async def look() -> dict[bytes, Exhibit]:
        found = await decisions.inside(inner, path)
        return {item.name: _one(decisions, item.element, item.below, (*path, item.name)) for item in found}

    mtime = element.time if isinstance(element, Group) else element.mtime
    return Exhibit(_DIRECTORY, mtime, look=look)
