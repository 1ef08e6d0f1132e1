"""Attributes, and those that programs name."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from vaultfs.fuse.answering import refusal
from vaultfs.fuse.meaning.base import PERMISSIONS, VIRTUAL, Base
from vaultfs.tree.xattrs import PREFIX

if TYPE_CHECKING:
    from vaultfs.fuse.meaning.base import Caller
    from vaultfs.tree import Inode

_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
CONFLICTS = PREFIX + b"conflicts"


class AttributeCalls(Base):
    """Calls about attributes."""

    def change(
        self,
        ino: int,
        caller: Caller,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        size: int | None = None,
        atime: int | None = None,
        mtime: int | None = None,
        ctime: int | None = None,
        by_name: bool = True,
    ) -> Inode:
        """Change what is given (times in ns). `by_name`: not through an open file."""
        self.check_nodes(ino)
        self.changes += 1
        tree = self.tree
        if size is not None and by_name and tree.arrivals.replaced(ino):
            raise refusal(errno.ESTALE)  # truncate(2) of a name that a checkout has just given to another inode
        node = tree.inode(ino)
        # Set-group-id means something else on a directory, and stays when its owner changes.
        new_owner = (uid is not None or gid is not None) and not stat.S_ISDIR(node.mode)
        return tree.attributes.set(
            ino,
            mode=None if mode is None else mode & PERMISSIONS,
            uid=uid,
            gid=gid,
            size=size,
            atime=atime,
            # The kernel sends the times of what it renamed for a checkout, and only the ctime is new: that is no edit.
            mtime=None if mtime == node.mtime else mtime,
            ctime=ctime,
            clear_privileges=(size is not None and caller.uid != 0) or new_owner,
        )

    def may(self, ino: int, mask: int) -> bool:
        """See access(2). Asked where the kernel looks at no modes, as only root gets in (`MountOptions.permissions`).

        Root reads, writes and enters everything, and runs what anybody may.
        """
        if not mask & os.X_OK:
            return True
        mode = self.node(ino).mode
        return stat.S_ISDIR(mode) or bool(mode & _EXECUTABLE)

    def attribute(self, ino: int, name: bytes) -> bytes | None:
        """See getxattr(2); None: ENODATA."""
        if ino >= VIRTUAL:
            return None
        return self.conflicts_of(ino) if name == CONFLICTS else self.tree.xattrs.find(ino, name)

    def attribute_names(self, ino: int) -> list[bytes]:
        """See listxattr(2)."""
        if ino >= VIRTUAL:
            return []
        names = self.tree.xattrs.list(ino)
        return names if self.conflicts_of(ino) is None else [*names, CONFLICTS]

    def set_attribute(self, ino: int, name: bytes, value: bytes) -> None:
        """See setxattr(2); who calls has looked at its flags."""
        self.check_nodes(ino)
        self.changes += 1
        before = self.tree.inode(ino).mode
        self.tree.xattrs.set(ino, name, value)
        self.mode_changed(ino, before)  # by a list, which the kernel does not look into where it looks at no modes

    def remove_attribute(self, ino: int, name: bytes) -> None:
        """See removexattr(2)."""
        self.check_nodes(ino)
        if name == CONFLICTS and self.conflicts_of(ino) is not None:
            return  # as with all that vaultfs alone writes
        self.changes += 1
        self.tree.xattrs.remove(ino, name)
