"""From an element of a commit to an inode: attributes, and what is in it as a note for later."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import msgspec

from vaultfs.format.node import Blocks, Directory, File, Inline, Symlink, Unit
from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.tree.inode import ROOT, Flag, Inode
from vaultfs.tree.xattrs import FLAGS, PREFIX, SCOPE, SCOPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vaultfs.format.node import Block, Content, Dot, Element, Ref
    from vaultfs.tree.incoming import Incoming
    from vaultfs.tree.ledger import Ledger
    from vaultfs.tree.state import State

_LINK_MODE = 0o777
_LINE = 1024  # the changes for one name, without what is in it: inode, name, device

_encode = msgspec.msgpack.encode
Shown = Directory | File | Symlink | Unit


class Bringer:
    """Makes and changes inodes as elements say. Each call is part of a quiet change already begun.

    `altered(ino)` is called for each inode that gets attributes, in place too: the kernel may remember others.
    """

    def __init__(self, state: State, ledger: Ledger) -> None:
        self._state = state
        self._ledger = ledger
        self.altered: Callable[[int], None] = lambda _: None

    def meet(self, elements: Iterable[Element]) -> None:
        """Takes up the devices in these elements. Before the change is begun, since it makes changes itself."""
        for element in elements:
            self._ledger.device_row(element.version.device)
            if element.placed is not None:
                self._ledger.device_row(element.placed.device)

    def dot(self, dot: Dot | None) -> int:
        """A dot as `placed` of a directory entry: 0 for none."""
        return 0 if dot is None else self._ledger.device_row(dot.device) << 48 | dot.counter

    def make(self, element: Shown, below: Ref | None, parent: int, nlink: int) -> Inode:
        """A new inode. `below`: what is in a directory."""
        state = self._state
        ino = state.next_ino
        state.next_ino += 1
        moment = element.mtime
        node = Inode(ino, 0, nlink, 0, 0, 0, 0, moment, moment, element.time, parent, 0, 0, 0, id=element.id)
        if isinstance(element, File):
            node.mode = stat.S_IFREG
            self.fold_file(node, element)
        elif isinstance(element, Symlink):
            node.mode = stat.S_IFLNK
            node.target = element.target
            node.size = len(element.target)
        else:
            node.mode = stat.S_IFDIR
            self.fold_directory(node, below)
        self.dress(node, element)
        state.count(node, 1)
        if not node.is_dir:
            state.put_arrived(element.id, ino)
        return node

    def linked(self, element: Shown) -> Inode | None:
        """The inode that this version of the file has already, under another name."""
        if not isinstance(element, File | Symlink):
            return None
        ino = self._state.one("SELECT ino FROM arrived WHERE id=?", element.id)
        node = None if ino is None else self._state.find(ino)
        if node is None or node.id != element.id or stat.S_ISLNK(node.mode) != isinstance(element, Symlink):
            return None
        same = (node.writer, node.counter) == (self._ledger.device_row(element.version.device), element.version.counter)
        return node if same else None

    def dress(self, node: Inode, element: Shown) -> None:
        """Gives the inode the element's attributes and version."""
        state = self._state
        root = node if node.ino == ROOT else state.inode(ROOT)
        mode = _LINK_MODE if isinstance(element, Symlink) else element.mode
        node.mode = stat.S_IFMT(node.mode) | mode
        # Nobody in particular: whoever mounts the vault, and to them belongs its root.
        node.uid = root.uid if element.uid is None else element.uid
        node.gid = root.gid if element.gid is None else element.gid
        node.mtime = element.mtime
        node.ctime = node.written = element.time
        node.writer, node.counter = self._ledger.device_row(element.version.device), element.version.counter
        node.id = element.id
        self._set_xattrs(node, dict(element.xattrs))
        state.put_inode(node)
        self.altered(node.ino)

    def _set_xattrs(self, node: Inode, xattrs: dict[bytes, bytes]) -> None:
        state = self._state
        if node.flags & Flag.XATTRS:
            for (name,) in state.all("SELECT name FROM xattr WHERE ino=?", node.ino):
                if name not in xattrs:
                    state.drop_xattr(node.ino, name)
        node.flags &= Flag.FOLDED
        for name, value in xattrs.items():
            if name == SCOPE:
                node.scope = SCOPES.get(value, node.scope)
            elif not name.startswith(PREFIX):
                state.put_xattr(node.ino, name, value)
                node.flags |= Flag.XATTRS | FLAGS.get(name, 0)

    def fold_directory(self, node: Inode, below: Ref | None) -> None:
        """What is in the directory is what `below` says."""
        if below is not None:
            node.flags |= Flag.FOLDED
            self._state.put_folded(node.ino, _encode(below))
        elif node.flags & Flag.FOLDED:
            node.flags &= ~Flag.FOLDED
            self._state.put_folded(node.ino, None)

    def fold_file(self, node: Inode, element: File) -> None:
        """The file has the element's size and content, and none of its own in the other tables."""
        node.size = element.size
        node.holes = holes_of(element.size, element.content)
        if element.size:
            node.flags |= Flag.FOLDED
            self._state.put_folded(node.ino, _encode(element.content))
        elif node.flags & Flag.FOLDED:
            node.flags &= ~Flag.FOLDED
            self._state.put_folded(node.ino, None)


def weigh(incoming: Incoming) -> int:
    """At most how many bytes `Bringer.make` puts into the journal for it."""
    element = incoming.element
    size = _LINE + sum(2 * _LINE + len(value) for _, value in element.xattrs)
    if isinstance(element, File):
        size += len(_encode(element.content))
    elif isinstance(element, Symlink):
        size += len(element.target)
    return size if incoming.below is None else size + len(_encode(incoming.below))


def holes_of(size: int, content: Content) -> int:
    """How many bytes of a file of that size are holes, as far as can be told without its list of blocks."""
    if isinstance(content, Inline):
        return 0
    if isinstance(content, Blocks):
        return size - stored(size, content.blocks)
    return max(size - content.count * BLOCK_BYTES, 0)


def stored(size: int, blocks: Iterable[Block]) -> int:
    """How many bytes of a file of that size are in these blocks."""
    return sum(min(BLOCK_BYTES, max(size - block.number * BLOCK_BYTES, 0)) for block in blocks)
