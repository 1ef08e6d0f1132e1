"""Memory full of cached files, as on a machine that has been on for a while.

A virtual machine may give memory that nobody uses back to its host within seconds, and to get a page of it again may
cost several times what a page costs otherwise: `python -m benchmarks.full_memory` measures it. A measurement in which
the caches grow, as in a publish, is then slower for that alone. Pages of a hole need no disk, and the kernel drops them
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
_IDLE_SECONDS = (0.0, 0.1, 0.5, 2.0)
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


def _touch(memory: mmap.mmap, *, shuffled: bool = False) -> float:
    """Microseconds for each page to write a byte into it."""
    offsets = list(range(0, len(memory), mmap.PAGESIZE))
    if shuffled:
        random.Random(1).shuffle(offsets)
    start = time.perf_counter()
    for offset in offsets:
        memory[offset] = 1
    return (time.perf_counter() - start) * 1e6 / len(offsets)


def _fresh(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory


def main() -> None:
    """What a page of memory costs right after it was freed and some seconds later; and one that nobody looked at."""
    size = free() // 4
    new = []
    for seconds in (0, 0, _GIVEN_BACK_SECONDS):
        time.sleep(seconds)
        with _fresh(size) as memory:
            new.append(_touch(memory))
    print(
        f"{size >> 20} MiB, µs for each page: right after they were freed {new[1]:.1f}, "
        f"{_GIVEN_BACK_SECONDS} seconds later {new[2]:.1f}"
    )
    with _fresh(_IDLE_BYTES) as memory:
        _touch(memory)
        found = []
        for seconds in _IDLE_SECONDS:
            time.sleep(seconds)
            found.append(f"{_touch(memory, shuffled=True):.2f} after {seconds} s")
    print("one that holds something, µs to write to it again:", ", ".join(found))


if __name__ == "__main__":
    main()
