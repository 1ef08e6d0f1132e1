"""Read-only trees below `.vaultfs` that are no part of the tree: conflicts. Looked into piece by piece, kept nowhere.

Who has something to show gives a root `Exhibit`; here it gets inode numbers, and answers. What is not in memory is
brought like anything that is on the remote: `NotShownError`, after which the request is made again.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultfs.fuse.shown import Shown
from vaultfs.tree.incoming import NotHereError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WINDOW = 256 << 10
_REMEMBER = 1.0  # seconds: a conflict ends when somebody decides


class NotShownError(NotHereError):
    """A piece of an exhibit has to be fetched: `await bring()`, then call again. `what`: names the piece."""

    def __init__(self, what: object, bring: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self.what = what
        self.bring = bring


@dataclass(slots=True, eq=False)
class Exhibit:
    """A directory, file or symbolic link. `mode` has the type; `mtime` in nanoseconds since 1970.

    `inside`: of a directory, by name; None: `look` gives it. `read(start, end)`: bytes of a file. Both raise
    `VaultfsError` where it cannot be had.
    """

    mode: int
    mtime: int = 0
    size: int = 0
    target: bytes = b""
    inside: dict[bytes, Exhibit] | None = None
    look: Callable[[], Awaitable[dict[bytes, Exhibit]]] | None = None
    read: Callable[[int, int], Awaitable[bytes]] | None = None


@dataclass(slots=True, eq=False)
class _Open:
    """An open file and the part of it that was read last."""

    ino: int
    exhibit: Exhibit
    start: int = 0
    data: bytes = b""


Path = tuple[bytes, ...]


class Exhibition:
    """Answers for the inodes from `first` on, which is the root; `above` is the directory it is in.

    `root()` gives what is to be seen now, and may raise NotShownError. All raise that, and `OSError`.
    """

    def __init__(self, first: int, above: int) -> None:
        self.root: Callable[[], Exhibit] = nothing
        self._first = first
        self._above = above
        self._owner = os.getuid(), os.getgid()
        self._numbers = itertools.count(first + 1)
        self._paths: dict[int, Path] = {first: ()}
        self._inodes: dict[Path, int] = {(): first}
        self._known: dict[int, int] = {}  # how often the kernel was told of an inode
        self._handles: dict[int, _Open] = {}

    def attributes(self, ino: int) -> Shown:
        """Of an inode. ENOENT: it is no longer shown."""
        found = self._exhibit(ino)
        shown = Shown(ino, found.mode, 1, *self._owner, found.size, found.mtime, found.mtime, found.mtime)
        shown.name_seconds = shown.seconds = _REMEMBER
        if stat.S_ISDIR(found.mode):
            # What is in it changes without the kernel, which lists it anew when it has another time.
            shown.nlink, shown.seconds, shown.mtime = 2, 0.0, time.time_ns()
        return shown

    def lookup(self, parent: int, name: bytes) -> Shown:
        """A name in a directory, which the kernel knows once more then. ENOENT."""
        if name not in self._inside(parent):
            raise OSError(errno.ENOENT, "no such name")
        ino = self._number((*self._paths[parent], name))
        shown = self.attributes(ino)
        self.told(ino)
        return shown

    def told(self, ino: int) -> None:
        """The kernel knows the inode once more."""
        if ino != self._first:
            self._known[ino] = self._known.get(ino, 0) + 1

    def forget(self, ino: int, times: int) -> None:
        """The kernel knows it so many times less."""
        left = self._known.get(ino, 0) - times
        if left > 0:
            self._known[ino] = left
            return
        self._known.pop(ino, None)
        if ino != self._first and (path := self._paths.pop(ino, None)) is not None:
            del self._inodes[path]

    def listing(self, ino: int, cookie: int) -> list[tuple[bytes, int, int]]:
        """(name, inode number, next cookie) of what comes after `cookie`."""
        path = self._path(ino)
        above = self._inodes.get(path[:-1], self._first) if path else self._above
        names = [(b".", ino), (b"..", above)]
        names += [(name, self._number((*path, name))) for name in sorted(self._inside(ino))]
        return [(name, number, place) for place, (name, number) in enumerate(names, 1) if place > cookie]

    def target(self, ino: int) -> bytes:
        """Of a symbolic link."""
        return self._exhibit(ino).target

    def open(self, ino: int, handle: int, flags: int) -> None:
        """Open a file for reading as `handle`. EROFS for writing."""
        found = self._exhibit(ino)
        if flags & (os.O_ACCMODE | os.O_TRUNC):
            raise OSError(errno.EROFS, "read-only")
        self._handles[handle] = _Open(ino, found)

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """A piece of an open file. EBADF."""
        file = self._handles.get(handle)
        if file is None:
            raise OSError(errno.EBADF, "no such handle")
        end = min(offset + size, file.exhibit.size)
        if offset >= end:
            return b""
        if file.start <= offset and end <= file.start + len(file.data):
            return file.data[offset - file.start : end - file.start]
        start = offset - offset % WINDOW
        stop = min(max(start + WINDOW, end), file.exhibit.size)

        async def bring() -> None:
            assert file.exhibit.read is not None  # noqa: S101 - only files are opened
            file.data, file.start = await file.exhibit.read(start, stop), start

        raise NotShownError((handle, start, stop), bring)

    def release(self, handle: int) -> None:
        """Forget a handle."""
        self._handles.pop(handle, None)

    def _path(self, ino: int) -> Path:
        try:
            return self._paths[ino]
        except KeyError:
            raise OSError(errno.ESTALE, "no such node") from None

    def _number(self, path: Path) -> int:
        ino = self._inodes.get(path)
        if ino is None:
            ino = self._inodes[path] = next(self._numbers)
            self._paths[ino] = path
        return ino

    def _exhibit(self, ino: int) -> Exhibit:
        path = self._path(ino)
        found = self.root()
        for depth, name in enumerate(path):
            inside = _inside(found, path[:depth])
            if name not in inside:
                return self._opened(ino)
            found = inside[name]
        return found

    def _opened(self, ino: int) -> Exhibit:
        """Who has it open goes on reading what ended meanwhile."""
        for file in self._handles.values():
            if file.ino == ino:
                return file.exhibit
        raise OSError(errno.ENOENT, "it is no longer there")

    def _inside(self, ino: int) -> dict[bytes, Exhibit]:
        return _inside(self._exhibit(ino), self._paths[ino])


def nothing() -> Exhibit:
    """An empty directory."""
    return Exhibit(stat.S_IFDIR | 0o500, inside={})


def _inside(exhibit: Exhibit, path: Path) -> dict[bytes, Exhibit]:
    if exhibit.inside is not None:
        return exhibit.inside
    look = exhibit.look
    if look is None:
        raise OSError(errno.ENOTDIR, "not a directory")

    async def bring() -> None:
        exhibit.inside = await look()

    raise NotShownError(path, bring)
