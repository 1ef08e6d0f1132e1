"""Whether a copy is what was copied, by reading both again."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from vaultfs.agents.copying import KINDS, OURS, PIECE, Copied, entries, join, state_of

if TYPE_CHECKING:
    from collections.abc import Callable


class DifferentError(Exception):
    """The copy is not the same; the text says what."""


def verify(source: str, target: str, copied: Copied, *, progress: Callable[[int], None] = lambda _: None) -> None:
    """Compare names, kinds, permissions, owners, times, attributes, links and every byte.

    Raises DifferentError; also where the source was changed since it was copied.
    """
    there = {entry.path: entry.found for entry in entries(target)}
    first: dict[int, int] = {}
    done = 0
    for path, found in entries(source):
        if stat.S_IFMT(found.st_mode) in KINDS:
            continue
        if copied.seen.get(path) != state_of(found):
            raise DifferentError(f"{path or 'it'} was changed meanwhile")
        copy = there.pop(path, None)
        if copy is None:
            raise DifferentError(f"{path} is not in the copy")
        _same(join(source, path), join(target, path), found, copy, copied)
        if stat.S_ISREG(found.st_mode):
            if first.setdefault(found.st_ino, copy.st_ino) != copy.st_ino:
                raise DifferentError(f"{path} is no longer the same file as its other names")
            done += found.st_size
            progress(done)
    if there:
        raise DifferentError(f"{min(there)} is only in the copy")
    gone = copied.seen.keys() - {entry.path for entry in entries(source)}
    if gone:
        raise DifferentError(f"{min(gone)} was removed meanwhile")


def _same(here: str, there: str, found: os.stat_result, copy: os.stat_result, copied: Copied) -> None:
    checks = {
        "kind or permissions": (found.st_mode, copy.st_mode),
        "time": (found.st_mtime_ns, copy.st_mtime_ns),
        "owner": (0, 0) if "owner" in copied.lost else (_owner(found), _owner(copy)),
        "attributes": (_attributes(here, copied), _attributes(there, copied)),
    }
    if stat.S_ISREG(found.st_mode):
        checks["size"] = found.st_size, copy.st_size
        checks["number of names"] = found.st_nlink > 1, copy.st_nlink > 1
    if stat.S_ISLNK(found.st_mode):
        checks["target"] = os.readlink(here), os.readlink(there)
    for what, (one, other) in checks.items():
        if one != other:
            raise DifferentError(f"{here}: the copy has another {what}")
    if stat.S_ISREG(found.st_mode) and not same_content(here, there):
        raise DifferentError(f"{here}: the copy has another content")


def same_content(here: str, there: str) -> bool:
    """Whether two files have the same bytes; of `there` they come from the file system, not from memory."""
    one = os.open(here, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        other = os.open(there, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.posix_fadvise(other, 0, 0, os.POSIX_FADV_DONTNEED)
            while True:
                data = os.read(one, PIECE)
                if data != _exactly(other, len(data)):
                    return False
                if not data:
                    return not os.read(other, 1)
        finally:
            os.close(other)
    finally:
        os.close(one)


def _exactly(descriptor: int, count: int) -> bytes:
    parts = []
    while count and (data := os.read(descriptor, count)):
        parts.append(data)
        count -= len(data)
    return b"".join(parts)


def _owner(found: os.stat_result) -> int:
    return found.st_uid << 32 | found.st_gid


def _attributes(path: str, copied: Copied) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    kept = (name for name in names if not name.startswith(OURS) and name not in copied.lost)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in kept}
