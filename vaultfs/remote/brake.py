"""A process that is stopped for moments, while others need the processors more than it does.

To be nice is not enough: what runs on one half of a processor slows down the other, and a program and the daemon that
wake each other for every request feel each turn that it takes (docs/performance.md).
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

FELT = 0.05  # of a processor: what takes less, as on a slow line, may go on
_TICK = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12  # proc(5), /proc/PID/stat, counted from behind the name


class Brake:
    """On one process of ours at a time, from `attach` to `detach`; without one it does nothing."""

    def __init__(self) -> None:
        self._pid = 0
        self._urgent = 0
        self._mark = 0.0, 0.0  # when it was looked at last, and the processor time that it had used: seconds
        self._free = trio.Event()  # not set: it is stopped
        self._free.set()

    def attach(self, pid: int) -> None:
        """A child, which nobody waits for before `detach`: the number is its own."""
        self._pid = pid
        self._mark = time.monotonic(), _used(pid)

    def detach(self) -> None:
        """It goes on."""
        self.release()
        self._pid = 0

    def press(self) -> bool:
        """Stop it until `release`; False where there is none, somebody waits for it, or it does next to nothing."""
        if not self._pid or self._urgent or not self._felt():
            return False
        self._free = trio.Event()
        self._signal(signal.SIGSTOP)
        return True

    def release(self) -> None:
        """It goes on; once is enough."""
        if not self._free.is_set():
            self._signal(signal.SIGCONT)
            self._mark = time.monotonic(), _used(self._pid)
            self._free.set()

    async def released(self) -> None:
        """Return when it goes on, whoever wanted that."""
        await self._free.wait()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Somebody waits for it: it goes on, and is not stopped before the block ends."""
        self._urgent += 1
        self.release()
        try:
            yield
        finally:
            self._urgent -= 1

    def _felt(self) -> bool:
        (when, before), now = self._mark, time.monotonic()
        used = _used(self._pid)
        self._mark = now, used
        return now > when and used - before >= FELT * (now - when)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, number)


def _used(pid: int) -> float:
    """Processor time of a process so far, in seconds; 0 where it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(words[_USER]) + int(words[_SYSTEM])) / _TICK
