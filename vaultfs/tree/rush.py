"""Whether programs are hard at work in the mount: what nobody waits for gives way then.

Two ways to do so: a task of the loop waits with `begun` and `over`; work in a thread calls a `breather` between its
pieces. Python runs one thread at a time, so that a request waits up to half a millisecond wherever a thread computes.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVERY = 8  # requests from one look to the next
WITHIN_NS = 64_000_000  # so quickly, and it is a rush
LASTS_NS = 100_000_000  # from the last of them on
TURN_NS = 1_000_000  # of a processor: what a thread takes before it gives way
PAYS = 15  # times that a thread waits for what it took
MOST_NS = 5_000_000  # of what it took at once is paid for
PATIENCE_NS = 20_000_000_000  # that a piece of work waits in all: then it is to end


class Rush:
    """One mount's. Whoever answers requests calls `look` after each `EVERY` of them; nothing more is paid for it."""

    def __init__(self) -> None:
        self.home = threading.get_ident()  #: the loop's thread, which never waits
        self._last = self._until = -LASTS_NS  # on the clock of `time.perf_counter_ns`
        self._begun = trio.Event()
        self._urgent = 0

    def look(self) -> None:
        """`EVERY` requests have come since the last time."""
        now = time.perf_counter_ns()
        if now - self._last < WITHIN_NS:
            self._until = now + LASTS_NS
            self._begun.set()
        self._last = now

    @property
    def on(self) -> bool:
        """Whether work is to give way now. In any thread."""
        return time.perf_counter_ns() < self._until and not self._urgent

    async def begun(self) -> None:
        """Return as soon as there is one."""
        while time.perf_counter_ns() >= self._until:
            if self._begun.is_set():  # whoever waits already waits for this one, too
                self._begun = trio.Event()
            await self._begun.wait()

    async def over(self) -> None:
        """Return when it has been quiet for a while."""
        while (rest := self._until - time.perf_counter_ns()) > 0:  # noqa: ASYNC110 - it is time that counts
            await trio.sleep(rest / 1e9)

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """While the block runs somebody waits for that work: it gives way to nobody."""
        self._urgent += 1
        try:
            yield
        finally:
            self._urgent -= 1

    def breather(self) -> Callable[[], None]:
        """For one piece of work in a thread, which calls it every now and then, and gives way in it."""
        return _Breather(self)


class _Breather:
    __slots__ = ("_left", "_rush", "_since")

    def __init__(self, rush: Rush) -> None:
        self._rush = rush
        self._since = 0  # of the processor time of the thread
        self._left = PATIENCE_NS

    def __call__(self) -> None:
        now = time.thread_time_ns()
        took = now - self._since
        if 0 <= took < TURN_NS:
            return
        self._since = now
        if self._left > 0 and self._rush.on and threading.get_ident() != self._rush.home:
            pause = PAYS * min(abs(took), MOST_NS)
            self._left -= pause
            time.sleep(pause / 1e9)
