"""Look up, make, link, remove, rename."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

from vaultfs.fuse import virtual
from vaultfs.fuse.answering import refusal
from vaultfs.fuse.meaning.base import PERMISSIONS, ROOT, VIRTUAL, Base
from vaultfs.fuse.shown import ABSENT, NOT_YET

if TYPE_CHECKING:
    from vaultfs.fuse.meaning.base import Caller
    from vaultfs.fuse.shown import Node
    from vaultfs.tree import Inode


class NameCalls(Base):
    """Calls about names."""

    def find(self, parent: int, name: bytes, caller: Caller) -> Node:
        """What a name stands for, which the kernel then knows; ABSENT where it stands for nothing."""
        if parent >= VIRTUAL:
            return self._find_virtual(parent, name, own=caller.pid in self.own)
        if parent == ROOT and name == virtual.NAME:
            return self.virtual.attributes(virtual.DIRECTORY)
        if self.underway and caller.pid in self.own and self.underway.is_placed(parent, name):
            return NOT_YET  # what is there already comes to be there, for all who watch, by the rename that follows
        try:
            inode = self.tree.names.find(parent, name)
        except FileNotFoundError:
            return ABSENT
        if inode is None:
            return ABSENT
        self.lookups.add(inode.ino)
        return inode

    def _find_virtual(self, parent: int, name: bytes, *, own: bool) -> Node:
        """A name in `.vaultfs`, or what only our own threads find below it; raises OSError."""
        if parent == virtual.OPEN and own and name.isdigit():
            return self.told(self.tree.inode(int(name)))
        if parent == virtual.STAGING and own:
            return self.told(self.tree.arrivals.staged(name))
        if parent >= virtual.CONFLICTS:
            return self.virtual.conflicts.lookup(parent, name)
        return self.virtual.lookup(name, own=own and parent == virtual.DIRECTORY)

    def make_directory(self, parent: int, name: bytes, mode: int, caller: Caller) -> Inode:
        """See mkdir(2)."""
        return self.make(parent, name, stat.S_IFDIR | mode & PERMISSIONS, caller)

    def make_symlink(self, parent: int, name: bytes, target: bytes, caller: Caller) -> Inode:
        """See symlink(2)."""
        return self.make(parent, name, stat.S_IFLNK | 0o777, caller, target=target)

    def make_link(self, ino: int, parent: int, name: bytes) -> Inode:
        """One more name for a file."""
        self.check_nodes(ino, parent)
        if parent == ROOT and name == virtual.NAME:
            raise refusal(errno.EEXIST)
        self.changes += 1
        return self.told(self.tree.names.link(ino, parent, name))

    def remove(self, parent: int, name: bytes, caller: Caller) -> None:
        """See unlink(2)."""
        if self._told_gone(parent, name, caller):
            return
        self.check_name(parent, name)
        self.changes += 1
        self.tree.names.unlink(parent, name)

    def remove_directory(self, parent: int, name: bytes, caller: Caller) -> None:
        """See rmdir(2)."""
        if self._told_gone(parent, name, caller):
            return
        self.check_name(parent, name)
        self.changes += 1
        self.tree.names.rmdir(parent, name)

    def _told_gone(self, parent: int, name: bytes, caller: Caller) -> bool:
        """Whether this is a checkout that tells the kernel what went away; raises OSError where that cannot be."""
        if not self.underway or caller.pid not in self.own:
            return False
        if parent != virtual.STAGING:  # there it is the old version's turn, after the two changed places
            self.changes += 1
            self.underway.place(parent, name)
        return True

    def move(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, caller: Caller) -> None:
        """See renameat2(2)."""
        if parent == virtual.STAGING and caller.pid in self.own:
            self.changes += 1
            self.underway.place(new_parent, new_name)
            return
        self.check_name(parent, name)
        self.check_name(new_parent, new_name)
        self.changes += 1
        self.tree.names.rename(parent, name, new_parent, new_name, flags)

    def target(self, ino: int) -> bytes:
        """See readlink(2)."""
        return self.tree.names.target(ino) if ino < VIRTUAL else self.virtual.conflicts.target(ino)
