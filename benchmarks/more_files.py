"""How the speed goes with the size of a file, on the disk and in the mount. The data does not compress."""

from __future__ import annotations

import os
import random
import shutil
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING

from benchmarks.more_base import MEGABYTE, Found, Part, by_target, cold, mounted, note, seconds, versus, write_file
from benchmarks.workloads import BLOB, PAGE, ROW

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.targets import Target

# Megabytes and how often: the large ones say enough at once.
SIZES = {10: 3, 100: 3, 1_000: 2, 10_000: 1}
QUICK = {1: 2, 10: 1}
NEEDED = 40_000  # megabytes of free disk for the largest: on the disk, in the vault, and what lies in between
PAGES, LINES = 2_000, 200
WRITE, RANDOM_WRITE = "write, MB/s", "write 4 KiB anywhere, IO/s"
RANDOM_READ, APPEND, CUT = "read 4 KiB anywhere cold, IO/s", "append + fsync, lines/s", "cut to half, ms"


def random_write(path: Path, seed: int) -> None:
    """Whole pages anywhere, an fsync at the end."""
    pages, dice = path.stat().st_size // PAGE, random.Random(seed)
    fd = os.open(path, os.O_WRONLY)
    for number in range(PAGES):
        os.pwrite(fd, BLOB[number : number + PAGE], dice.randrange(pages) * PAGE)
    os.fsync(fd)
    os.close(fd)


def random_read(path: Path, seed: int) -> None:
    """Whole pages anywhere."""
    pages, dice = path.stat().st_size // PAGE, random.Random(seed)
    fd = os.open(path, os.O_RDONLY)
    for _ in range(PAGES):
        os.pread(fd, PAGE, dice.randrange(pages) * PAGE)
    os.close(fd)


def append(path: Path) -> None:
    """Lines, each with an fsync."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    for _ in range(LINES):
        os.write(fd, ROW)
        os.fsync(fd)
    os.close(fd)


def cut(path: Path) -> None:
    """To half its size, for good."""
    fd = os.open(path, os.O_WRONLY)
    os.ftruncate(fd, path.stat().st_size // 2)
    os.fsync(fd)
    os.close(fd)


def one_round(target: Target, megabytes: int, seed: int) -> dict[str, float]:
    """All figures of one new file."""
    path = target.root / "file"
    found = {WRITE: megabytes * MEGABYTE / 1e6 / seconds(lambda: write_file(path, megabytes, seed))}
    found[RANDOM_WRITE] = PAGES / seconds(lambda: random_write(path, seed))
    cold(target)
    found[RANDOM_READ] = PAGES / seconds(lambda: random_read(path, seed))
    found[APPEND] = LINES / seconds(lambda: append(path))
    found[CUT] = 1000 * seconds(lambda: cut(path))
    path.unlink()
    return found


def run(part: Part) -> Found:
    """Size after size, each in a vault of its own; both file systems have their turn in each round."""
    sizes = dict(QUICK if part.quick else SIZES)
    skipped = ""
    free = shutil.disk_usage(part.work).free // 10**6
    if not part.quick and free < NEEDED:
        del sizes[max(SIZES)]
        skipped = f" 10 GB is left out: {free // 1000} GB of disk are free, {NEEDED // 1000} are needed."
    found: dict[int, dict[str, dict[str, list[float]]]] = {}
    for megabytes, rounds in sizes.items():
        with mounted(by_target(part, ["native", "vaultfs"])) as started:
            for number in range(rounds):
                for target in started:
                    note(f"files: {megabytes:,} MB, round {number + 1}, {target.name}")
                    figures = found.setdefault(megabytes, {}).setdefault(target.name, defaultdict(list))
                    for name, figure in one_round(target, megabytes, number).items():
                        figures[name].append(figure)
    rows = {}
    for megabytes, targets in found.items():
        middle = [
            {row: statistics.median(runs) for row, runs in targets[name].items()} for name in ("native", "vaultfs")
        ]
        size = f"{megabytes // 1000} GB" if megabytes >= 1000 else f"{megabytes} MB"
        rows[size] = (middle[0], middle[1])
    often = ", ".join(map(str, sizes.values()))
    about = (
        f"{PAGES:,} pages written, one fsync; {PAGES:,} read; {LINES} lines. Rounds, by size: {often}; medians, in "
        "brackets the ratio to native (of `cut` less is better). Cold: the vault mounted anew, the kernel's caches "
        f"empty.{skipped}"
    )
    heads = ["size", "on", WRITE, RANDOM_WRITE, RANDOM_READ, APPEND, CUT]
    return Found(f"{about}\n\n{versus(heads, rows)}", {"figures": found})
