"""Two names change places in one step, so that there is no moment at which one of them is missing."""

from __future__ import annotations

import ctypes
import errno
import os

_EXCHANGE = 2  # RENAME_EXCHANGE
_AT_FDCWD = -100


def exchange(one: str, other: str) -> None:
    """What was called `one` is called `other`, and the reverse. Raises `OSError`.

    Where the file system cannot do it at once, by three renames; a crash between them leaves both, one of them under
    a name that begins like `one`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    a, b = os.fsencode(one), os.fsencode(other)
    try:
        failed = libc.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _EXCHANGE) != 0
        number = ctypes.get_errno() if failed else 0
    except AttributeError:  # a C library without it
        number = errno.ENOSYS
    if number in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
        between = f"{one}.vaultfs-between"
        os.rename(one, between)
        os.rename(other, one)
        os.rename(between, other)
    elif number:
        raise OSError(number, os.strerror(number), one)
