"""The pyfuse3 lane: each handler converts, makes one call of the meaning, and converts back.

A handler that can answer at once is a plain method; `answered` makes it the coroutine pyfuse3 wants. Only fsync
waits, and a write that finds the journal full; so no two other requests ever meet half-way.
"""

# The handlers' names, arguments and meaning are pyfuse3's, and described there.
# ruff: noqa: D102, ARG002

from __future__ import annotations

import errno
import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import pyfuse3
from pyfuse3 import FUSEError

from vaultfs.fuse import attributes
from vaultfs.fuse.answering import answered, as_errno
from vaultfs.fuse.meaning import Meaning
from vaultfs.tree.incoming import NotHereError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyfuse3 import EntryAttributes, FileInfo, ReaddirToken, RequestContext, SetattrFields, StatvfsData

    from vaultfs.fuse.meaning.files import Opened
    from vaultfs.fuse.shown import Node
    from vaultfs.tree import Tree


class Operations(Meaning, pyfuse3.Operations):
    """All that the kernel may ask of one mounted tree, as pyfuse3 asks it."""

    supports_dot_lookup = False

    def __init__(self, tree: Tree, status: Callable[[], bytes], *, permissions: bool = True, **settings: Any) -> None:
        super().__init__(tree, status, **settings)
        self.enable_writeback_cache = not self.read_only
        self.enable_acl = permissions  # the kernel that looks at lists looks at modes, too, whatever the mount says
        self._entry = attributes.blank()
        self._opened = pyfuse3.FileInfo()
        self._directories: dict[int, tuple[int, int]] = {}  # inode and caller of each open one
        self._numbers = itertools.count(1)

    def _fill(self, node: Node) -> EntryAttributes:
        return attributes.fill(self._entry, node)

    def _file(self, opened: Opened) -> FileInfo:
        self._opened.fh, self._opened.direct_io, self._opened.keep_cache = opened
        return self._opened

    # -- names

    @answered
    def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        return self._fill(self.find(parent_inode, name, ctx))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for ino, times in inode_list:
            try:
                self.let_go(ino, times)
            except Exception as error:  # noqa: BLE001  nobody waits for an answer
                as_errno(error, "forget")

    @answered
    def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        return self._fill(self.make_directory(parent_inode, name, mode, ctx))

    @answered
    def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext) -> EntryAttributes:
        return self._fill(self.make(parent_inode, name, mode, ctx, rdev=rdev))

    @answered
    def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext) -> EntryAttributes:
        return self._fill(self.make_symlink(parent_inode, name, target, ctx))

    @answered
    def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext) -> EntryAttributes:
        return self._fill(self.make_link(inode, new_parent_inode, new_name))

    @answered
    def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        self.remove(parent_inode, name, ctx)

    @answered
    def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        self.remove_directory(parent_inode, name, ctx)

    @answered
    def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        self.move(parent_inode_old, name_old, parent_inode_new, name_new, flags, ctx)

    @answered
    def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        return self.target(inode)

    # -- files

    @answered
    def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        opened, inode = self.create_file(parent_inode, name, mode, flags, ctx)
        return self._file(opened), self._fill(inode)

    @answered
    def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        return self._file(self.open_file(inode, flags, ctx))

    @answered
    def read(self, fh: int, off: int, size: int) -> bytes:
        return b"".join(self.read_file(fh, off, size))

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        if self.tree.crowded:
            await self.housekeeping.room()
        try:
            return self.write_file(fh, off, buf)
        except NotHereError as error:
            lack = error
        except Exception as error:  # noqa: BLE001  one bad request must not end the mount
            raise as_errno(error, "write") from None
        return await self.fetched.again(lack, partial(self.write_file, fh, off, buf), "write")

    @answered
    def flush(self, fh: int) -> None:
        # Asked once, never again; with write-back the data arrives before close(2) returns all the same.
        raise FUSEError(errno.ENOSYS)

    @answered
    def release(self, fh: int) -> None:
        self.close_file(fh)

    async def fsync(self, fh: int, datasync: bool) -> None:
        try:
            await self.syncer.sync()
        except Exception as error:  # noqa: BLE001  one bad request must not end the mount
            raise as_errno(error, "fsync") from None

    fsyncdir = fsync

    # -- directories

    @answered
    def opendir(self, inode: int, ctx: RequestContext) -> int:
        handle = next(self._numbers)
        self._directories[handle] = inode, ctx.pid
        return handle

    @answered
    def releasedir(self, fh: int) -> None:
        self._directories.pop(fh, None)

    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        ino, pid = self._directories[fh]
        try:
            self._readdir(ino, start_id, token)
        except NotHereError as error:
            lack = error
        except Exception as error:  # noqa: BLE001  one bad request must not end the mount
            raise as_errno(error, "readdir") from None
        else:
            return
        await self.fetched.again(lack, partial(self._readdir, ino, start_id, token), "readdir", pid)

    def _readdir(self, ino: int, cookie: int, token: ReaddirToken) -> None:
        page = self.page(ino, cookie)
        entry, fill, reply, listed = self._entry, attributes.fill, pyfuse3.readdir_reply, self.listed
        while page:
            for place, (name, node, after) in enumerate(page):
                if not reply(token, name, fill(entry, node), after):
                    self.keep(ino, cookie, page[place:])
                    return
                listed(name, node)
                cookie = after
            try:
                page = self.page(ino, cookie)
            except NotHereError:
                return  # what is in the reply already must not be put there again: the kernel comes back for the rest

    # -- attributes

    @answered
    def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return self._fill(self.node(inode))

    @answered
    def setattr(
        self,
        inode: int,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        found = self.change(
            inode,
            ctx,
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            atime=attr.st_atime_ns if fields.update_atime else None,
            mtime=attr.st_mtime_ns if fields.update_mtime else None,
            ctime=attr.st_ctime_ns if fields.update_ctime else None,
            by_name=fh is None,
        )
        return self._fill(found)

    @answered
    def access(self, inode: int, mode: int, ctx: RequestContext) -> bool:
        return self.may(inode, mode)

    @answered
    def statfs(self, ctx: RequestContext) -> StatvfsData:
        return attributes.statistics(self.tree.statfs())

    @answered
    def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        value = self.attribute(inode, name)
        if value is None:
            raise FUSEError(errno.ENODATA)
        return value

    @answered
    def setxattr(self, inode: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        # pyfuse3 has looked at XATTR_CREATE and XATTR_REPLACE already, by way of getxattr.
        self.set_attribute(inode, name, value)

    @answered
    def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        return self.attribute_names(inode)

    @answered
    def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        self.remove_attribute(inode, name)
