"""Create, open, read, write, close."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from vaultfs.fuse.answering import refusal
from vaultfs.fuse.meaning.base import PERMISSIONS, VIRTUAL, Base

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.fuse.meaning.base import Caller
    from vaultfs.tree import Inode, Tree

_SUID_SGID = stat.S_ISUID | stat.S_ISGID


class Opened(NamedTuple):
    """An open file: its handle, and whether it is read past the page cache, or whether that may be kept."""

    handle: int
    direct: bool = False
    keep_cache: bool = True


class FileCalls(Base):
    """Calls about open files."""

    def __init__(self, tree: Tree, status: Callable[[], bytes], **settings: Any) -> None:
        super().__init__(tree, status, **settings)
        self._sent_back: set[int] = set()  # threads that were told to look again
        self._unprivileged: set[int] = set()  # handles for writing that root did not open

    def create_file(self, parent: int, name: bytes, mode: int, flags: int, caller: Caller) -> tuple[Opened, Inode]:
        """A new file, opened, which the kernel then knows."""
        if self.barred is not None and caller.pid not in self.own:
            self.barred(parent, name)
        inode = self.make(parent, name, stat.S_IFREG | mode & PERMISSIONS, caller)
        return Opened(self._open(inode.ino, flags, caller)), inode

    def open_file(self, ino: int, flags: int, caller: Caller) -> Opened:
        """See open(2)."""
        if ino >= VIRTUAL:
            return Opened(*self.virtual.open(ino, flags))
        if self.tree.arrivals.replaced(ino):
            self._look_again(caller.pid, flags)
        if self.barred is not None and flags & (os.O_ACCMODE | os.O_TRUNC) and caller.pid not in self.own:
            self.barred(ino, b"")
        before = self.tree.inode(ino).mode
        if flags & os.O_TRUNC:
            self.changes += 1
            self.tree.attributes.set(ino, size=0, clear_privileges=caller.uid != 0)
            self.mode_changed(ino, before)
        return Opened(self._open(ino, flags, caller))

    def _open(self, ino: int, flags: int, caller: Caller) -> int:
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        pid = caller.pid
        own = pid in self.own
        handle = self.tree.handles.open(ino, writable=writable, pid=0 if own else pid)
        if writable and not own and self.opened_for_writing is not None:
            self.opened_for_writing.add(ino)
        if self._sent_back:
            self._sent_back.discard(pid)
        if writable and caller.uid != 0:
            self._unprivileged.add(handle)
        return handle

    def _look_again(self, pid: int, flags: int) -> None:
        """The name was looked up before the checkout that gave it to another inode: OSError ESTALE.

        Then the kernel looks again, but only once: if the next version came meanwhile, who only reads gets the one
        that was just found. (So does who opens /proc/self/fd/N a second time.)
        """
        if pid in self.own or (pid in self._sent_back and flags & os.O_ACCMODE == os.O_RDONLY):
            return
        self._sent_back.add(pid)
        raise refusal(errno.ESTALE)

    def read_file(self, handle: int, offset: int, size: int) -> list[bytes]:
        """See pread(2); in pieces, so that nobody has to copy them together."""
        if handle >= VIRTUAL:
            return [self.virtual.read(handle, offset, size)]
        tree = self.tree
        return tree.content.pieces(tree.handles.ino(handle), offset, size)

    def write_file(self, handle: int, offset: int, data: bytes | memoryview) -> int:
        """See pwrite(2); who calls has seen that `tree.crowded` is false."""
        tree = self.tree
        ino = tree.handles.ino(handle)
        self.changes += 1
        if handle in self._unprivileged:
            before = tree.inode(ino).mode
            if before & _SUID_SGID:
                written = tree.content.write(ino, offset, data, clear_suid=True, times=False)
                self.mode_changed(ino, before)
                return written
        # With write-back the kernel keeps the times and sends them: this may come long after the program wrote, and
        # what it sent once it does not send again.
        return tree.content.write(ino, offset, data, times=False)

    def close_file(self, handle: int) -> None:
        """The last descriptor of an open file is closed."""
        if handle >= VIRTUAL:
            self.virtual.release(handle)
            return
        self._unprivileged.discard(handle)
        self.tree.handles.release(handle)
