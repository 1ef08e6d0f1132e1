"""Copies a directory with all that is in it: content, permissions, times, attributes, links of both kinds, holes.

What only means something to a running process (sockets, FIFOs) and device nodes is named and left.
"""

from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIECE = 1 << 20
HOLE = 1 << 16  # bytes: so much of nothing is not written
KINDS = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a FIFO", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}
OURS = "user.vaultfs."
SECTOR = 512
AT_ONCE = 16  # files that are made durable


class Left(msgspec.Struct, frozen=True):
    """A path below the directory that was not copied, and what it is."""

    path: str
    detail: str


class Entry(NamedTuple):
    """A name below a directory: its path from there ("" is the directory), and what it is."""

    path: str
    found: os.stat_result


@dataclass
class Copied:
    """What was copied, and what each source was then: verification asks whether it still is."""

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    links: int = 0
    bytes: int = 0
    left: list[Left] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)  #: attributes that could not be set
    seen: dict[str, tuple[int, ...]] = field(default_factory=dict)


def entries(top: str) -> Iterator[Entry]:
    """All below `top`, itself first, a directory before what is in it, sorted. Raises `OSError`."""
    yield Entry("", os.lstat(top))
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(join(top, below)) as scan:
            names = sorted(item.name for item in scan)
        folders = []
        for name in names:
            path = f"{below}/{name}" if below else name
            found = os.lstat(join(top, path))
            yield Entry(path, found)
            if stat.S_ISDIR(found.st_mode):
                folders.append(path)
        waiting.extend(reversed(folders))


def join(top: str, below: str) -> str:
    """The path of an entry."""
    return f"{top}/{below}" if below else top


def state_of(found: os.stat_result) -> tuple[int, ...]:
    """What changes when a file does. Of a directory not its times: a lock file may come and go in it."""
    if stat.S_ISDIR(found.st_mode):
        return found.st_ino, found.st_mode
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def copy(source: str, target: str, *, progress: Callable[[int], None] = lambda _: None) -> Copied:
    """Copy the directory `source` to `target`, which is made. Durable when it returns.

    `progress` is called with the bytes done. Raises `OSError`; what was copied so far stays.
    """
    done = Copied()
    first: dict[tuple[int, int], str] = {}
    folders: list[Entry] = []
    device = os.stat(source).st_dev
    for entry in entries(source):
        path, found = entry
        kind = stat.S_IFMT(found.st_mode)
        here, there = join(source, path), join(target, path)
        if found.st_dev != device:
            raise OSError(errno.EXDEV, "another file system is mounted there", here)
        if kind in KINDS:
            done.left.append(Left(path, KINDS[kind]))
            continue
        done.seen[path] = state_of(found)
        if kind == stat.S_IFDIR:
            os.mkdir(there, 0o700)
            folders.append(entry)
            done.directories += 1
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(here), there)
            _dress(here, there, found, done)
            done.symlinks += 1
        elif found.st_nlink > 1 and (found.st_dev, found.st_ino) in first:
            os.link(first[found.st_dev, found.st_ino], there)
            done.links += 1
        else:
            first[found.st_dev, found.st_ino] = there
            _file(here, there, found, done)
            done.files += 1
            done.bytes += found.st_size
            progress(done.bytes)
    # Many at once: a disk is asked once for all that wait.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(_sync, first.values()))
    # From below, since what comes into a directory changes its time.
    for path, found in reversed(folders):
        _dress(join(source, path), join(target, path), found, done)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(_sync, [join(target, path) for path, _ in folders]))
    return done


def _file(here: str, there: str, found: os.stat_result, done: Copied) -> None:
    reading = os.open(here, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writing = os.open(there, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for start, end in _extents(reading, found):
                _piece(reading, writing, start, end)
            os.ftruncate(writing, found.st_size)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    _dress(here, there, found, done)


def _extents(reading: int, found: os.stat_result) -> Iterator[tuple[int, int]]:
    """Where there is data."""
    if found.st_blocks * SECTOR >= found.st_size:
        yield 0, found.st_size
        return
    position = 0
    while position < found.st_size:
        try:
            start = os.lseek(reading, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        position = min(os.lseek(reading, start, os.SEEK_HOLE), found.st_size)
        yield start, position


def _piece(reading: int, writing: int, start: int, end: int) -> None:
    while start < end:
        data = os.pread(reading, min(PIECE, end - start), start)
        if not data:
            return  # it got shorter: verification will say so
        for offset in range(0, len(data), HOLE):
            part = memoryview(data)[offset : offset + HOLE]
            if part.tobytes().count(0) == len(part):
                continue
            at = start + offset
            while part:
                count = os.pwrite(writing, part, at)
                part, at = part[count:], at + count
        start += len(data)


def _dress(here: str, there: str, found: os.stat_result, done: Copied) -> None:
    """Owner, permissions, attributes and times, in the order in which none undoes another."""
    now = os.lstat(there)
    if (now.st_uid, now.st_gid) != (found.st_uid, found.st_gid):
        try:
            os.chown(there, found.st_uid, found.st_gid, follow_symlinks=False)
        except PermissionError:
            done.lost.add("owner")
    for name in os.listxattr(here, follow_symlinks=False):
        if name.startswith(OURS):
            continue
        try:
            os.setxattr(there, name, os.getxattr(here, name, follow_symlinks=False), follow_symlinks=False)
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.EPERM, errno.EACCES}:
                raise
            done.lost.add(name)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(there, stat.S_IMODE(found.st_mode))
    os.utime(there, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
