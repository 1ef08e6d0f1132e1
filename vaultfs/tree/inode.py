"""What is known of one file, directory or other node."""

from __future__ import annotations

import stat
from enum import IntEnum

import msgspec

ROOT = 1
PAGE = 4096
NAME_MAX = 255
TARGET_MAX = 4095
# Nanoseconds. By so much the ctime of a file that was just made is before its mtime, until it is written to. What it
# cannot send to a daemon that died Linux drops, and close(2) says so only if there are new times to be sent as well.
# Its clock for files stands still for some ms, so what is written at once would have the times that it was made with.
UNWRITTEN = 1


class Scope(IntEnum):
    """Whether a node belongs to the vault or stays on this machine; children inherit it."""

    INHERIT = 0
    VAULT = 1
    NODE = 2


class Flag:
    """Short cuts kept with the inode, so that the common case asks the database nothing.

    No enum: in Python 3.11 to name a member of one takes four times as long, and each request names some.
    """

    XATTRS = 1
    CAPABILITY = 2
    DEFAULT_ACL = 4
    ACL = 8
    FOLDED = 16  # what is in the directory, or the file's blocks, is not in the database yet (table folded)


class Inode(msgspec.Struct, array_like=True, gc=False):
    """The record of one node. Times in nanoseconds since 1970, sizes in bytes.

    `writer`, `counter` and `written` are its version: the device (its row in the device table), that device's
    commit counter, and the wall time of the last change of content or attributes.
    """

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    atime: int
    mtime: int
    ctime: int
    parent: int
    writer: int
    counter: int
    written: int
    flags: int = 0
    scope: int = 0
    target: bytes = b""
    holes: int = 0
    id: bytes = b""  # the file id in commits; empty: it was made here, see `file_id`

    @property
    def blocks(self) -> int:
        """What is stored, in units of 512 bytes, as stat(2) counts it; `holes` are bytes nobody ever wrote."""
        return (max(self.size - self.holes, 0) + 511) >> 9

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Inode).decode


def next_page(size: int) -> int:
    """The number of pages that `size` bytes touch."""
    return (size + PAGE - 1) // PAGE
