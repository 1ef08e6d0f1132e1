"""Attributes of a node as a lane encodes them: an inode of the tree, or one of those that are no part of it."""

from __future__ import annotations

from dataclasses import dataclass

from vaultfs.tree import Inode

# Nobody else can change the tree behind the kernel's back, so it may remember everything for long.
REMEMBER_SECONDS = 86_400.0
BLOCK_BYTES = 4096
_SECTOR = 512


@dataclass(slots=True)
class Shown:
    """A node of `.vaultfs`, with the attributes of an `Inode` and how long the kernel may believe them.

    `ino` 0: there is no such name, which the kernel may remember for `name_seconds`. Times in nanoseconds.
    """

    ino: int
    mode: int = 0
    nlink: int = 1
    uid: int = 0
    gid: int = 0
    size: int = 0
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    rdev: int = 0
    name_seconds: float = REMEMBER_SECONDS
    seconds: float = 0.0

    @property
    def blocks(self) -> int:
        """In units of 512 bytes, as stat(2) counts."""
        return -(-self.size // _SECTOR)


ABSENT = Shown(0)
NOT_YET = Shown(0, name_seconds=0.0)

Node = Inode | Shown
