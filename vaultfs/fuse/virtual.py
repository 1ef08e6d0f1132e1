"""The directory `.vaultfs` at the root of every mount: looked up by name, listed nowhere, kept nowhere."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from typing import TYPE_CHECKING

from vaultfs.fuse.exhibits import Exhibition
from vaultfs.fuse.shown import Shown
from vaultfs.tree.inode import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

# Inode numbers and file handles from here on are ours; those of the tree stay below.
FIRST = 1 << 62
DIRECTORY = FIRST
STATUS = FIRST + 1
OPEN = FIRST + 2
STAGING = FIRST + 3
CONFLICTS = FIRST + 4  # the inodes from here on are those of the exhibition

NAME = b".vaultfs"
STATUS_NAME = b"status"
CONFLICTS_NAME = b"conflicts"
# For our own threads only, and listed nowhere: inodes of the tree by their number, so that they are found wherever
# they are; and what a checkout will bring into place, by its token.
OPEN_NAME = b"open"
STAGING_NAME = b"staging"
_HIDDEN = {OPEN_NAME: OPEN, STAGING_NAME: STAGING}


class VirtualDirectory:
    """`.vaultfs` with the file `status`: the bytes that `status()` gives when it is opened; and with `conflicts`.

    Readable by the owner of the mount (and root) only: it says what is open for writing here.
    """

    __slots__ = ("_handles", "_owner", "_snapshots", "_status", "conflicts")

    def __init__(self, status: Callable[[], bytes]) -> None:
        self._status = status
        self._owner = os.getuid(), os.getgid()
        self._snapshots: dict[int, bytes] = {}
        self._handles = itertools.count(FIRST)
        self.conflicts = Exhibition(CONFLICTS, DIRECTORY)

    def attributes(self, ino: int) -> Shown:
        """The attributes of one of our nodes; OSError ENOENT for any other number.

        The time is that of asking: so the kernel lists our directories anew each time.
        """
        if ino >= CONFLICTS:
            return self.conflicts.attributes(ino)
        now = time.time_ns()
        shown = Shown(ino, stat.S_IFDIR | 0o500, 2, *self._owner, atime=now, mtime=now, ctime=now)
        if ino == STATUS:
            # The size at this moment: what reads it goes by the end of the file, not by this.
            shown.mode, shown.nlink, shown.size = stat.S_IFREG | 0o400, 1, len(self._status())
        elif ino in {OPEN, STAGING}:
            shown.mode = stat.S_IFDIR | 0o700
            shown.name_seconds = 0.0  # the kernel must ask for every process whether there is such a name
        elif ino != DIRECTORY:
            raise OSError(errno.ENOENT, "no such node")
        return shown

    def lookup(self, name: bytes, *, own: bool = False) -> Shown:
        """A name in the directory, as a thread of our `own` sees it or as everybody; OSError ENOENT."""
        if name == STATUS_NAME:
            return self.attributes(STATUS)
        if name == CONFLICTS_NAME:
            return self.attributes(CONFLICTS)
        if own and name in _HIDDEN:
            return self.attributes(_HIDDEN[name])
        raise OSError(errno.ENOENT, "no such name")

    def open(self, ino: int, flags: int) -> tuple[int, bool]:
        """Take a snapshot to read from: its handle, and whether it is to be read past the page cache.

        OSError EACCES for writing.
        """
        if ino >= CONFLICTS:
            handle = next(self._handles)
            self.conflicts.open(ino, handle, flags)
            return handle, False
        if ino != STATUS:
            raise OSError(errno.ENOENT, "no such node")
        if flags & (os.O_ACCMODE | os.O_TRUNC):
            raise OSError(errno.EACCES, "read-only")
        handle = next(self._handles)
        self._snapshots[handle] = self._status()
        return handle, True  # the size changes from one open to the next

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """A piece of the snapshot, or of a conflict; OSError EBADF."""
        snapshot = self._snapshots.get(handle)
        return self.conflicts.read(handle, offset, size) if snapshot is None else snapshot[offset : offset + size]

    def release(self, handle: int) -> None:
        """Forget a snapshot, or an open conflict."""
        self._snapshots.pop(handle, None)
        self.conflicts.release(handle)

    def forget(self, ino: int, times: int) -> None:
        """The kernel knows an inode so many times less."""
        if ino > CONFLICTS:
            self.conflicts.forget(ino, times)

    def listing(self, ino: int, cookie: int) -> list[tuple[bytes, int, int]]:
        """(name, inode number, next cookie) of what comes after `cookie` in one of our directories."""
        if ino >= CONFLICTS:
            return self.conflicts.listing(ino, cookie)
        names = ((b".", DIRECTORY), (b"..", ROOT), (STATUS_NAME, STATUS), (CONFLICTS_NAME, CONFLICTS))
        return [(name, ino, place) for place, (name, ino) in enumerate(names, 1) if place > cookie]
