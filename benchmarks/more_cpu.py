"""Processor seconds of each file system's daemon for a gigabyte and for 1,000 small files.

The daemon's work does not end when the program's call returns (it seals, flushes, frees), so the clock of the
processor is read when the daemon has come to rest.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from benchmarks.fsbench import drop_caches
from benchmarks.more_base import Found, Part, by_target, mounted, note, read_file, shown, table, write_file
from benchmarks.more_processes import TICK, spent
from benchmarks.targets import VaultfsPyfuse3

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.targets import Target

QUIET_SECONDS = 1.0
REST_SECONDS = 30.0


def at_rest(home: Path) -> float:
    """The same once they do nothing any more: at most two ticks in a second."""
    limit, before = time.monotonic() + REST_SECONDS, spent(home)
    while True:
        time.sleep(QUIET_SECONDS)
        now = spent(home)
        if now - before <= 2 / TICK or time.monotonic() > limit:
            return now
        before = now


def _own() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def small_files(directory: Path, count: int) -> dict[str, Callable[[], object]]:
    """The three things done to `count` files of 2 KB in ten directories."""
    paths = [directory / f"d{number % 10}" / f"file-{number}" for number in range(count)]
    data = os.urandom(2000)

    def create() -> None:
        for number in range(10):
            (directory / f"d{number}").mkdir(parents=True)
        for path in paths:
            with open(path, "wb") as file:
                file.write(data)

    def read() -> None:
        for path in paths:
            with open(path, "rb") as file:
                file.read()

    def remove() -> None:
        for path in paths:
            os.unlink(path)

    return {"created": create, "read cold": read, "removed": remove}


def one_round(target: Target, megabytes: int, count: int, number: int) -> dict[str, tuple[float, float]]:
    """Of each row the daemon's and the program's own processor seconds, per GB or per 1,000 files."""
    directory = target.root / f"round{number}"
    directory.mkdir()
    big = directory / "big"
    files = small_files(directory, count)
    gigabytes, thousands = megabytes * 1.048576 / 1000, count / 1000
    rows: list[tuple[str, Callable[[], object], float]] = [
        ("written and fsynced, per GB", lambda: write_file(big, megabytes, number), gigabytes),
        ("read cold, per GB", lambda: read_file(big), gigabytes),
        *((f"1,000 small files {what}", work, thousands) for what, work in files.items()),
    ]
    found = {}
    for name, work, units in rows:
        if "cold" in name:
            drop_caches()
        before, own = at_rest(target.home), _own()
        work()
        own = _own() - own
        found[name] = ((at_rest(target.home) - before) / units, own / units)
    big.unlink()
    return found


def run(part: Part) -> Found:
    """All targets in turn, round after round."""
    rounds, megabytes, count = (1, 64, 500) if part.quick else (3, 1024, 4000)
    targets = [*by_target(part, ["vaultfs"]), VaultfsPyfuse3(part.work / "pyfuse3")]
    targets += by_target(part, ["gocryptfs", "securefs"])
    figures: dict[str, dict[str, list[tuple[float, float]]]] = {}
    with mounted(targets) as started:
        for number in range(rounds):
            for target in started:
                note(f"cpu: round {number + 1}, {target.name}")
                rows = figures.setdefault(target.name, defaultdict(list))
                for name, pair in one_round(target, megabytes, count, number).items():
                    rows[name].append(pair)
    lines = [
        [name, *(shown(statistics.median(pair[0] for pair in rows[name])) for rows in figures.values())]
        for name in next(iter(figures.values()))
    ]
    about = f"Of all processes of a mount's daemon, user and system, until it is at rest; {rounds} rounds, medians."
    return Found(f"{about}\n\n{table(['processor seconds', *figures], lines)}", {"daemon and program": figures})
