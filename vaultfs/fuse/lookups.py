"""How many times the kernel has been told of each inode, so that we know when it has forgotten one."""

from __future__ import annotations

from array import array

_DENSE_LIMIT = 1 << 24


class LookupCounts:
    """One 32-bit counter for each inode number.

    Inode numbers are handed out in a row, so an array costs 4 bytes each where a dict would cost a hundred:
    walking a large tree must not fill the memory. Numbers past the array's limit go to a dict.
    """

    __slots__ = ("_dense", "_sparse")

    def __init__(self) -> None:
        self._dense = array("I", bytes(4 * 1024))
        self._sparse: dict[int, int] = {}

    def add(self, ino: int) -> None:
        """The kernel was told of this inode once more."""
        try:
            self._dense[ino] += 1
        except IndexError:
            if ino >= _DENSE_LIMIT:
                self._sparse[ino] = self._sparse.get(ino, 0) + 1
                return
            grown = min(max(2 * len(self._dense), ino + 1), _DENSE_LIMIT)
            self._dense.frombytes(bytes(4 * (grown - len(self._dense))))
            self._dense[ino] += 1

    def knows(self, ino: int) -> bool:
        """Whether the kernel was told of this inode and has not dropped it."""
        return self._dense[ino] > 0 if ino < len(self._dense) else ino in self._sparse

    def forget(self, ino: int, times: int) -> bool:
        """The kernel drops that many; True when none are left."""
        if ino < len(self._dense):
            left = max(self._dense[ino] - times, 0)
            self._dense[ino] = left
            return left == 0
        left = self._sparse.get(ino, 0) - times
        if left > 0:
            self._sparse[ino] = left
            return False
        self._sparse.pop(ino, None)
        return True
