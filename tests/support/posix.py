"""The system calls that Python's os module lacks, and what the tests need around them."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
# SYNC_FILE_RANGE_WAIT_BEFORE | _WRITE | _WAIT_AFTER: hand over dirty pages, no fsync
_HAND_OVER = 7


class _Dirent(ctypes.Structure):
    _fields_ = (
        ("d_ino", ctypes.c_uint64),
        ("d_off", ctypes.c_int64),
        ("d_reclen", ctypes.c_uint16),
        ("d_type", ctypes.c_uint8),
        ("d_name", ctypes.c_char * 256),
    )


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_int64), ("tv_nsec", ctypes.c_int64))


LIBC.opendir.restype = ctypes.c_void_p
LIBC.opendir.argtypes = (ctypes.c_char_p,)
LIBC.readdir.restype = ctypes.POINTER(_Dirent)
LIBC.readdir.argtypes = (ctypes.c_void_p,)
LIBC.telldir.restype = ctypes.c_long
LIBC.telldir.argtypes = (ctypes.c_void_p,)
LIBC.seekdir.restype = None
LIBC.seekdir.argtypes = (ctypes.c_void_p, ctypes.c_long)
LIBC.rewinddir.restype = None
LIBC.rewinddir.argtypes = (ctypes.c_void_p,)
LIBC.closedir.argtypes = (ctypes.c_void_p,)
LIBC.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def _check(result: int, *names: object) -> int:
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), *names)
    return result


def renameat2(old: Path | bytes | str, new: Path | bytes | str, flags: int) -> None:
    """Rename with RENAME_NOREPLACE or RENAME_EXCHANGE."""
    args = (AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), ctypes.c_uint(flags))
    _check(LIBC.renameat2(*args), os.fsdecode(old))


def hand_over(fd: int) -> None:
    """Have the kernel write its dirty pages of this file to the file system, without an fsync."""
    _check(LIBC.sync_file_range(fd, 0, 0, _HAND_OVER))


def syncfs(fd: int) -> None:
    """Have everything of this file system written, as sync(2) has everything of all of them."""
    _check(LIBC.syncfs(fd))


def utimensat(path: Path, atime_nsec: int, mtime_nsec: int) -> None:
    """Set times to UTIME_NOW or UTIME_OMIT, which os.utime does not take one by one."""
    times = (_Timespec * 2)(_Timespec(0, atime_nsec), _Timespec(0, mtime_nsec))
    _check(LIBC.utimensat(AT_FDCWD, os.fsencode(path), times, 0), os.fspath(path))


class DirStream:
    """A C directory stream: readdir one by one, telldir, seekdir, rewinddir."""

    def __init__(self, path: Path) -> None:
        self._dir = LIBC.opendir(os.fsencode(path))
        if not self._dir:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), os.fspath(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        LIBC.closedir(self._dir)

    def read(self) -> bytes | None:
        """The next name, None at the end."""
        ctypes.set_errno(0)
        entry = LIBC.readdir(self._dir)
        if not entry:
            if code := ctypes.get_errno():
                raise OSError(code, os.strerror(code))
            return None
        return bytes(entry.contents.d_name)

    def rest(self) -> list[bytes]:
        """All names that are left."""
        names = []
        while (name := self.read()) is not None:
            names.append(name)
        return names

    def tell(self) -> int:
        """The place of the next entry."""
        return int(LIBC.telldir(self._dir))

    def seek(self, place: int) -> None:
        """Go to a place that tell gave."""
        LIBC.seekdir(self._dir, place)

    def rewind(self) -> None:
        """Start over, with the directory as it is now."""
        LIBC.rewinddir(self._dir)


@contextmanager
def fails(*codes: int) -> Iterator[None]:
    """The block must raise OSError with one of these errno values."""
    names = " or ".join(errno.errorcode[code] for code in codes)
    try:
        yield
    except OSError as error:
        if error.errno not in codes:
            got = errno.errorcode.get(error.errno or 0, str(error.errno))
            pytest.fail(f"expected {names}, got {got}: {error}")
    else:
        pytest.fail(f"expected {names}, but it succeeded")
