"""The daemon's memory in huge pages, where Linux can put it there at once (6.1 and later).

What an interpreter works on is spread over tens of megabytes of small pages, of which the processor remembers only a
part where they stand; to ask again costs most in a virtual machine, where each step of the way is asked for itself.
What is there when the daemon begins to serve, the code above all, is looked at for each request (docs/performance.md).
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

HUGE = 2 << 20
_COLLAPSE = 25  # MADV_COLLAPSE, linux/mman.h: Python has no name for it
_MAPS = Path("/proc/self/maps")


def areas(maps: str) -> list[tuple[int, int]]:
    """Start and length in bytes of what could be huge pages: whole ones of anonymous memory. `maps`: as in proc(5)."""
    found = []
    for line in maps.splitlines():
        place, rights, _, _, inode, *name = line.split(maxsplit=5)
        if rights != "rw-p" or inode != "0" or name not in ([], ["[heap]"]):
            continue
        start, end = (int(number, 16) for number in place.split("-"))
        first, last = -(-start // HUGE), end // HUGE
        if last > first:
            found.append((first * HUGE, (last - first) * HUGE))
    return found


def take() -> None:
    """For all that this process has now. Only advice: where it is not taken, all stays as it is."""
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    with suppress(OSError):  # without /proc
        for start, length in areas(_MAPS.read_text()):
            advise(start, length, _COLLAPSE)
