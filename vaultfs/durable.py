"""Making files and names durable."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# When so much was written, the disk may begin: what waits longer, an fsync has to wait for.
AHEAD_BYTES = 2 << 20
_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4
_sync_file_range = ctypes.CDLL(None, use_errno=True).sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def write_out(descriptor: int, offset: int = 0, length: int = 0, *, wait: bool) -> None:
    """Has the kernel write dirty pages of a file (to its end where `length` is 0), and waits for them if asked to.

    That makes nothing durable, and does not take the place of fsync. Raises `OSError`.
    """
    flags = _WAIT_BEFORE | _WRITE | _WAIT_AFTER if wait else _WRITE
    if _sync_file_range(descriptor, offset, length, flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "sync_file_range")


def begin_writing(descriptor: int, offset: int, length: int) -> None:
    """Has the kernel begin to write that part of a file, so that a sync has less to do; it will tell of errors."""
    with suppress(OSError):
        write_out(descriptor, offset, length, wait=False)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def from_the_disk(path: Path) -> None:
    """What was written is read from the disk from now on, not from memory; what still has to be written stays.

    Where the disk did not take something, the kernel calls it clean nevertheless and shows it until the power fails.
    Of a file that is not there, there is nothing. Raises `OSError`.
    """
    with suppress(FileNotFoundError), _opened(path) as descriptor:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def sync_content(path: Path, descriptor: int) -> None:
    """Makes content and size of an open file survive a power cut. Blocks. Raises `OSError`.

    By a descriptor of its own: Linux tells an error of the disk once for each time that the file was opened, so that
    of two who wait by the same descriptor one would be told that all is well. `descriptor`: for a file that has been
    removed or moved meanwhile; below 0: it is closed, and need not survive.
    """
    try:
        with _opened(path) as own:
            os.fdatasync(own)
    except FileNotFoundError:
        if descriptor >= 0:
            os.fdatasync(descriptor)


def sync_path(path: Path) -> None:
    """Makes a file's content, or the names in a directory, survive a power cut. Blocks. Raises `OSError`."""
    with _opened(path) as descriptor:
        os.fsync(descriptor)
