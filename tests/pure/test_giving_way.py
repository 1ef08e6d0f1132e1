"""How long uploads stop while programs are hard at work, on a clock of the test's."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import pytest
import trio
from trio.testing import MockClock

from vaultfs.daemon.giving_way import LONGEST, PAYS, TURN, give_way

if TYPE_CHECKING:
    from vaultfs.remote.brake import Brake
    from vaultfs.tree.rush import Rush


class Work:
    """A rush from `start` to `end`, on trio's clock."""

    def __init__(self, start: float, end: float) -> None:
        now = trio.current_time()
        self._start, self._end = now + start, now + end

    async def begun(self) -> None:
        await trio.sleep_until(self._start)
        if trio.current_time() >= self._end:
            await trio.sleep_forever()

    async def over(self) -> None:
        await trio.sleep_until(self._end)


class Watched:
    """A brake that notes when it was pressed, and for how long."""

    def __init__(self, *, works: bool = True) -> None:
        self.works = works
        self.stops: list[tuple[float, float]] = []
        self.asked = 0
        self._since: float | None = None
        self._free = trio.Event()

    def press(self) -> bool:
        self.asked += 1
        if self.works:
            self._since, self._free = trio.current_time(), trio.Event()
        return self.works

    def release(self) -> None:
        if self._since is not None:
            self.stops.append((self._since, trio.current_time()))
            self._since = None
        self._free.set()

    async def released(self) -> None:
        await self._free.wait()


def run(brake: Watched, seconds: float, start: float, end: float, needed: float | None = None) -> list[list[float]]:
    """Let it give way for so long to such a rush; returns when uploads stopped, from and to, in seconds from then.

    `needed`: when somebody needs the remote.
    """

    async def main() -> list[list[float]]:
        began = trio.current_time()
        work = Work(start, end)

        async def needs() -> None:
            if needed is not None:
                await trio.sleep(needed)
                brake.release()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(needs)
            with trio.move_on_after(seconds):
                await give_way(cast("Rush", work), cast("Brake", brake))
        return [[since - began, until - began] for since, until in brake.stops]

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def test_as_long_as_the_rush_lasts() -> None:
    (stop,) = run(Watched(), 60, 5, 5.6)
    assert stop == pytest.approx([5, 5.6])


def test_never_for_long_and_never_for_good() -> None:
    stops = run(Watched(), 60 + 9.99, 10, 70)
    lengths = [end - start for start, end in stops]
    pauses = [start - before for (_, before), (start, _) in pairwise(stops)]
    assert lengths[0] == pytest.approx(LONGEST)
    assert max(lengths[1:]) == pytest.approx(PAYS * TURN)
    assert min(pauses) == pytest.approx(TURN)
    assert sum(lengths) <= LONGEST + PAYS / (PAYS + 1) * 60


def test_who_needs_the_remote_has_it_until_the_next_turn() -> None:
    first, second, *_ = run(Watched(), 0.5, 0, 10, needed=0.3)
    assert first == pytest.approx([0, 0.3])
    assert second[0] == pytest.approx(0.3 + TURN)


def test_where_there_is_nothing_to_stop_it_looks_now_and_then() -> None:
    brake = Watched(works=False)
    assert run(brake, 100, 0, 5) == []
    assert brake.asked == pytest.approx(5 / TURN, abs=2)


def test_whoever_ends_it_lets_uploads_go_on() -> None:
    (stop,) = run(Watched(), 0.4, 0, 100)
    assert stop == pytest.approx([0, 0.4])
