"""What keeps a name from changing hands: it is open, was changed here, or holds something that stays."""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.tree.inode import ROOT, Flag, Inode, Scope
from vaultfs.tree.scope import is_fleeting
from vaultfs.tree.whereabouts import scope_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultfs.format.node import Directory
    from vaultfs.tree.handles import Handles
    from vaultfs.tree.state import State

OPEN, CHANGED, OCCUPIED = "open", "changed", "occupied"
POSTGRES = b"PG_VERSION"  # names a directory that is a Postgres (or PGlite) database
_BELOW = """
WITH RECURSIVE below(ino) AS (SELECT ino FROM dirent WHERE parent=?
                              UNION SELECT d.ino FROM dirent d JOIN below b ON d.parent=b.ino) SELECT ino FROM below
"""
_NAME_OF = "SELECT name FROM dirent WHERE ino=? LIMIT 1"
_NAMES = "SELECT name FROM dirent WHERE parent=? LIMIT ?"


class Swap(NamedTuple):
    """A name that changes hands: what is staged as `token` comes there; None: it goes away.

    `attributes`: the directory there stays, and gets these. `whole`: a directory goes with all that is in it, as a
    unit does, and always where another directory comes; else it must be empty by then, or never have been looked into.
    """

    parent: int
    name: bytes
    token: bytes | None = None
    attributes: Directory | None = None
    whole: bool = False


class Obstacles:
    """Asks the handles, and what was changed since the last cut."""

    def __init__(self, state: State, handles: Handles) -> None:
        self._state = state
        self._handles = handles

    def changed(self, ino: int) -> bool:
        """Whether the inode was changed here since the last cut."""
        return self._state.changes.dirty(ino)

    def check(self, swaps: list[Swap]) -> None:
        """Raises EBUSY, with the name, if one of them cannot be done, in their order.

        Several are files that belong together, as a database and its -wal: who has read one and not yet the other
        must not get an old one and a new one. So nobody may have any of them open, not even to read.
        """
        gone: dict[int, set[bytes]] = defaultdict(set)
        for swap in swaps:
            if self.found(swap, gone) or (len(swaps) > 1 and self._is_read(swap)):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), swap.name)
            if swap.token is None and swap.attributes is None:
                gone[swap.parent].add(swap.name)

    def _is_read(self, swap: Swap) -> bool:
        entry = self._state.entry(swap.parent, swap.name)
        return entry is not None and self._handles.is_used(entry.ino)

    def found(self, swap: Swap, gone: Mapping[int, set[bytes]]) -> str:
        """What is in the way, empty if nothing; `gone`: names that will not be there any more, by directory."""
        parent = self._state.find(swap.parent)
        if parent is None or parent.flags & Flag.FOLDED or not parent.nlink:
            return OCCUPIED  # nobody can know what is in it: whoever looked has to look again
        if self._state.changes.touched(swap.parent, swap.name):
            return CHANGED
        entry = self._state.entry(swap.parent, swap.name)
        node = None if entry is None else self._state.inode(entry.ino)
        if node is None:
            return ""
        if self._state.changes.dirty(node.ino) or self._handles.is_open_for_writing(node.ino):
            return CHANGED if self._state.changes.dirty(node.ino) else OPEN
        if not node.is_dir or swap.attributes is not None:
            return ""
        return self._directory(node, swap, gone.get(node.ino, set()))

    def _directory(  # noqa: PLR0911  # one obstacle after the other
        self, node: Inode, swap: Swap, gone: set[bytes]
    ) -> str:
        if node.flags & Flag.FOLDED:
            return ""
        if not swap.whole:
            names = {name for (name,) in self._state.all(_NAMES, node.ino, len(gone) + 1)}
            return OCCUPIED if names - gone else ""
        if self._state.changes.within(node.ino):
            return CHANGED
        below = self._below(node.ino)
        if self._staying(node.ino, below):
            return OCCUPIED
        if self.servers(node.ino):
            return OPEN
        for ino in below:
            if self._handles.is_used(ino):
                return OPEN
            if self._state.changes.dirty(ino) or self._state.changes.within(ino):
                return CHANGED
        return ""

    def servers(self, directory: int) -> list[int]:
        """Processes that run on the database in a directory, though they may have no file of it open just now.

        PGlite opens its files one by one as it starts, and has much of them in memory: the tree must not be another
        one in between. What it wrote into that would go with what it read before.
        """
        if self._state.entry(directory, POSTGRES) is None:
            return []
        wrote = self._handles.wrote()
        return [pid for pid, inos in wrote.items() if any(self.is_below(ino, directory) for ino in inos)]

    def is_below(self, ino: int, directory: int) -> bool:
        """Whether the inode is in the directory, or it."""
        while ino not in {ROOT, directory}:
            node = self._state.find(ino)
            if node is None or node.parent == ino:
                return False
            ino = node.parent
        return ino == directory

    def staying(self, directory: int) -> bytes:
        """The name of something below that stays on this machine, so that the whole cannot go; empty: there is none.

        What only a running program needs does not count: Postgres leaves its process number behind, and would never
        get what another machine wrote.
        """
        return self._staying(directory, self._below(directory))

    def _below(self, directory: int) -> list[int]:
        return [ino for (ino,) in self._state.all(_BELOW, directory)]

    def _staying(self, directory: int, below: list[int]) -> bytes:
        directories = {directory, *below}
        for parent, name in self._state.changes.outside:
            if parent in directories and not is_fleeting(name):
                return name
        for ino in below:
            node = self._state.find(ino)
            if node is not None and scope_of(self._state, node) == Scope.NODE:
                return self._state.one(_NAME_OF, ino) or b"?"
        return b""
