"""A plain directory as a store: a mounted share, a stick, or a test."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio

from vaultfs.errors import (
    RemoteError,
    RemoteFullError,
    RemoteGoneError,
    RemoteObjectMissingError,
    RemotePermissionError,
    RemoteUnavailableError,
)
from vaultfs.remote.base import Backend, Entry, Room, is_name

if TYPE_CHECKING:
    from collections.abc import Callable

Entries = list[Entry]  # inside the class `list` is a method

Result = TypeVar("Result")

THREADS = 8
_KINDS: dict[type[RemoteError], set[int]] = {
    RemotePermissionError: {errno.EACCES, errno.EPERM, errno.EROFS},
    RemoteFullError: {errno.ENOSPC, errno.EDQUOT, errno.EFBIG},
    # What a network file system says when its server or the way to it is in trouble, and a stick when it is pulled.
    RemoteUnavailableError: {
        errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN,
        errno.ENETUNREACH, errno.ENOTCONN, errno.ECONNABORTED, errno.ECONNRESET, errno.EAGAIN, errno.EINTR,
        errno.EBUSY, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    },
}  # fmt: skip


class DirectoryBackend(Backend):
    """Objects are files below `root`; one appears under its name whole and durable, or not at all.

    The work is done in threads, which a cancelled call leaves behind: a network file system may keep one for ever.
    """

    def __init__(self, root: Path) -> None:
        self.label = str(root)
        self._root = root
        self._threads = trio.CapacityLimiter(THREADS)

    async def room(self) -> Room:
        """Of the file system."""
        found = await self._in_thread(partial(os.statvfs, self._root), "")
        return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)

    async def put(self, name: str, data: bytes | Path) -> None:
        """Temporary name, fsync, rename, fsync of the directory."""
        await self._in_thread(partial(self._write, self._root / name, data), name)

    async def get(self, name: str, offset: int, length: int | None) -> bytes:
        """Read the range."""
        return await self._in_thread(partial(_read, self._root / name, offset, length), name)

    async def list(self, prefix: str) -> list[Entry]:
        """Walk the directory."""
        return await self._in_thread(partial(self._walk, prefix), prefix)

    async def delete(self, name: str) -> None:
        """Unlink; the directories stay."""
        await self._in_thread(partial((self._root / name).unlink, missing_ok=True), name)

    async def create(self) -> None:
        """Make the root and what is above it."""
        await self._in_thread(partial(_make_directories, self._root), "", create=True)

    async def _in_thread(self, work: Callable[[], Result], name: str, *, create: bool = False) -> Result:
        def guarded() -> Result:
            try:
                if not create and not self._root.is_dir():
                    raise RemoteGoneError(remote=self.label, detail="there is no such directory")
                return work()
            except OSError as error:
                raise self._meaning(error, name) from error

        return await trio.to_thread.run_sync(guarded, abandon_on_cancel=True, limiter=self._threads)

    def _meaning(self, error: OSError, name: str) -> RemoteError:
        if error.errno == errno.ENOENT:
            return RemoteObjectMissingError(remote=self.label, object=name)
        for kind, numbers in _KINDS.items():
            if error.errno in numbers:
                return kind(remote=self.label, detail=error.strerror)
        return RemoteError(remote=self.label, detail=error.strerror or "input/output error")

    def _write(self, path: Path, data: bytes | Path) -> None:
        _make_directories(path.parent, below=self._root)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            with temporary.open("xb") as file:
                if isinstance(data, Path):
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, file, 1 << 20)
                else:
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)

    def _walk(self, prefix: str) -> Entries:
        listed, waiting = [], [prefix]
        while waiting:  # no recursion: how deep it goes is the store's choice
            above = waiting.pop()
            for entry in _entries(self._root / above):
                name = f"{above}/{entry.name}" if above else entry.name
                if not is_name(name):
                    continue  # not ours; nor is anything below, so this ends where names are too long
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)
                elif entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        listed.append(Entry(name, entry.stat(follow_symlinks=False).st_size))
        return listed


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []  # a directory without objects, or one that another device removes meanwhile


def _read(path: Path, offset: int, length: int | None) -> bytes:
    with path.open("rb", buffering=0) as file:
        size = max(0, os.fstat(file.fileno()).st_size - offset)
        wanted = size if length is None else min(length, size)
        pieces = []
        while wanted and (piece := os.pread(file.fileno(), wanted, offset)):
            pieces.append(piece)
            offset += len(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _make_directories(path: Path, below: Path | None = None) -> None:
    if path.is_dir():
        return
    if path == below:  # gone just now, with the disk it is on: not to be made on the disk underneath
        raise FileNotFoundError(errno.EIO, "the directory has gone away", str(path))
    _make_directories(path.parent, below)
    path.mkdir(exist_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network file systems cannot, and need not
            raise
    finally:
        os.close(directory)
