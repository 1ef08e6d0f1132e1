"""inotify, by ctypes: what happens to the names of a directory."""

from __future__ import annotations

import ctypes
import os
import select
import struct
from typing import Self

_libc = ctypes.CDLL(None, use_errno=True)
_EVENT = struct.Struct("iIII")
NAMES = {
    0x40: "moved_from",
    0x80: "moved_to",
    0x100: "create",
    0x200: "delete",
    0x4: "attrib",
}
_MASK = 0x40 | 0x80 | 0x100 | 0x200


class Watch:
    """Watches one directory."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._descriptor = _libc.inotify_init1(os.O_CLOEXEC)
        assert self._descriptor >= 0
        assert _libc.inotify_add_watch(self._descriptor, os.fsencode(path), _MASK) >= 0, ctypes.get_errno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def seen(self, count: int) -> list[tuple[str, str]]:
        """(event, name) of the next `count` events; fewer if no more come within five seconds."""
        found: list[tuple[str, str]] = []
        while len(found) < count and select.select([self._descriptor], [], [], 5)[0]:
            data = os.read(self._descriptor, 1 << 16)
            while data:
                _, mask, _, length = _EVENT.unpack_from(data)
                name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode()
                if mask & _MASK:  # not that the watch ended
                    found.append((NAMES[mask & _MASK], name))
                data = data[_EVENT.size + length :]
        return found
