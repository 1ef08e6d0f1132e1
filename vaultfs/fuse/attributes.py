"""Attributes as pyfuse3 wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyfuse3

from vaultfs.fuse.shown import BLOCK_BYTES, REMEMBER_SECONDS, Shown

if TYPE_CHECKING:
    import os

    from vaultfs.fuse.shown import Node


def blank() -> pyfuse3.EntryAttributes:
    """An entry to be filled again and again.

    One serves a whole mount: pyfuse3 copies it into the reply as soon as the handler returns, and no other
    handler runs in between.
    """
    entry = pyfuse3.EntryAttributes()
    entry.generation = 0
    entry.st_blksize = BLOCK_BYTES
    return entry


def fill(entry: pyfuse3.EntryAttributes, node: Node) -> pyfuse3.EntryAttributes:
    """Put a node's attributes into `entry`, and how long the kernel may believe them."""
    if isinstance(node, Shown):
        entry.entry_timeout, entry.attr_timeout = node.name_seconds, node.seconds
    else:
        entry.entry_timeout = entry.attr_timeout = REMEMBER_SECONDS
    entry.st_ino = node.ino
    entry.st_mode = node.mode
    entry.st_nlink = node.nlink
    entry.st_uid = node.uid
    entry.st_gid = node.gid
    entry.st_rdev = node.rdev
    entry.st_size = node.size
    entry.st_blocks = node.blocks
    entry.st_atime_ns = node.atime
    entry.st_mtime_ns = node.mtime
    entry.st_ctime_ns = node.ctime
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
