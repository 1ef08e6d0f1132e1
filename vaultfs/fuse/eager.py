"""Waiting eagerly: while requests come one after the other, look for the next one before going to sleep.

A program that works on files sends its next request some 20 µs after the last answer. Putting the processor to sleep
in between and waking it costs more than that: looking for 80 µs first makes 40 % more small files a second here
(docs/performance.md). After the first pause that was longer, nothing is looked for until requests come quickly again,
so an idle mount, or one that is asked now and then, costs nothing.
"""

from __future__ import annotations

import select
import time

import trio

LOOK_NS = 80_000
QUICK_NS = 150_000


class EagerWait(trio.abc.Instrument):
    """Hooks into trio's waiting; `descriptor` is the kernel's."""

    def __init__(self, descriptor: int) -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        self._ready = poll.poll
        self._began = 0
        self._quick = False

    def before_io_wait(self, timeout: float) -> None:
        """Looks for the next request, if the last ones came quickly."""
        self._began = now = time.perf_counter_ns()
        if self._quick and timeout > 0:
            end, ready = now + LOOK_NS, self._ready
            while not ready(0) and time.perf_counter_ns() < end:
                pass

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002  # trio's signature
        """Notes whether the wait was short."""
        self._quick = time.perf_counter_ns() - self._began < QUICK_NS
