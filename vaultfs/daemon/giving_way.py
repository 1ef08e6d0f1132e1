"""Uploads give way to programs that are hard at work in the mount.

They stop for a second at most, and for seven eighths of the time where the work goes on, so everything gets there in
the end. Nobody who waits for the remote (a program that reads what is not here, `handoff`, an unmount) is held up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from vaultfs.remote.brake import Brake
    from vaultfs.tree.rush import Rush

LONGEST = 1.0  # seconds that uploads may stop at a stretch
TURN = 0.05  # seconds that they go on at least before the next stop
PAYS = 7.0  # seconds of stop for each second that they went on


async def give_way(rush: Rush, brake: Brake) -> None:
    """Until cancelled; then they go on."""
    left, since = LONGEST, trio.current_time()  # what they may still be stopped for, as of then
    try:
        while True:
            await rush.begun()
            now = trio.current_time()
            left, since = min(LONGEST, left + PAYS * (now - since)), now
            if brake.press():
                with trio.move_on_after(left):
                    await _first(rush, brake)
                brake.release()
                now = trio.current_time()
                left, since = max(left - (now - since), 0.0), now
            await trio.sleep(TURN)
    finally:
        brake.release()


async def _first(rush: Rush, brake: Brake) -> None:
    """Until the rush is over, or somebody needs the remote."""
    async with trio.open_nursery() as nursery:

        async def over() -> None:
            await rush.over()
            nursery.cancel_scope.cancel()

        nursery.start_soon(over)
        await brake.released()
        nursery.cancel_scope.cancel()
