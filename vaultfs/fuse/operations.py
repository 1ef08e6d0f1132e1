"""pyfuse3's operations over the tree: each handler converts, calls one function of the tree, and converts back.

A handler that can answer at once is a plain method; `answered` makes it the coroutine pyfuse3 wants. Only fsync
waits, and a write that finds the journal full; so no two other requests ever meet half-way.
"""

# The handlers' names, arguments and meaning are pyfuse3's, and described there.
# ruff: noqa: D102, ARG002

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

import pyfuse3
from pyfuse3 import FUSEError

from vaultfs.fuse import attributes
from vaultfs.fuse.answering import answered, refusal
from vaultfs.fuse.base import PERMISSIONS, VIRTUAL
from vaultfs.fuse.directories import DirectoryRequests
from vaultfs.fuse.files import FileRequests
from vaultfs.fuse.names import NameRequests
from vaultfs.tree.xattrs import PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyfuse3 import EntryAttributes, RequestContext, SetattrFields, StatvfsData

CONFLICTS = PREFIX + b"conflicts"


class Operations(NameRequests, FileRequests, DirectoryRequests):
    """All that the kernel may ask of one mounted tree."""

    @answered
    def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        if inode >= VIRTUAL:
            return self.virtual.attributes(inode)
        return attributes.fill(self.entry, self.tree.inode(inode))

    @answered
    def setattr(
        self,
        inode: int,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        self.check_nodes(inode)
        self.changes += 1
        if fields.update_size and fh is None and self.tree.arrivals.replaced(inode):
            raise refusal(errno.ESTALE)  # truncate(2) of a name that a checkout has just given to another inode
        # The kernel sends the times of what it renamed for a checkout, and only the ctime is new: that is no edit.
        new_mtime = fields.update_mtime and attr.st_mtime_ns != self.tree.inode(inode).mtime
        new_owner = fields.update_uid or fields.update_gid
        found = self.tree.attributes.set(
            inode,
            mode=attr.st_mode & PERMISSIONS if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            atime=attr.st_atime_ns if fields.update_atime else None,
            mtime=attr.st_mtime_ns if new_mtime else None,
            ctime=attr.st_ctime_ns if fields.update_ctime else None,
            clear_privileges=(fields.update_size and ctx.uid != 0) or (new_owner and self._may_run(inode)),
        )
        return attributes.fill(self.entry, found)

    def _may_run(self, ino: int) -> bool:
        """Set-group-id means something else on a directory, and stays when its owner changes."""
        return not stat.S_ISDIR(self.tree.inode(ino).mode)

    @answered
    def statfs(self, ctx: RequestContext) -> StatvfsData:
        return attributes.statistics(self.tree.statfs())

    # -- extended attributes

    @answered
    def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        if inode >= VIRTUAL:
            raise FUSEError(pyfuse3.ENOATTR)
        if name == CONFLICTS:
            if (value := self.conflicts_of(inode)) is None:
                raise FUSEError(pyfuse3.ENOATTR)
            return value
        return self.tree.xattrs.get(inode, name)

    @answered
    def setxattr(self, inode: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        # pyfuse3 has looked at XATTR_CREATE and XATTR_REPLACE already, by way of getxattr.
        self.check_nodes(inode)
        self.changes += 1
        self.tree.xattrs.set(inode, name, value)

    @answered
    def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        if inode >= VIRTUAL:
            return ()
        names = self.tree.xattrs.list(inode)
        return names if self.conflicts_of(inode) is None else [*names, CONFLICTS]

    @answered
    def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        self.check_nodes(inode)
        if name == CONFLICTS and self.conflicts_of(inode) is not None:
            return  # as with all that vaultfs alone writes
        self.changes += 1
        self.tree.xattrs.remove(inode, name)
