"""Whether programs are hard at work in the mount, for what can wait until they are not."""

from __future__ import annotations

import time

import trio

EVERY = 16  # requests from one look to the next
WITHIN_NS = 32_000_000  # so quickly, and it is a rush
LASTS_NS = 64_000_000  # from the last of them on


class Rush:
    """One mount's. Whoever answers requests calls `look` after each `EVERY` of them; nothing more is paid for it."""

    def __init__(self) -> None:
        self._last = self._until = -LASTS_NS  # on the clock of `time.perf_counter_ns`
        self._begun = trio.Event()

    def look(self) -> None:
        """`EVERY` requests have come since the last time."""
        now = time.perf_counter_ns()
        if now - self._last < WITHIN_NS:
            self._until = now + LASTS_NS
            self._begun.set()
        self._last = now

    async def begun(self) -> None:
        """Return as soon as there is one."""
        while time.perf_counter_ns() >= self._until:
            self._begun = trio.Event()
            await self._begun.wait()

    async def over(self) -> None:
        """Return when it has been quiet for a while."""
        while (rest := self._until - time.perf_counter_ns()) > 0:  # noqa: ASYNC110 - it is time that counts
            await trio.sleep(rest / 1e9)
