"""The tree's housekeeping beside the requests: prepared and applied in the loop, done in a thread."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.tree import Tree
    from vaultfs.tree.housekeeping import Work

_log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
ROOM_SECONDS = 60.0


class Housekeeping:
    """Asks the tree every second what is due, and at once when a writer waits for room in the journal."""

    __slots__ = ("_due", "_lock", "_room", "_tree")

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._due = trio.Event()
        self._room = trio.Event()
        self._lock = trio.Lock()

    async def run(self) -> None:
        """Until cancelled; what has begun is finished first."""
        while True:
            with trio.move_on_after(TICK_SECONDS):
                await self._due.wait()
            self._due = trio.Event()
            try:
                await self._all_due()
            except OSError as error:
                # The tree has noted for `status` what does not pass by itself.
                _log.error("housekeeping failed: %s", os.strerror(error.errno or 0))
                await trio.sleep(TICK_SECONDS)
            self._room.set()
            self._room = trio.Event()

    async def _all_due(self) -> None:
        while await self.do(self._tree.tick):
            if not self._tree.crowded:
                self._room.set()
            await trio.lowlevel.checkpoint()

    async def do(self, decide: Callable[[], Work | None]) -> bool:
        """Do the work that `decide` gives and what follows from it, with no other work in between.

        False if it gave none. Raises `OSError`.
        """
        found = False
        # Once begun it must be applied, or the tree would wait for it for ever.
        with trio.CancelScope(shield=True):
            async with self._lock:
                work = decide()
                found = work is not None
                while work is not None:
                    await trio.to_thread.run_sync(work.run)
                    work = work.apply()
        return found

    async def room(self) -> None:
        """Wait until the journal has room again, but not for ever: a slow disk is better than a stuck one."""
        with trio.move_on_after(ROOM_SECONDS):
            while self._tree.crowded:
                self._due.set()
                await self._room.wait()
