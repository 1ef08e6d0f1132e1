"""Requests about open directories."""

# The handlers' names, arguments and meaning are pyfuse3's, and described there.
# ruff: noqa: D102

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import pyfuse3

from vaultfs.fuse import attributes
from vaultfs.fuse.answering import answered, as_errno
from vaultfs.fuse.base import VIRTUAL, Base
from vaultfs.fuse.virtual import CONFLICTS
from vaultfs.tree.incoming import NotHereError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyfuse3 import ReaddirToken, RequestContext

    from vaultfs.tree import Inode, Tree


class _Directory:
    """An open directory: its inode and the part of the last page of names the kernel had no room for."""

    __slots__ = ("changes", "cookie", "ino", "pid", "rest")

    def __init__(self, ino: int, pid: int) -> None:
        self.ino = ino
        self.pid = pid
        self.cookie = -1
        self.changes = -1
        self.rest: Sequence[tuple[bytes, Inode, int]] = ()


class DirectoryRequests(Base):
    """Open, list, release."""

    def __init__(self, tree: Tree, status: Callable[[], bytes], **settings: Any) -> None:
        super().__init__(tree, status, **settings)
        self._directories: dict[int, _Directory] = {}
        self._numbers = itertools.count(1)

    @answered
    def opendir(self, inode: int, ctx: RequestContext) -> int:
        handle = next(self._numbers)
        self._directories[handle] = _Directory(inode, ctx.pid)
        return handle

    @answered
    def releasedir(self, fh: int) -> None:
        self._directories.pop(fh, None)

    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        directory = self._directories[fh]
        try:
            self._readdir(directory, start_id, token)
        except NotHereError as error:
            lack = error
        except Exception as error:  # noqa: BLE001  one bad request must not end the mount
            raise as_errno(error, "readdir") from None
        else:
            return
        await self.fetched.again(lack, partial(self._readdir, directory, start_id, token), "readdir", directory.pid)

    def _readdir(self, directory: _Directory, start_id: int, token: ReaddirToken) -> None:
        if directory.ino >= VIRTUAL:
            self._list_virtual(directory.ino, start_id, token)
            return
        # The kernel's buffer and the tree's page differ in size; what was left over is good while nothing changes.
        page = directory.rest
        if directory.cookie != start_id or directory.changes != self.changes or not page:
            page = self.tree.names.listing(directory.ino, start_id)
        directory.rest = ()
        entry, fill, reply, told = self.entry, attributes.fill, pyfuse3.readdir_reply, self.lookups.add
        while page:
            for place, (name, inode, cookie) in enumerate(page):
                if not reply(token, name, fill(entry, inode), cookie):
                    directory.rest = page[place:]
                    directory.cookie, directory.changes = start_id, self.changes
                    return
                if name not in {b".", b".."}:
                    told(inode.ino)
                start_id = cookie
            try:
                page = self.tree.names.listing(directory.ino, start_id)
            except NotHereError:
                return  # what is in the reply already must not be put there again: the kernel comes back for the rest

    def _list_virtual(self, directory: int, start_id: int, token: ReaddirToken) -> None:
        for name, ino, cookie in self.virtual.listing(directory, start_id):
            own = ino >= VIRTUAL
            entry = self.virtual.attributes(ino) if own else attributes.fill(self.entry, self.tree.inode(ino))
            if not pyfuse3.readdir_reply(token, name, entry, cookie):
                return
            if ino > CONFLICTS and name not in {b".", b".."}:
                self.virtual.conflicts.told(ino)
