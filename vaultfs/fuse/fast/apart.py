"""The daemon and the program it answers, each on a processor of its own.

Where there are few processors, Linux may leave both on one for long although another is idle: it looks for an idle one
only while little is going on. Each answer then takes the processor from us for the program's next request, and nothing
is done at the same time (docs/performance.md, "What was learned"). We see it by how often that happens to us, and
go where we are not now; nothing else moves, and Linux may move us as before.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from resource import RUSAGE_THREAD, getrusage
from typing import TYPE_CHECKING

from vaultfs.tree.rush import EVERY

if TYPE_CHECKING:
    from collections.abc import Callable

TOO_OFTEN = EVERY // 2  # times that the processor was taken from us since the last look
LONGEST_PAUSE = 64  # looks: where going elsewhere does not help, as with many programs at once

_here = ctypes.CDLL(None).sched_getcpu


def _times_taken() -> int:
    """How often this thread lost its processor to another that wanted it."""
    return getrusage(RUSAGE_THREAD).ru_nivcsw


class Apart:
    """One thread's, which alone calls `look`."""

    def __init__(self, times_taken: Callable[[], int] = _times_taken) -> None:
        self.moves = 0
        self._times_taken = times_taken
        self._seen = times_taken()
        self._pause = self._rest = 1  # looks from one move to the next possible one, and those that are left of them

    def look(self) -> None:
        """`EVERY` requests have been answered since the last time."""
        taken = self._times_taken()
        often, self._seen = taken - self._seen >= TOO_OFTEN, taken
        if self._rest > 1:
            self._rest -= 1
        elif often:
            self._move()
            self._pause = self._rest = min(2 * self._pause, LONGEST_PAUSE)
        else:
            self._pause = 1

    def _move(self) -> None:
        usual = os.sched_getaffinity(0)
        others = usual - {_here()}
        if not others:
            return
        with suppress(OSError):  # then we stay
            os.sched_setaffinity(0, others)
            os.sched_setaffinity(0, usual)
            self.moves += 1
