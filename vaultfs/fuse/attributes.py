"""Attributes as pyfuse3 wants them, and how long the kernel may believe them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyfuse3

if TYPE_CHECKING:
    import os

    from vaultfs.tree import Inode

# Nobody else can change the tree behind the kernel's back, so it may remember everything for long.
REMEMBER_SECONDS = 86_400.0
BLOCK_BYTES = 4096


def blank() -> pyfuse3.EntryAttributes:
    """An entry with our time-outs, to be filled again and again.

    One serves a whole mount: pyfuse3 copies it into the reply as soon as the handler returns, and no other
    handler runs in between.
    """
    entry = pyfuse3.EntryAttributes()
    entry.entry_timeout = entry.attr_timeout = REMEMBER_SECONDS
    entry.generation = 0
    entry.st_blksize = BLOCK_BYTES
    return entry


def absent(remember: float = REMEMBER_SECONDS) -> pyfuse3.EntryAttributes:
    """The answer "there is no such name", which the kernel may remember as well, for so many seconds."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = 0
    entry.entry_timeout = remember
    return entry


def fill(entry: pyfuse3.EntryAttributes, inode: Inode) -> pyfuse3.EntryAttributes:
    """Put an inode's attributes into `entry`."""
    entry.st_ino = inode.ino
    entry.st_mode = inode.mode
    entry.st_nlink = inode.nlink
    entry.st_uid = inode.uid
    entry.st_gid = inode.gid
    entry.st_rdev = inode.rdev
    entry.st_size = inode.size
    entry.st_blocks = inode.blocks
    entry.st_atime_ns = inode.atime
    entry.st_mtime_ns = inode.mtime
    entry.st_ctime_ns = inode.ctime
    return entry


def statistics(found: os.statvfs_result) -> pyfuse3.StatvfsData:
    """A statvfs answer; `found` has the fields of os.statvfs_result."""
    data = pyfuse3.StatvfsData()
    data.f_bsize = found.f_bsize
    data.f_frsize = found.f_frsize
    data.f_blocks = found.f_blocks
    data.f_bfree = found.f_bfree
    data.f_bavail = found.f_bavail
    data.f_files = found.f_files
    data.f_ffree = found.f_ffree
    data.f_favail = found.f_favail
    data.f_namemax = found.f_namemax
    return data
