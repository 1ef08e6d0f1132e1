"""How much slower work in the mount is while 500 MB are on their way to the remote. The ratio is the figure.

At rest, with a line of a limited speed, and as fast as it goes, in turn, so a drift of the machine falls on all. As
fast as it goes is the hardest: on this machine the S3 server is at work on the same processors too, though at the
lowest priority, as a store elsewhere would take none of their time. Its objects are in memory, and each round has a
vault and a store of its own, so that they fit there. Memory is full of cached pages throughout: see
`benchmarks.full_memory`.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections import defaultdict
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.fsbench import rate
from benchmarks.full_memory import FullMemory
from benchmarks.more_base import MEGABYTE, Found, Part, mounted, note, shown, table, write_file
from benchmarks.more_store import OnS3, elsewhere, serve
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from benchmarks.workloads import Workload

ROWS = ("tree-create", "append", "save-fsync-rename", "sqlite-wal-normal", "rand-write-4k")
REST, LIMITED, FULL = "at rest", "limited", "full speed"
LIMIT = 40 * MEGABYTE  # bytes a second: a quick line to the world, and 500 MB last for some rows
START_SECONDS = 60
MOST = 16  # publishes in a round, when many rows have to be measured again
TRIES = 4


class Bench:
    """One vault, its publishing, and what was found."""

    target: OnS3

    def __init__(self, megabytes: int, row_seconds: float, memory: FullMemory | None) -> None:
        self.megabytes = megabytes
        self.row_seconds = row_seconds
        self.memory = memory
        self.rates: dict[str, dict[str, list[float]]] = {row: defaultdict(list) for row in ROWS}
        self.sent: dict[str, list[tuple[float, float]]] = defaultdict(list)  # MB that went up in a row, its seconds
        self.early = 0  # rows thrown away: the publish had ended before they did
        self.where = ""  # the store's objects are
        self._number = 0

    def _work(self, row: Workload) -> float:
        """Operations a second over some repetitions: with the pauses that publishing may cause."""
        spent: list[float] = []  # seconds for one operation
        end = time.monotonic() + self.row_seconds
        while not spent or time.monotonic() < end:
            self._number += 1
            directory = self.target.root / f"work-{self._number}"
            directory.mkdir()
            spent.append(1 / rate(row, str(directory)))
        return 1 / statistics.mean(spent)

    def _publish(self) -> None:
        """So many megabytes more to publish, unless a good part still is; returns when they are on their way."""
        waits, up, _ = self.target.progress()
        if waits > self.megabytes * MEGABYTE // 3:
            return
        self.target.wait_published()  # what waits afterwards is this
        self._number += 1
        write_file(self.target.root / f"large-{self._number}", self.megabytes, self._number)
        limit = time.monotonic() + START_SECONDS
        while True:
            _, now, going = self.target.progress()
            if going or now - up > 4 * MEGABYTE:
                return  # on a slow day it may have ended too, which is seen after the row
            if time.monotonic() > limit:
                raise TimeoutError("the publish did not begin")
            time.sleep(0.02)

    def measure(self, row: Workload, how: str) -> None:
        """One row, at rest or while publishing. It counts only when something still went up after its end."""
        for _ in range(TRIES):
            if how == REST:
                self.target.wait_published()
            if self.memory is not None:
                self.memory.fill()
            if how != REST:
                self._publish()
            _, before, _ = self.target.progress()
            start = time.monotonic()
            found = self._work(row)
            took = time.monotonic() - start
            waits, after, _ = self.target.progress()
            if how == REST or waits:
                self.rates[row.name][how].append(found)
                self.sent[how].append(((after - before) / 1e6, took))
                return
            self.early += 1
        raise RuntimeError(f"{row.name}: the publish always ended before the row")

    def clear(self) -> None:
        """Publish the rest, and remove all files."""
        self.target.limit(0)
        self.target.wait_published()
        for path in list(self.target.root.iterdir()):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        self.target.wait_published()


def text(bench: Bench, rounds: int) -> str:
    """The table, and that the publish really went on."""
    lines = []
    for row, rates in bench.rates.items():
        cells = [row, shown(statistics.median(rates[REST]))]
        for how in (LIMITED, FULL):
            ratios = [busy / rest for rest, busy in zip(rates[REST], rates[how], strict=True)]
            cells += [shown(statistics.median(rates[how])), f"**{statistics.median(ratios):.2f}**"]
            cells.append(f"{min(ratios):.2f} to {max(ratios):.2f}")
        lines.append(cells)
    # Objects are counted when they are there, some tens of MB at once: only the sum says how quick it was.
    speeds = {how: sum(sent for sent, _ in runs) / sum(took for _, took in runs) for how, runs in bench.sent.items()}
    thrown = f"; {bench.early} rows were measured again, as it had ended before them" if bench.early else ""
    about = (
        f"{rounds} rounds, medians; the ratio is that of each round. `rclone serve s3` on loopback, its "
        f"objects {bench.where}; {bench.megabytes} MB that do not compress; memory full of "
        f"cached files. In every row that counts something still waited to go up when it had ended{thrown}. "
        f"What went up meanwhile: {speeds[LIMITED]:.0f} MB/s with the line limited to {LIMIT // MEGABYTE} MiB/s, "
        f"{speeds[FULL]:.0f} MB/s without a limit (at rest {speeds[REST]:.1f})."
    )
    heads = ["a second", REST, LIMITED, "ratio", "from, to", FULL, "ratio", "from, to"]
    return f"{about}\n\n{table(heads, lines)}"


def run(part: Part) -> Found:
    """Every other round the other way round."""
    rounds, megabytes, row_seconds = (1, 250, 0.1) if part.quick else (4, 500, 1.2)
    with FullMemory(part.work) as memory:
        bench = Bench(megabytes, row_seconds, None if part.quick else memory)
        for number in range(rounds):
            _round(part, bench, number)
    facts = {"rates": bench.rates, "sent": bench.sent, "measured again": bench.early}
    return Found(text(bench, rounds), facts)


def _round(part: Part, bench: Bench, number: int) -> None:
    rows = [workload for name in ROWS for workload in WORKLOADS if workload.name == name]
    with ExitStack() as stack:
        shelf, bench.where = stack.enter_context(elsewhere(part.work, MOST * bench.megabytes))
        section = stack.enter_context(serve(shelf))
        (target,) = stack.enter_context(mounted([OnS3(part.work / "vaultfs", section)]))
        assert isinstance(target, OnS3)
        bench.target = target
        order = (REST, LIMITED, FULL)
        for how in order if number % 2 == 0 else order[::-1]:
            note(f"publishing: round {number + 1}, {how}")
            target.limit(LIMIT if how == LIMITED else 0)
            for row in rows:
                bench.measure(row, how)
            bench.clear()
