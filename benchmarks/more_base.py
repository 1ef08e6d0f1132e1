"""What the parts of benchmarks/more share: file systems that are mounted while a block runs, cold caches, data."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.fsbench import drop_caches
from benchmarks.memory_use import seconds, table
from benchmarks.more_processes import end
from benchmarks.targets import TARGETS, Target, Vaultfs
from benchmarks.workloads import MEGABYTE, pieces
from vaultfs.daemon.client import call

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["MEGABYTE", "Found", "Part", "by_target", "cold", "mounted", "note", "pieces", "seconds", "shown", "table"]


@dataclass(frozen=True)
class Part:
    """What a part is given: a directory of its own, whether small sizes are enough, and how long the day is."""

    work: Path
    quick: bool
    days: int = 1


@dataclass
class Found:
    """What a part has found: its Markdown, and every single figure."""

    text: str
    facts: dict[str, Any] = field(default_factory=dict)


class Published(Vaultfs):
    """A vault that has a remote: by default a directory."""

    def remote(self) -> str:
        """Where it is published."""
        return str(self.home / "remote")

    def mount(self) -> None:
        """A new vault there, mounted."""
        self.vaultfs("init", "bench", "--yes", "--remote", self.remote())
        self.remount()

    def status(self) -> dict[str, Any]:
        """What `vaultfs status --json` shows, asked of the daemon itself: a command would be felt in what is timed."""
        (control,) = (self.home / "run/vaultfs").glob("bench-*.sock")
        found: dict[str, Any] = json.loads(call(control, "GET", "/status", timeout=60.0))
        return found

    def pending(self) -> int:
        """Bytes that are not on the remote yet; commits without bytes count as one."""
        waiting = self.status()["sync"]["pending"]
        return int(waiting["bytes"] or waiting["commits"])

    def wait_published(self, limit: float = 120.0) -> None:
        """Until nothing waits any more; seen for a while, as nothing waits in the moment of a commit either."""
        end, calm = time.monotonic() + limit, 0
        while calm < 5:
            if time.monotonic() > end:
                raise TimeoutError(f"still not published after {limit:.0f} s")
            calm = calm + 1 if self.pending() == 0 else 0
            time.sleep(0.3)


def note(text: str) -> None:
    """How far it is, for who waits."""
    print(f"# {text}", file=sys.stderr, flush=True)


@contextmanager
def mounted(targets: Sequence[Target]) -> Iterator[list[Target]]:
    """Those of them that could be mounted; unmounted and removed at the end, however it ends."""
    with ExitStack() as stack:
        started = []
        for target in targets:
            if not target.available():
                note(f"{target.name} is not installed: left out")
                continue
            stack.callback(shutil.rmtree, target.home, ignore_errors=True)
            stack.callback(target.stop)  # what was mounted in the last moment
            stack.callback(end, target.home)
            stack.callback(target.stop)
            try:
                target.start()
            except (OSError, RuntimeError) as error:
                note(f"{error}\n# {target.name} is left out")
            else:
                started.append(target)
        yield started


def by_target(part: Part, names: Sequence[str]) -> list[Target]:
    """File systems by their names, each with a home below the part's directory."""
    return [TARGETS[name](part.work / name) for name in names]


def restarted(target: Target) -> None:
    """As after a start of the machine: the kernel's caches are dropped, and then a daemon of ours begins anew."""
    if isinstance(target, Vaultfs):
        target.stop()
    drop_caches()
    if isinstance(target, Vaultfs):
        target.remount()


def cold(target: Target) -> None:
    """Nothing of it in memory: not even what a daemon that began anew has had read."""
    restarted(target)
    drop_caches()


def write_file(path: Path, megabytes: int, seed: int) -> None:
    """A file of such pieces, with an fsync at its end."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    for piece in pieces(megabytes, seed):
        os.write(fd, piece)
    os.fsync(fd)
    os.close(fd)


def read_file(path: Path) -> None:
    """To its end, in pieces of 1 MiB."""
    fd = os.open(path, os.O_RDONLY)
    while os.read(fd, MEGABYTE):
        pass
    os.close(fd)


def shown(figure: float | None) -> str:
    """With as many digits as mean something."""
    if figure is None:
        return "-"
    if figure >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def beside(native: float, ours: float) -> str:
    """Our figure with the ratio to the bare disk's."""
    return f"{shown(ours)} ({ours / native:.2f})" if native else shown(ours)


def versus(heads: Sequence[str], rows: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]]) -> str:
    """A table: of each row (a size) two lines, the disk's figures and ours with the ratios."""
    lines = []
    for name, (native, ours) in rows.items():
        columns = list(native)
        lines.append([name, "native", *(shown(native[column]) for column in columns)])
        lines.append(["", "vaultfs", *(beside(native[column], ours[column]) for column in columns)])
    return table(heads, lines)
