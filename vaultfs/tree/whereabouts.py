"""Where a node is in the tree, and what follows from it."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from vaultfs.tree.inode import ROOT, Inode, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.tree.state import State

_MACHINE_LOCAL = {stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK, stat.S_IFCHR}


def scope_of(state: State, node: Inode) -> Scope:
    """Whether a node belongs to the vault or stays on this machine, by itself or by a directory above it."""
    if stat.S_IFMT(node.mode) in _MACHINE_LOCAL:
        return Scope.NODE
    while node.scope == Scope.INHERIT and node.ino != ROOT:
        parent = state.find(node.parent)
        if parent is None:
            break
        node = parent
    return Scope(node.scope or Scope.VAULT)


def shown_path(state: State, ino: int) -> str:
    """A path of the inode, for people; begins with '?' where it has none any more."""
    parts: list[str] = []
    while ino != ROOT:
        node = state.find(ino)
        name = node and state.one("SELECT name FROM dirent WHERE parent=? AND ino=?", node.parent, ino)
        if node is None or not isinstance(name, bytes):
            parts.append("?")
            break
        parts.append(name.decode(errors="backslashreplace"))
        ino = node.parent
    return "/".join(reversed(parts))


def way_up(state: State, ino: int) -> Iterator[tuple[int, bytes] | None]:
    """The directory and the name there of a directory (or of one of a file's names), then those of that, to the top.

    None, and no more, where something on the way has no name.
    """
    while ino != ROOT:
        row = state.all("SELECT parent, name FROM dirent WHERE ino=? LIMIT 1", ino)
        if not row:
            yield None
            return
        ino, name = row[0]
        yield ino, name


def exact_path(state: State, ino: int) -> tuple[bytes, ...] | None:
    """The names on the way from the top to a directory (or to one of a file's names); None where it has no name."""
    parts: list[bytes] = []
    for slot in way_up(state, ino):
        if slot is None:
            return None
        parts.append(slot[1])
    return tuple(reversed(parts))
