"""Open files: who has what open since when."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NamedTuple

from vaultfs import clock
from vaultfs.tree.statements import error

_REMEMBERED = 256  # inodes of each process


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
        self._wrote: dict[int, dict[int, None]] = {}  # by process, the newest last
        self._room = _REMEMBERED
        self._next = 1

    def open(self, ino: int, *, writable: bool, pid: int) -> int:
        """A new handle's number. `pid` 0: vaultfs itself."""
        number = self._next
        self._next += 1
        self._table[number] = Handle(ino, writable, pid, clock.now())
        self._counts[ino] = self._counts.get(ino, 0) + 1
        if writable:
            self._writable[ino] = self._writable.get(ino, 0) + 1
            if pid:
                self._remember(pid, ino)
        if not pid:
            self._own[ino] = self._own.get(ino, 0) + 1
        return number

    def _remember(self, pid: int, ino: int) -> None:
        wrote = self._wrote.get(pid)
        if wrote is None:
            if len(self._wrote) >= self._room:
                self._wrote = {one: inos for one, inos in self._wrote.items() if _runs(one)}
                self._room = max(2 * len(self._wrote), _REMEMBERED)
            wrote = self._wrote[pid] = {}
        wrote.pop(ino, None)
        wrote[ino] = None
        if len(wrote) > _REMEMBERED:
            del wrote[next(iter(wrote))]

    def wrote(self) -> dict[int, list[int]]:
        """What programs that still run have opened for writing, closed or not: the newest inodes of each process."""
        return {pid: list(inos) for pid, inos in self._wrote.items() if _runs(pid)}

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


def _runs(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except (OSError, IndexError):
        return False
