"""Requests about names."""

# The handlers' names, arguments and meaning are pyfuse3's, and described there.
# ruff: noqa: D102, ARG002

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

from vaultfs.fuse import attributes, virtual
from vaultfs.fuse.answering import answered, as_errno, refusal
from vaultfs.fuse.base import PERMISSIONS, ROOT, VIRTUAL, Base

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyfuse3 import EntryAttributes, RequestContext

_ABSENT = attributes.absent()
_NOT_YET = attributes.absent(0.0)


class NameRequests(Base):
    """Look up, make, link, remove, rename."""

    @answered
    def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        if parent_inode >= VIRTUAL:
            return self._lookup_virtual(parent_inode, name, own=ctx.pid in self.own)
        if parent_inode == ROOT and name == virtual.NAME:
            return self.virtual.attributes(virtual.DIRECTORY)
        if self.underway and ctx.pid in self.own and self.underway.is_placed(parent_inode, name):
            return _NOT_YET  # what is there already comes to be there, for all who watch, by the rename that follows
        try:
            inode = self.tree.names.lookup(parent_inode, name)
        except FileNotFoundError:
            return _ABSENT
        return self.told(inode)

    def _lookup_virtual(self, parent: int, name: bytes, *, own: bool) -> EntryAttributes:
        """A name in `.vaultfs`, or what only our own threads find below it; raises OSError."""
        if parent == virtual.OPEN and own and name.isdigit():
            return self.told(self.tree.inode(int(name)))
        if parent == virtual.STAGING and own:
            return self.told(self.tree.arrivals.staged(name))
        if parent >= virtual.CONFLICTS:
            return self.virtual.conflicts.lookup(parent, name)
        return self.virtual.lookup(name, own=own and parent == virtual.DIRECTORY)

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for ino, times in inode_list:
            if ino >= VIRTUAL:
                self.virtual.forget(ino, times)
            elif self.lookups.forget(ino, times):
                try:
                    self.tree.forget(ino)
                except Exception as error:  # noqa: BLE001  nobody waits for an answer
                    as_errno(error, "forget")

    @answered
    def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        return self.told(self.make(parent_inode, name, stat.S_IFDIR | mode & PERMISSIONS, ctx))

    @answered
    def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext) -> EntryAttributes:
        return self.told(self.make(parent_inode, name, mode, ctx, rdev=rdev))

    @answered
    def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext) -> EntryAttributes:
        return self.told(self.make(parent_inode, name, stat.S_IFLNK | 0o777, ctx, target=target))

    @answered
    def link(
        self,
        inode: int,
        new_parent_inode: int,
        new_name: bytes,
        ctx: RequestContext,
    ) -> EntryAttributes:
        self.check_nodes(inode, new_parent_inode)
        if new_parent_inode == ROOT and new_name == virtual.NAME:
            raise refusal(errno.EEXIST)
        self.changes += 1
        return self.told(self.tree.names.link(inode, new_parent_inode, new_name))

    @answered
    def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        if self._told_gone(parent_inode, name, ctx):
            return
        self.check_name(parent_inode, name)
        self.changes += 1
        self.tree.names.unlink(parent_inode, name)

    @answered
    def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        if self._told_gone(parent_inode, name, ctx):
            return
        self.check_name(parent_inode, name)
        self.changes += 1
        self.tree.names.rmdir(parent_inode, name)

    def _told_gone(self, parent: int, name: bytes, ctx: RequestContext) -> bool:
        """Whether this is a checkout that tells the kernel what went away; raises OSError where that cannot be."""
        if not self.underway or ctx.pid not in self.own:
            return False
        if parent != virtual.STAGING:  # there it is the old version's turn, after the two changed places
            self.changes += 1
            self.underway.place(parent, name)
        return True

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
        if parent_inode_old == virtual.STAGING and ctx.pid in self.own:
            self.changes += 1
            self.underway.place(parent_inode_new, name_new)
            return
        self.check_name(parent_inode_old, name_old)
        self.check_name(parent_inode_new, name_new)
        self.changes += 1
        self.tree.names.rename(parent_inode_old, name_old, parent_inode_new, name_new, flags)

    @answered
    def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        return self.tree.names.target(inode) if inode < VIRTUAL else self.virtual.conflicts.target(inode)
