"""Do the same to two directories and compare what comes back, down to the errno."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Times before this were set by a test, later ones by the kernel or the server.
_SET_BY_HAND = 1_600_000_000_000_000_000


@dataclass
class Side:
    """One of the two directories, with the handles that are open in it."""

    root: str
    handles: dict[int, int] = field(default_factory=dict)

    def path(self, names: tuple[str, ...]) -> str:
        """The absolute path of a list of names."""
        return "/".join((self.root, *names))

    def close_all(self) -> None:
        """Close what is open; the file system may be gone already."""
        for fd in self.handles.values():
            with contextlib.suppress(OSError):
                os.close(fd)
        self.handles.clear()


def outcome(call: Callable[[Side], object], side: Side) -> object:
    """What a call gives: its value, or the name of its error."""
    try:
        return ("ok", call(side))
    except OSError as error:
        return ("error", errno.errorcode.get(error.errno or 0, error.errno))


def attributes(found: os.stat_result) -> dict[str, object]:
    """What both sides must agree on; sizes of directories and plain clock times are each one's own."""
    is_dir = stat.S_ISDIR(found.st_mode)
    return {
        "mode": oct(found.st_mode),
        "nlink": found.st_nlink,
        "owner": (found.st_uid, found.st_gid),
        "size": None if is_dir else found.st_size,
        "mtime": found.st_mtime_ns if found.st_mtime_ns < _SET_BY_HAND else "by the clock",
    }


def own_xattrs(path: str) -> dict[str, bytes]:
    """Extended attributes, without those that vaultfs shows on every file."""
    names = os.listxattr(path, follow_symlinks=False)
    mine = [name for name in names if name.startswith("user.") and not name.startswith("user.vaultfs.")]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(mine)}


def digest(path: str) -> str:
    """A short name for a file's content, read in odd pieces."""
    total = hashlib.blake2b(digest_size=8)
    with open(path, "rb") as file:
        while piece := file.read(100_003):
            total.update(piece)
    return total.hexdigest()


def snapshot(root: str) -> dict[str, object]:
    """Everything below a directory, for comparison: attributes, xattrs, contents, targets, hard links."""
    found: dict[str, object] = {}
    inodes: dict[int, str] = {}
    for base, directories, files in os.walk(root):
        directories.sort()
        for name in sorted(directories + files):
            path = f"{base}/{name}"
            key = os.path.relpath(path, root)
            try:
                status = os.lstat(path)
            except PermissionError:  # an ordinary user took the right to search the directory from himself
                found[key] = {"refused": True}
                continue
            entry = attributes(status)
            if stat.S_ISLNK(status.st_mode):
                entry["target"] = os.readlink(path)
            else:
                entry["xattrs"] = own_xattrs(path)
            if stat.S_ISREG(status.st_mode):
                entry["content"] = digest(path)
                entry["same as"] = inodes.setdefault(status.st_ino, key)
            found[key] = entry
    return found


def map_write(fd: int, offset: int, data: bytes) -> str:
    """Store through a shared mapping, within the file as it is."""
    size = os.fstat(fd).st_size
    if not size or offset + len(data) > size:
        return "past the end"
    with mmap.mmap(fd, size) as view:
        view[offset : offset + len(data)] = data
    return "stored"


def map_read(fd: int) -> str:
    """The content as a shared mapping shows it."""
    size = os.fstat(fd).st_size
    if size == 0:
        return "empty"
    with mmap.mmap(fd, size, access=mmap.ACCESS_READ) as view:
        return hashlib.blake2b(view, digest_size=8).hexdigest()
