"""Rows of the metadata database that need nothing else to be known: names, orphans, what came from commits, devices."""

from __future__ import annotations

import errno
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from blake3 import blake3

from vaultfs.tree.statements import Statements, error

if TYPE_CHECKING:
    import apsw

PROBES = 4
_NAMES = 1024  # a name is asked for, made, moved and removed soon after one another
_CANDIDATES = "SELECT cookie, name, ino FROM dirent WHERE parent=? AND cookie BETWEEN ? AND ?"


class Device(NamedTuple):
    """One machine's identity in the vault."""

    id: bytes
    label: str


class Name(NamedTuple):
    """A directory entry."""

    cookie: int
    name: bytes
    ino: int


@lru_cache(_NAMES)
def hash_of(name: bytes) -> int:
    """The first of the `PROBES` cookies that a name may have; above 2, below 2^63."""
    return ((int.from_bytes(blake3(name).digest(8), "little") >> 3) & ~(PROBES - 1)) + PROBES


class Rows(Statements):
    """Reads and writes them, without a note in the journal."""

    def __init__(self, db: apsw.Connection) -> None:
        super().__init__(db)
        self.devices: dict[int, Device] = {}  # rows of the device table that were asked for

    def entry(self, parent: int, name: bytes) -> Name | None:
        """The directory entry, or None."""
        for row in self._candidates(parent, name):
            if row[1] == name:
                return Name(*row)
        return None

    def place(self, parent: int, name: bytes) -> tuple[Name | None, int]:
        """The directory entry, or None and the cookie that a new one would get.

        Raises ENOSPC in the practically impossible case that no cookie is left.
        """
        rows = self._candidates(parent, name)
        low = hash_of(name)
        if not rows:
            return None, low
        for row in rows:
            if row[1] == name:
                return Name(*row), row[0]
        taken = {row[0] for row in rows}
        for cookie in range(low, low + PROBES):
            if cookie not in taken:
                return None, cookie
        raise error(errno.ENOSPC)

    def _candidates(self, parent: int, name: bytes) -> list[Any]:
        """The rows that the name could be in."""
        low = hash_of(name)
        return self.all(_CANDIDATES, parent, low, low + PROBES - 1)

    def set_name(self, parent: int, cookie: int, name: bytes, ino: int, placed: int) -> None:
        """Writes a row of the directory."""
        self.run("INSERT OR REPLACE INTO dirent VALUES(?,?,?,?,?)", parent, cookie, name, ino, placed)

    def put_orphan(self, ino: int) -> None:
        """The last name of an inode is gone; it lives until the kernel lets it go (see `Tree.forget`)."""
        self.run("INSERT OR REPLACE INTO orphan VALUES(?)", ino)

    def set_folded(self, ino: int, ref: bytes | None) -> None:
        """Writes a row of `folded`."""
        if ref is None:
            self.run("DELETE FROM folded WHERE ino=?", ino)
        else:
            self.run("INSERT OR REPLACE INTO folded VALUES(?,?)", ino, ref)

    def set_arrived(self, file_id: bytes, ino: int) -> None:
        """Writes a row of `arrived`."""
        self.run("INSERT OR REPLACE INTO arrived VALUES(?,?)", file_id, ino)

    def set_device(self, number: int, device_id: bytes, label: str) -> None:
        """Writes a row of `device`."""
        self.run("INSERT OR REPLACE INTO device VALUES(?,?,?)", number, device_id, label)
        self.devices.pop(number, None)
