"""What all calls share: the tree, what the kernel was told, who works for vaultfs itself."""

from __future__ import annotations

import errno
import logging
import stat
from typing import TYPE_CHECKING, Protocol

from vaultfs.fuse import virtual
from vaultfs.fuse.answering import FETCH_SECONDS, Fetched, refusal
from vaultfs.fuse.housekeeping import Housekeeping
from vaultfs.fuse.lookups import LookupCounts
from vaultfs.fuse.notes import ByPyfuse3, Notes
from vaultfs.fuse.shown import Node
from vaultfs.fuse.syncer import Syncer
from vaultfs.fuse.threads import OwnThreads
from vaultfs.fuse.underway import Underway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from vaultfs.tree import Inode, Tree
    from vaultfs.tree.incoming import NotHereError

_log = logging.getLogger(__name__)

ROOT = 1  # as the kernel calls it
VIRTUAL = virtual.FIRST  # inode numbers and handles from here on are those of `.vaultfs`
PERMISSIONS = 0o7777
_SGID_EXECUTABLE = stat.S_ISGID | stat.S_IXGRP


class Caller(Protocol):
    """Who asks: pyfuse3's RequestContext, or the fast lane's."""

    @property
    def uid(self) -> int:
        """Of the process, in our user name space."""

    @property
    def gid(self) -> int:
        """As `uid`."""

    @property
    def pid(self) -> int:
        """The native id of the thread."""

    @property
    def umask(self) -> int:
        """For what it makes."""


class Base:
    """One mounted tree. `status()` gives the bytes of `.vaultfs/status`.

    `fetch` brings what is not on this machine (none: EIO); a request waits `fetch_seconds` for it at most.
    """

    def __init__(
        self,
        tree: Tree,
        status: Callable[[], bytes],
        *,
        read_only: bool = False,
        fetch: Callable[[NotHereError], Awaitable[None]] | None = None,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        self.tree = tree
        self.fetched = Fetched(fetch, fetch_seconds)
        self.own = OwnThreads()
        self.read_only = read_only
        self.underway = Underway(tree)
        self.virtual = virtual.VirtualDirectory(status)
        self.syncer = Syncer(tree.sync)
        tree.begins_writing(self.syncer.beside)
        self.housekeeping = Housekeeping(tree)
        self.lookups = LookupCounts()
        self.notes: Notes = ByPyfuse3()
        tree.arrivals.kernel_knows = self.lookups.knows
        tree.arrivals.tell(self.altered)
        # Asked before something is opened for writing, (inode, b"") or (directory, new name): raises OSError.
        self.barred: Callable[[int, bytes], None] | None = None
        self.opened_for_writing: set[int] | None = None  # by programs, since somebody emptied it
        self.conflicts_of: Callable[[int], bytes | None] = _no_conflicts  # what the attribute says of an inode
        self.changes = 0  # of names and attributes, so that a stale page of names is not shown

    def node(self, ino: int) -> Node:
        """The attributes of anything the kernel knows; raises OSError."""
        return self.tree.inode(ino) if ino < VIRTUAL else self.virtual.attributes(ino)

    def told(self, inode: Inode) -> Inode:
        """An inode the kernel now knows once more."""
        self.lookups.add(inode.ino)
        return inode

    def altered(self, ino: int) -> None:
        """An inode has other attributes than the kernel may remember: it shall ask again. Never waits."""
        if self.lookups.knows(ino):
            self.changes += 1
            try:
                self.notes.inode(ino, attributes_only=True)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    _log.warning("the kernel did not take changed attributes: %s", error.strerror)

    def mode_changed(self, ino: int, before: int) -> None:
        """Have the kernel ask again for a mode that we changed, so that it does not run the file by the old."""
        if self.tree.inode(ino).mode != before:
            self.altered(ino)

    def let_go(self, ino: int, times: int) -> None:
        """The kernel knows an inode so many times less; raises OSError where nobody would hear of it."""
        if self.count_down(ino, times):
            self.tree.forget(ino)

    def count_down(self, ino: int, times: int) -> bool:
        """As `let_go`; True: none are left, and `drop` is to follow."""
        if ino < VIRTUAL:
            return self.lookups.forget(ino, times)
        self.virtual.forget(ino, times)
        return False

    def drop(self, inodes: Iterable[int]) -> None:
        """Inodes that the kernel does not know, unless it was told of them again since; raises OSError."""
        self.tree.forget(*(ino for ino in inodes if not self.lookups.knows(ino)))

    def make(
        self,
        parent: int,
        name: bytes,
        mode: int,
        caller: Caller,
        *,
        rdev: int = 0,
        target: bytes = b"",
    ) -> Inode:
        """A new node below `parent`, owned by the caller, which the kernel then knows; raises OSError."""
        mode, gid = self._inherited(parent, name, mode, caller)
        self.changes += 1
        umask = 0 if target else caller.umask
        return self.told(
            self.tree.names.make(parent, name, mode, caller.uid, gid, rdev=rdev, target=target, umask=umask)
        )

    def _inherited(self, parent: int, name: bytes, mode: int, caller: Caller) -> tuple[int, int]:
        """Mode and group for a new node: a set-group-id directory hands down its group; raises OSError."""
        if parent >= VIRTUAL:
            raise refusal(errno.EPERM)
        if parent == ROOT and name == virtual.NAME:
            raise refusal(errno.EEXIST)
        directory = self.tree.inode(parent)
        if not directory.mode & stat.S_ISGID:
            return mode, caller.gid
        gid = directory.gid
        if stat.S_ISDIR(mode):
            mode |= stat.S_ISGID
        elif mode & _SGID_EXECUTABLE == _SGID_EXECUTABLE and caller.uid != 0 and not _is_member(caller, gid):
            # Else anybody could make programs that run as a group they are not in.
            mode &= ~stat.S_ISGID
        return mode, gid

    def check_nodes(self, *inodes: int) -> None:
        """Nothing in or of `.vaultfs` can be changed; raises OSError."""
        for ino in inodes:
            if ino >= VIRTUAL:
                raise refusal(errno.EPERM)

    def check_name(self, parent: int, name: bytes) -> None:
        """Neither can its name; raises OSError."""
        if parent >= VIRTUAL or (parent == ROOT and name == virtual.NAME):
            raise refusal(errno.EPERM)


def _no_conflicts(_: int) -> bytes | None:
    return None


def _is_member(caller: Caller, gid: int) -> bool:
    """Whether the caller is in the group; reads /proc, so only asked where it matters."""
    if caller.gid == gid:
        return True
    try:
        with open(f"/proc/{caller.pid}/status", "rb") as file:  # noqa: PTH123
            groups = next((line for line in file if line.startswith(b"Groups:")), b"Groups:")
    except OSError:
        return False
    return gid in {int(word) for word in groups.split()[1:]}


__all__ = ["PERMISSIONS", "ROOT", "VIRTUAL", "Base", "Caller", "Node"]
