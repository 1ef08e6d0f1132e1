"""Listings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaultfs.fuse.meaning.base import VIRTUAL, Base
from vaultfs.fuse.virtual import CONFLICTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultfs.fuse.shown import Node
    from vaultfs.tree import Tree

Line = tuple[bytes, "Node", int]  # name, node, where the listing goes on after it
_DOTS = frozenset((b".", b".."))
_MOST = 64  # listings under way whose rest is kept


class DirectoryCalls(Base):
    """Calls about what is in a directory. A listing needs no state: its offsets are cookies made from the names."""

    def __init__(self, tree: Tree, status: Callable[[], bytes], **settings: Any) -> None:
        super().__init__(tree, status, **settings)
        # The kernel's buffer and the tree's page differ in size; what was left over is good while nothing changes.
        self._rests: dict[tuple[int, int], tuple[int, Sequence[Line]]] = {}

    def page(self, ino: int, cookie: int) -> Sequence[Line]:
        """Some of what comes after `cookie`; empty at the end."""
        if self._rests:
            changes, rest = self._rests.pop((ino, cookie), (-1, ()))
            if changes == self.changes:
                return rest
        if ino < VIRTUAL:
            return self.tree.names.listing(ino, cookie)
        return [(name, self.node(inner), place) for name, inner, place in self.virtual.listing(ino, cookie)]

    def keep(self, ino: int, cookie: int, rest: Sequence[Line]) -> None:
        """The kernel had no room for these, and will come back for what is after `cookie`."""
        if len(self._rests) >= _MOST:
            self._rests.clear()
        self._rests[ino, cookie] = self.changes, rest

    def listed(self, name: bytes, node: Node) -> None:
        """A line of a listing went out with its attributes: the kernel knows the node once more."""
        if name in _DOTS:
            return
        if node.ino < VIRTUAL:
            self.lookups.add(node.ino)
        elif node.ino > CONFLICTS:
            self.virtual.conflicts.told(node.ino)
