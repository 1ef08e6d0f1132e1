"""How long one program waits for single operations while four agents work in other directories of the mount.

The probe is a process of its own: `python -m benchmarks.more_latency DIRECTORY COUNT FIRST` writes JSON with the
nanoseconds of each operation. It is paced too, so each operation meets a daemon that may have gone to sleep.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.fsbench import drop_caches
from benchmarks.more_agent import working
from benchmarks.more_base import MEGABYTE, Found, Part, by_target, mounted, note, pieces, table
from benchmarks.workloads import PAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.targets import Target

TARGETS = ["native", "vaultfs", "gocryptfs", "securefs"]
AGENTS = 4
AGENT_RATE = 20.0
PROBE_PAUSE = 0.01
FILE_MEGABYTES = 64
OPERATIONS = {
    "stat": "stat of a name not asked for before",
    "open": "open and close",
    "write": "overwrite of 4 KiB",
    "fsync": "fsync of it",
}
PERCENTS = (50, 90, 99)


def percentile(figures: Sequence[float], percent: float) -> float:
    """The smallest figure that at least so many of a hundred do not exceed."""
    ordered = sorted(figures)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def probe(directory: Path, count: int, first: int) -> dict[str, list[int]]:
    """Nanoseconds of each operation; names from number `first` on."""
    found: dict[str, list[int]] = defaultdict(list)
    dice, clock = random.Random(first), time.perf_counter_ns
    data = next(iter(pieces(1, first)))[:PAGE]
    fd = os.open(directory / "pages", os.O_WRONLY)
    opened = str(directory / "opened")
    for number in range(first, first + count):
        name = str(directory / f"name-{number}")
        place = dice.randrange(FILE_MEGABYTES * MEGABYTE // PAGE) * PAGE
        times = [clock()]
        os.stat(name)
        times.append(clock())
        os.close(os.open(opened, os.O_RDONLY))
        times.append(clock())
        os.pwrite(fd, data, place)
        times.append(clock())
        os.fsync(fd)
        times.append(clock())
        for kind, before, after in zip(OPERATIONS, times, times[1:], strict=False):
            found[kind].append(after - before)
        time.sleep(PROBE_PAUSE)
    os.close(fd)
    return found


def prepare(target: Target, names: int) -> None:
    """What the probe needs; its names get out of the kernel's memory before it asks for them."""
    directory = target.root / "probe"
    directory.mkdir()
    for number in range(names):
        (directory / f"name-{number}").touch()
    (directory / "opened").write_bytes(b"here")
    with open(directory / "pages", "wb") as file:
        file.writelines(pieces(FILE_MEGABYTES, 3))
        file.flush()
        os.fsync(file.fileno())


def one_round(target: Target, number: int, count: int) -> tuple[dict[str, list[int]], float]:
    """The probe's figures, and how many operations a second the agents made in all."""
    agents = [target.root / f"agent{which}" for which in range(AGENTS)]
    drop_caches()
    command = [sys.executable, "-m", "benchmarks.more_latency", str(target.root / "probe"), str(count)]
    with working(agents, AGENT_RATE) as made:
        start = time.monotonic()
        done = subprocess.run([*command, str(number * count)], check=True, capture_output=True, text=True)
        took = time.monotonic() - start
    found: dict[str, list[int]] = json.loads(done.stdout)
    return found, sum(made) / took


def run(part: Part) -> Found:
    """All targets in turn, round after round; the percentiles are of all rounds together."""
    rounds, count = (1, 100) if part.quick else (3, 700)
    figures: dict[str, dict[str, list[int]]] = {}
    paces: dict[str, list[float]] = defaultdict(list)
    with mounted(by_target(part, TARGETS)) as started:
        for target in started:
            prepare(target, rounds * count)
        for number in range(rounds):
            for target in started:
                note(f"latency: round {number + 1}, {target.name}")
                found, pace = one_round(target, number, count)
                rows = figures.setdefault(target.name, defaultdict(list))
                paces[target.name].append(pace)
                for kind, times in found.items():
                    rows[kind] += times
    lines = []
    for kind, title in OPERATIONS.items():
        for name, rows in figures.items():
            cells = [percentile(rows[kind], percent) for percent in PERCENTS] + [max(rows[kind])]
            shown = [f"{cell / 1000:,.0f}" for cell in cells]
            lines.append([title if name == next(iter(figures)) else "", name, *shown])
    made = ", ".join(f"{name} {sum(pace) / len(pace):.0f}" for name, pace in paces.items())
    about = (
        f"µs, {rounds * count:,} times each, {rounds} rounds in turn. {AGENTS} agents, each {AGENT_RATE:.0f} "
        "operations a second (lines, transactions, saves with fsync, reads); what they made together, a second: "
        f"{made}."
    )
    heads = ["operation", "on", *(f"{percent} of 100" for percent in PERCENTS), "the longest"]
    return Found(f"{about}\n\n{table(heads, lines)}", {"nanoseconds": figures, "agents": paces})


if __name__ == "__main__":
    print(json.dumps(probe(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
