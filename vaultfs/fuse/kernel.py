"""The few system calls the standard library does not offer: mount, umount2, capset..."""

from __future__ import annotations

import ctypes
import os

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_DIRSYNC = 128
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24

MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

CAP_SYS_RESOURCE = 24
_CLONE_FILES = 0x400
_RENAME_EXCHANGE = 2
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    """Attach a file system to a directory; raises OSError."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        os.fsencode(kind),
        ctypes.c_ulong(flags),
        os.fsencode(data),
    )
    _check(result, target)


def unmount(target: str, flags: int = 0) -> None:
    """Detach one; raises OSError (EBUSY while something is open). Blocks until dirty pages are handed over."""
    _check(_libc.umount2(os.fsencode(target), flags | UMOUNT_NOFOLLOW), target)


def sync_filesystem(path: str) -> None:
    """Start the write-back of all dirty pages of the file system at `path`; raises OSError.

    Not pyfuse3's, which keeps the interpreter locked while our own loop should take the pages.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(_libc.syncfs(descriptor), path)
    finally:
        os.close(descriptor)


def exchange(old: bytes, new: bytes, directory: int) -> None:
    """Two names change places; a relative `old` is one in the directory with that descriptor. Raises OSError."""
    at = ctypes.c_int(directory)
    _check(_libc.renameat2(at, old, at, new, ctypes.c_uint(_RENAME_EXCHANGE)), "renameat2")


def unshare_descriptors() -> None:
    """Give the calling thread a copy of the table of descriptors, apart from the process's; raises OSError."""
    _check(_libc.unshare(_CLONE_FILES), "unshare")


def drop_capability(number: int) -> None:
    """Give up one capability in the calling thread and the threads it starts later; raises OSError."""
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    data = (_CapabilityData * 2)()
    _check(_libc.capget(ctypes.byref(header), data), "capget")
    half, bit = data[number // 32], ~(1 << (number % 32))
    half.effective &= bit
    half.permitted &= bit
    half.inheritable &= bit
    _check(_libc.capset(ctypes.byref(header), data), "capset")
