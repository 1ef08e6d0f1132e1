"""Attributes: what setattr of the kernel changes."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.tree.content import Content, drop_capability, drop_suid
from vaultfs.tree.statements import error

if TYPE_CHECKING:
    from vaultfs.tree.inode import Inode
    from vaultfs.tree.state import State
    from vaultfs.tree.xattrs import Xattrs

_PERMISSIONS = 0o7777

_HANDED_OVER_NS = 60_000_000_000  # the kernel keeps what is written for half a minute, and then some


class Attributes:
    """Mode, owner, size and times."""

    def __init__(self, state: State, content: Content, xattrs: Xattrs) -> None:
        self._state = state
        self._content = content
        self._xattrs = xattrs

    def set(  # noqa: C901, PLR0912  # one attribute after the other
        self,
        ino: int,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        size: int | None = None,
        atime: int | None = None,
        mtime: int | None = None,
        ctime: int | None = None,
        clear_privileges: bool = False,
    ) -> Inode:
        """Changes what is given (times in ns); `clear_privileges` drops set-user-id and file capabilities.

        Raises `OSError`: EISDIR or EINVAL for the size of what is no file, EFBIG.
        """
        state = self._state
        node = state.inode(ino)
        if size is not None and not stat.S_ISREG(node.mode):
            raise error(errno.EISDIR if node.is_dir else errno.EINVAL)
        self._content.before_truncate(node, size)
        told = mode is not None or uid is not None or gid is not None or size is not None or clear_privileges
        if not told and _are_so(node, atime, mtime, ctime):
            return node
        grows = size is not None and size > node.size
        now = state.begin(BLOCK_BYTES, grows=grows)
        before = _edited(node)
        if uid is not None:
            node.uid = uid
        if gid is not None:
            node.gid = gid
        if clear_privileges:
            drop_suid(node)
        if clear_privileges or size is not None:
            drop_capability(state, node)
        if mode is not None:
            node.mode = stat.S_IFMT(node.mode) | mode & _PERMISSIONS
            self._xattrs.mode_changed(node)
        if atime is not None:
            node.atime = atime
        if mtime is not None or size is not None:
            node.mtime = now if mtime is None else mtime
        node.ctime = now if ctime is None else ctime
        # Who only read a file is not its last writer; nor who says of it what is so already (SQLite as root does of
        # every -wal that it opens: reading a database would be a conflict with whoever writes to it elsewhere).
        if size is None and _edited(node) == before:
            state.put_inode(node)
        else:
            echo = size is None and _is_echo(before, node, now)
            state.stamp(node, max(node.written, node.mtime) if echo else now)
        try:
            if size is not None and size != node.size:
                self._content.truncate(node, size)
                state.put_inode(node)
        finally:
            if node.nlink or size is not None:
                state.end()
            else:
                # The kernel sends the times of what was removed or replaced, too. No start will see that again.
                state.end_unlogged()
        return node


def _are_so(node: Inode, atime: int | None, mtime: int | None, ctime: int | None) -> bool:
    """Whether the times are what they are said to be, as often where the kernel hands over what it kept itself."""
    return ctime == node.ctime and atime in {None, node.atime} and mtime in {None, node.mtime}


def _is_echo(before: tuple[int, ...], node: Inode, now: int) -> bool:
    """Whether this is only the kernel's time of what was written before, which it sends when it hands the file over.

    That may be long after: which of two machines wrote last must not depend on it.
    """
    mode, uid, gid, _, flags = before
    same = (mode, uid, gid, node.mtime, flags) == _edited(node)
    return same and node.written - _HANDED_OVER_NS <= node.mtime <= now


def _edited(node: Inode) -> tuple[int, ...]:
    """What another machine would see of a change of attributes."""
    return node.mode, node.uid, node.gid, node.mtime, node.flags
