"""The processes of a file system under test: found by its directory, counted, and ended when they should be gone."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
END_SECONDS = 10.0


def processes(home: Path) -> dict[int, float]:
    """Those that name `home` in their command, and their children's children: pid and processor seconds so far."""
    ours: set[int] = set()
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    mark = os.fsencode(home) + b"/"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        pid = int(entry.name)
        parents[pid] = int(words[1])
        # With those of its children that have ended; those that live are counted themselves.
        used[pid] = sum(int(word) for word in words[11:15]) / TICK
        if mark in command:
            ours.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return {pid: used[pid] for pid in ours}


def spent(home: Path) -> float:
    """Processor seconds of the file system's processes so far."""
    return sum(processes(home).values())


def end(home: Path) -> None:
    """End those that are left: a mount that was interrupted may have a daemon that only now begins."""
    start = time.monotonic()
    while left := processes(home):
        late = time.monotonic() - start > END_SECONDS
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(0.2)
