"""Requests about open files."""

# The handlers' names, arguments and meaning are pyfuse3's, and described there.
# ruff: noqa: D102, ARG002

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Any

import pyfuse3
from pyfuse3 import FUSEError

from vaultfs.fuse.answering import answered, as_errno, refusal
from vaultfs.fuse.base import PERMISSIONS, VIRTUAL, Base
from vaultfs.tree.incoming import NotHereError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyfuse3 import EntryAttributes, FileInfo, RequestContext

    from vaultfs.tree import Tree

_SUID_SGID = stat.S_ISUID | stat.S_ISGID


class FileRequests(Base):
    """Create, open, read, write, fsync, release."""

    def __init__(self, tree: Tree, status: Callable[[], bytes], **settings: Any) -> None:
        super().__init__(tree, status, **settings)
        self._opened = pyfuse3.FileInfo()
        self._sent_back: set[int] = set()  # threads that were told to look again
        self._unprivileged: set[int] = set()  # handles for writing that root did not open

    @answered
    def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        if self.barred is not None and ctx.pid not in self.own:
            self.barred(parent_inode, name)
        inode = self.make(parent_inode, name, stat.S_IFREG | mode & PERMISSIONS, ctx)
        return self.opened(inode.ino, flags, ctx), self.told(inode)

    def opened(self, ino: int, flags: int, ctx: RequestContext) -> FileInfo:
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        pid = ctx.pid
        own = pid in self.own
        handle = self.tree.handles.open(ino, writable=writable, pid=0 if own else pid)
        if writable and not own and self.opened_for_writing is not None:
            self.opened_for_writing.add(ino)
        if self._sent_back:
            self._sent_back.discard(pid)
        if writable and ctx.uid != 0:
            self._unprivileged.add(handle)
        self._opened.fh = handle
        return self._opened

    @answered
    def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        if inode >= VIRTUAL:
            return self.virtual.open(inode, flags)
        if self.tree.arrivals.replaced(inode):
            self._look_again(ctx.pid, flags)
        if self.barred is not None and flags & (os.O_ACCMODE | os.O_TRUNC) and ctx.pid not in self.own:
            self.barred(inode, b"")
        before = self.tree.inode(inode).mode
        if flags & os.O_TRUNC:
            self.changes += 1
            self.tree.attributes.set(inode, size=0, clear_privileges=ctx.uid != 0)
            self._mode_changed(inode, before)
        return self.opened(inode, flags, ctx)

    def _look_again(self, pid: int, flags: int) -> None:
        """The name was looked up before the checkout that gave it to another inode: OSError ESTALE.

        Then the kernel looks again, but only once: if the next version came meanwhile, who only reads gets the one
        that was just found. (So does who opens /proc/self/fd/N a second time.)
        """
        if pid in self.own or (pid in self._sent_back and flags & os.O_ACCMODE == os.O_RDONLY):
            return
        self._sent_back.add(pid)
        raise refusal(errno.ESTALE)

    def _mode_changed(self, ino: int, before: int) -> None:
        """Have the kernel ask again for a mode we cleared bits of, so that it does not run the file by the old."""
        if self.tree.inode(ino).mode != before:
            self.altered(ino)

    @answered
    def read(self, fh: int, off: int, size: int) -> bytes:
        if fh >= VIRTUAL:
            return self.virtual.read(fh, off, size)
        tree = self.tree
        return tree.content.read(tree.handles.ino(fh), off, size)

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        tree = self.tree
        if tree.crowded:
            await self.housekeeping.room()
        try:
            return self._write(tree, fh, off, buf)
        except NotHereError as error:
            lack = error
        except Exception as error:  # noqa: BLE001  one bad request must not end the mount
            raise as_errno(error, "write") from None
        return await self.fetched.again(lack, partial(self._write, tree, fh, off, buf), "write")

    def _write(self, tree: Tree, fh: int, off: int, buf: bytes) -> int:
        ino = tree.handles.ino(fh)
        self.changes += 1
        if fh in self._unprivileged:
            before = tree.inode(ino).mode
            if before & _SUID_SGID:
                written = tree.content.write(ino, off, buf, clear_suid=True, times=False)
                self._mode_changed(ino, before)
                return written
        # With write-back the kernel keeps the times and sends them: this may come long after the program wrote, and
        # what it sent once it does not send again.
        return tree.content.write(ino, off, buf, times=False)

    @answered
    def flush(self, fh: int) -> None:
        # Asked once, never again; with write-back the data arrives before close(2) returns all the same.
        raise FUSEError(errno.ENOSYS)

    @answered
    def release(self, fh: int) -> None:
        if fh >= VIRTUAL:
            self.virtual.release(fh)
            return
        self._unprivileged.discard(fh)
        self.tree.handles.release(fh)

    async def fsync(self, fh: int, datasync: bool) -> None:
        try:
            await self.syncer.sync()
        except Exception as error:  # noqa: BLE001  one bad request must not end the mount
            raise as_errno(error, "fsync") from None

    fsyncdir = fsync
