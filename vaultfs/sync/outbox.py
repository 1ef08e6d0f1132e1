"""The commits that wait to be published, and which of them may be.

A number that others have seen must not be used again for something else. So a commit may leave this machine only when
its row in the outbox is on disk; until then a full disk, a crash or a power cut takes it back, and its number with it.
The same goes for its packs: a pack's number that is taken back is another pack's soon.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from vaultfs.tree.housekeeping import SyncWork
from vaultfs.tree.statements import error

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.sync.ports import Ports
    from vaultfs.tree.housekeeping import Work
    from vaultfs.tree.ledger import Outgoing


class Outbox:
    """Knows how far the rows of the outbox are on disk, as it sees to it. For a tree that was only just opened."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._ledger = ports.tree.ledger
        # Numbers only grow, but for those that were taken back, and what is on disk is not taken back. What an opened
        # tree has is on disk already.
        self._durable = self._newest()
        self._under_way = 0  # checkpoints
        self._ended = trio.Event()  # one of them

    def _newest(self) -> int:
        return max((commit.number for commit in self._ledger.outbox()), default=0)

    async def checkpoint(self, change: Callable[[], None] = lambda: None) -> None:
        """Everything so far is on disk after this, and `change`, made in the same instant. Raises `OSError`."""
        self._under_way += 1
        try:
            await self._ports.do(partial(self._work, change))
        finally:
            self._under_way -= 1
            self._ended.set()
            self._ended = trio.Event()

    def _work(self, change: Callable[[], None]) -> Work:
        tree = self._ports.tree
        if tree.state.failed:
            raise error(tree.state.failed)  # a disk that failed once may say that it has what it lost
        return _Noted(SyncWork(tree.keeper, change), self._newest, self._is_durable)

    def _is_durable(self, number: int) -> None:
        self._durable = max(self._durable, number)

    async def ready(self) -> list[Outgoing]:
        """The commits that may be published, oldest first; none: none waits.

        If all that wait are still on their way to the disk, returns when the first is there. Raises `OSError`.
        """
        while waiting := self._ledger.outbox():
            ready = [commit for commit in waiting if commit.number <= self._durable]
            if ready:
                return ready
            if self._under_way:
                await self._ended.wait()
            else:
                await self.checkpoint()  # that of the commit failed when the database had the row already
        return []


class _Noted:
    """A checkpoint, and a note of which commits it has put on disk."""

    def __init__(self, work: SyncWork, newest: Callable[[], int], note: Callable[[int], None]) -> None:
        self._work: Work = work
        self._newest = newest
        self._note = note
        self._number: int | None = None

    def run(self) -> None:
        """Waits for the disk. Raises `OSError`."""
        self._work.run()

    def apply(self) -> Work | None:
        """The database's transaction ends with the first part; what comes later is not covered. Raises `OSError`."""
        after = self._work.apply()
        if self._number is None:
            self._number = self._newest()
        if after is None:
            self._note(self._number)
            return None
        self._work = after
        return self
