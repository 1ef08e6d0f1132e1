"""Open files: who has what open since when."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NamedTuple

from vaultfs import clock
from vaultfs.tree.statements import error


class Handle(NamedTuple):
    """One open file. `pid` may be a thread's; 0: opened by vaultfs itself, which holds nothing back."""

    ino: int
    writable: bool
    pid: int
    since: int

    @property
    def comm(self) -> str:
        """The name of the program that opened it; '?' when that has ended, though another may have the handle now."""
        try:
            return Path(f"/proc/{self.pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return "?"


class Handles:
    """The table of open handles."""

    def __init__(self) -> None:
        self._table: dict[int, Handle] = {}
        self._counts: dict[int, int] = {}
        self._writable: dict[int, int] = {}
        self._own: dict[int, int] = {}
        self._next = 1

    def open(self, ino: int, *, writable: bool, pid: int) -> int:
        """A new handle's number. `pid` 0: vaultfs itself."""
        number = self._next
        self._next += 1
        self._table[number] = Handle(ino, writable, pid, clock.now())
        self._counts[ino] = self._counts.get(ino, 0) + 1
        if writable:
            self._writable[ino] = self._writable.get(ino, 0) + 1
        if not pid:
            self._own[ino] = self._own.get(ino, 0) + 1
        return number

    def ino(self, number: int) -> int:
        """The inode behind a handle. Raises EBADF."""
        try:
            return self._table[number].ino
        except KeyError:
            raise error(errno.EBADF) from None

    def release(self, number: int) -> int:
        """Closes the handle; returns its inode. Raises EBADF."""
        if number not in self._table:
            raise error(errno.EBADF)
        handle = self._table.pop(number)
        ino = handle.ino
        _one_less(self._counts, ino)
        if handle.writable:
            _one_less(self._writable, ino)
        if not handle.pid:
            _one_less(self._own, ino)
        return ino

    def is_open(self, ino: int) -> bool:
        """Whether anybody has the inode open, vaultfs itself included: it must not go away."""
        return ino in self._counts

    def is_used(self, ino: int) -> bool:
        """Whether a program has the inode open: a unit that it belongs to is held."""
        return self._counts.get(ino, 0) > self._own.get(ino, 0)

    def inos(self) -> set[int]:
        """The inodes that programs have open."""
        return {handle.ino for handle in self._table.values() if handle.pid}

    def is_open_for_writing(self, ino: int) -> bool:
        """Whether somebody may write to the inode: it is held."""
        return ino in self._writable

    def writers(self) -> list[Handle]:
        """The handles that may write."""
        return [handle for handle in self._table.values() if handle.writable]


def _one_less(counts: dict[int, int], ino: int) -> None:
    left = counts[ino] - 1
    if left:
        counts[ino] = left
    else:
        del counts[ino]
