"""Memory full of cached files, as on a machine that has been on for a while.

A virtual machine may give memory that nobody uses back to its host within seconds, and to get a page of it again costs
several times what a page costs otherwise: `python -m benchmarks.full_memory` shows it. A measurement in which the
caches grow, as in a publish, is then slower for that alone. Pages of a hole need no disk, and the kernel drops them
where it wants room.
"""

from __future__ import annotations

import mmap
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

KEPT = 192 << 20  # bytes that stay free, as the kernel keeps some
_ROUNDS = 3  # it makes room itself while we fill
_PIECE = 1 << 20
_GIVEN_BACK_SECONDS = 5
_IDLE_BYTES = 32 << 20
_MEMINFO = Path("/proc/meminfo")


def free() -> int:
    """Bytes of memory that hold nothing, not even a cached page."""
    line = next(line for line in _MEMINFO.read_text().splitlines() if line.startswith("MemFree:"))
    return int(line.split()[1]) << 10


class FullMemory:
    """While the block runs, `fill` may be called; `directory` is on a disk and gets files without any blocks."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path in self._files:
            path.unlink(missing_ok=True)

    def fill(self) -> None:
        """Whatever is free has a cached page in it, but for `KEPT`. A minute the first time, then what was freed."""
        for _ in range(_ROUNDS):
            spare = free() - KEPT
            if spare < KEPT // 2:
                return
            path = self._directory / f"hole-{len(self._files)}"
            self._files.append(path)
            with path.open("wb") as file:
                file.truncate(spare)
            piece = bytearray(_PIECE)
            with path.open("rb", buffering=0) as file:
                # Page by page: for larger pieces, of which there are few in the end, the kernel would make room.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                while file.readinto(piece):
                    pass


def _looks(memory: mmap.mmap, offsets: list[int]) -> float:
    """Microseconds for each page to look at one byte of it."""
    start = time.perf_counter()
    for offset in offsets:
        memory[offset]
    return (time.perf_counter() - start) * 1e6 / len(offsets)


def _touch(megabytes: int) -> float:
    """Microseconds for each page of so much new memory."""
    with mmap.mmap(-1, megabytes << 20) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        start = time.perf_counter()
        for offset in range(0, len(memory), mmap.PAGESIZE):
            memory[offset] = 1
        return (time.perf_counter() - start) * 1e6 / (len(memory) // mmap.PAGESIZE)


def main() -> None:
    """What a page of memory costs right after it was freed and some seconds later; and one that nobody looked at."""
    megabytes = (free() >> 20) // 4
    _touch(megabytes)
    print(f"{megabytes} MiB, µs for each page: right after they were freed {_touch(megabytes):.1f}", end="", flush=True)
    time.sleep(_GIVEN_BACK_SECONDS)
    print(f", {_GIVEN_BACK_SECONDS} seconds later {_touch(megabytes):.1f}")
    with mmap.mmap(-1, _IDLE_BYTES) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        offsets = list(range(0, len(memory), mmap.PAGESIZE))
        random.Random(1).shuffle(offsets)
        for offset in offsets:
            memory[offset] = 1
        found = []
        for seconds in (0.0, 0.1, 0.5, 2.0):
            time.sleep(seconds)
            found.append(f"{_looks(memory, offsets):.2f} after {seconds} s")
    print("one that holds something, µs to look at it again:", ", ".join(found))


if __name__ == "__main__":
    main()
