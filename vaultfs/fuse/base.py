"""What all request handlers share: the tree, the reply that is filled again and again, what the kernel was told."""

from __future__ import annotations

import errno
import logging
import stat
from typing import TYPE_CHECKING

import pyfuse3

from vaultfs.fuse import attributes, virtual
from vaultfs.fuse.answering import FETCH_SECONDS, Fetched, refusal
from vaultfs.fuse.housekeeping import Housekeeping
from vaultfs.fuse.lookups import LookupCounts
from vaultfs.fuse.syncer import Syncer
from vaultfs.fuse.threads import OwnThreads
from vaultfs.fuse.underway import Underway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyfuse3 import EntryAttributes, RequestContext

    from vaultfs.tree import Inode, Tree
    from vaultfs.tree.incoming import NotHereError

_log = logging.getLogger(__name__)

ROOT = int(pyfuse3.ROOT_INODE)
VIRTUAL = virtual.FIRST  # inode numbers and handles from here on are those of `.vaultfs`
PERMISSIONS = 0o7777
_SGID_EXECUTABLE = stat.S_ISGID | stat.S_IXGRP


class Base(pyfuse3.Operations):
    """One mounted tree. `status()` gives the bytes of `.vaultfs/status`.

    `fetch` brings what is not on this machine (none: EIO); a request waits `fetch_seconds` for it at most.
    """

    supports_dot_lookup = False
    enable_acl = True

    def __init__(
        self,
        tree: Tree,
        status: Callable[[], bytes],
        *,
        read_only: bool = False,
        fetch: Callable[[NotHereError], Awaitable[None]] | None = None,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        self.enable_writeback_cache = not read_only
        self.tree = tree
        self.fetched = Fetched(fetch, fetch_seconds)
        self.own = OwnThreads()
        self.read_only = read_only
        self.underway = Underway(tree)
        self.virtual = virtual.VirtualDirectory(status)
        self.syncer = Syncer(tree.sync)
        self.housekeeping = Housekeeping(tree)
        self.lookups = LookupCounts()
        tree.arrivals.kernel_knows = self.lookups.knows
        tree.arrivals.tell(self.altered)
        # Asked before something is opened for writing, (inode, b"") or (directory, new name): raises OSError.
        self.barred: Callable[[int, bytes], None] | None = None
        self.opened_for_writing: set[int] | None = None  # by programs, since somebody emptied it
        self.conflicts_of: Callable[[int], bytes | None] = _no_conflicts  # what the attribute says of an inode
        self.entry = attributes.blank()
        self.changes = 0  # of names and attributes, so that a stale page of names is not shown

    def told(self, inode: Inode) -> EntryAttributes:
        """The entry for an inode the kernel now knows once more."""
        self.lookups.add(inode.ino)
        return attributes.fill(self.entry, inode)

    def altered(self, ino: int) -> None:
        """An inode has other attributes than the kernel may remember: it shall ask again. Never waits."""
        if self.lookups.knows(ino):
            self.changes += 1
            try:
                pyfuse3.invalidate_inode(ino, attr_only=True)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    _log.warning("the kernel did not take changed attributes: %s", error.strerror)

    def _inherited(self, parent: int, name: bytes, mode: int, ctx: RequestContext) -> tuple[int, int]:
        """Mode and group for a new node: a set-group-id directory hands down its group; raises OSError."""
        if parent >= VIRTUAL:
            raise refusal(errno.EPERM)
        if parent == ROOT and name == virtual.NAME:
            raise refusal(errno.EEXIST)
        directory = self.tree.inode(parent)
        if not directory.mode & stat.S_ISGID:
            return mode, ctx.gid
        gid = directory.gid
        if stat.S_ISDIR(mode):
            mode |= stat.S_ISGID
        elif mode & _SGID_EXECUTABLE == _SGID_EXECUTABLE and ctx.uid != 0 and not _is_member(ctx, gid):
            # Else anybody could make programs that run as a group they are not in.
            mode &= ~stat.S_ISGID
        return mode, gid

    def make(
        self,
        parent: int,
        name: bytes,
        mode: int,
        ctx: RequestContext,
        *,
        rdev: int = 0,
        target: bytes = b"",
    ) -> Inode:
        """A new node below `parent`, owned by the caller; raises OSError."""
        mode, gid = self._inherited(parent, name, mode, ctx)
        self.changes += 1
        umask = 0 if target else ctx.umask
        return self.tree.names.make(parent, name, mode, ctx.uid, gid, rdev=rdev, target=target, umask=umask)

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


def _is_member(ctx: RequestContext, gid: int) -> bool:
    """Whether the caller is in the group; reads /proc, so only asked where it matters."""
    if ctx.gid == gid:
        return True
    try:
        return gid in pyfuse3.get_sup_groups(ctx.pid)
    except (OSError, RuntimeError):
        return False
