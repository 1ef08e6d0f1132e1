"""fsync: one wait for the disk serves all who ask at the same time.

Measured here: fdatasync takes about 120 µs, the way to a thread and back 30 to 60 µs and two more switches. So a
quick disk is waited for in place, and only a slow one, or one that has much to write, in a thread beside the loop.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import trio

from vaultfs.fuse.threads import DiskThread

if TYPE_CHECKING:
    from collections.abc import Callable

# So long that a busy processor is not taken for a slow disk: beside other work a thread's turns cost more than that.
INLINE_NS = 2_000_000
# An fsync makes the next of them likely, and each WRITE less so: a database sends a few of these each time.
_FSYNC_ADDS, _MOST_LIKELY, _LIKELY = 3, 5, 2
_OLD_WEIGHT, _ALL_WEIGHT = 7, 8


class Ticket(Protocol):
    """What the tree wants waited for (vaultfs.tree.sync.Ticket)."""

    @property
    def heavy(self) -> bool:
        """Whether there may be much to write."""

    def run(self) -> None:
        """Wait for the disk; in the loop. Raises OSError."""

    def run_apart(self) -> None:
        """Wait for the disk; in any other thread. Raises OSError."""

    def done(self) -> None:
        """In the loop, after `run` returned."""

    def noted(self) -> bool:
        """Its first half; True: `confirm` has to follow."""

    def confirm(self) -> None:
        """Its second half."""


class _Round:
    """One wait and those who share it."""

    __slots__ = ("error", "finished")

    def __init__(self) -> None:
        self.finished = trio.Event()
        self.error: OSError | None = None


class Syncer:
    """Group commit over `take`, which gives the ticket for everything done so far (None: nothing to do)."""

    __slots__ = ("_average_ns", "_likely", "_next", "_running", "_take", "_thread", "afterwards")

    def __init__(self, take: Callable[[], Ticket | None]) -> None:
        self._take = take
        self._thread = DiskThread()
        self._running: _Round | None = None
        self._next: _Round | None = None
        self._average_ns = 0
        self._likely = 0
        self.afterwards: Callable[[], None] | None = None

    def at_once(self) -> bool:
        """Wait here for a quick disk that nobody else waits for; False: `sync` is to be awaited. Raises OSError.

        What is in `afterwards` then has to be called, and forgotten, before anything else: once the answer is out. So
        it is after `wrote`.
        """
        self._likely = min(self._likely + _FSYNC_ADDS, _MOST_LIKELY)
        if self._running is not None or self._next is not None or self._average_ns > INLINE_NS:
            return False
        ticket = self._take()
        if ticket is None:
            return True
        if ticket.heavy:
            return False
        self._run(ticket)
        if ticket.noted():
            self.afterwards = ticket.confirm
        return True

    def wrote(self, sync_soon: Callable[[], None]) -> None:
        """A WRITE is done. If an fsync is likely to be next, `sync_soon` is put into `afterwards`."""
        if self._likely:
            if self._likely >= _LIKELY:
                self.afterwards = sync_soon
            self._likely -= 1

    async def sync(self) -> None:
        """Return when all that was done before the call is on disk; raises OSError."""
        if self._running is None and self._next is None:
            await self._lead(_Round())
            return
        # The round under way began before we came; share the next one, which the first of us leads.
        mine = self._next
        if mine is not None:
            await mine.finished.wait()
            if mine.error is not None:
                raise OSError(mine.error.errno, mine.error.strerror)
            return
        mine = self._next = _Round()
        with trio.CancelScope(shield=True):
            while self._running is not None:
                await self._running.finished.wait()
            self._next = None
            await self._lead(mine)

    def beside(self, function: Callable[[], None]) -> None:
        """Have the thread that waits for the disk call it, some time; it raises nothing."""
        self._thread.begin(function)

    def close(self) -> None:
        """End the thread; nobody waits any more."""
        self._thread.close()

    async def _lead(self, mine: _Round) -> None:
        """Run one round; everybody in it learns how it went."""
        try:
            ticket = self._take()
            if ticket is None:
                return
            await self._wait(ticket, mine)
            ticket.done()
        except OSError as error:
            mine.error = error
            raise
        finally:
            mine.finished.set()

    async def _wait(self, ticket: Ticket, mine: _Round) -> None:
        if not ticket.heavy and self._average_ns <= INLINE_NS:
            self._run(ticket)
            return
        start = time.perf_counter_ns()
        self._running = mine
        try:
            await self._thread.run(ticket.run_apart)
        finally:
            self._running = None
        if not ticket.heavy:
            self._took(time.perf_counter_ns() - start)

    def _run(self, ticket: Ticket) -> None:
        start = time.perf_counter_ns()
        ticket.run()
        self._took(time.perf_counter_ns() - start)

    def _took(self, elapsed: int) -> None:
        self._average_ns = (_OLD_WEIGHT * self._average_ns + elapsed) // _ALL_WEIGHT
