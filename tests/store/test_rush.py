"""Work that nobody waits for gives way while programs are hard at work, not otherwise, and not for ever."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
import trio

from vaultfs.tree import rush as rushes
from vaultfs.tree.rush import LASTS_NS, MOST_NS, PATIENCE_NS, PAYS, TURN_NS, WITHIN_NS, Rush

if TYPE_CHECKING:
    from collections.abc import Callable


class Hours:
    """Clocks that go when a test says so; what slept is in `slept`, in ns."""

    def __init__(self) -> None:
        self.now = 1_000_000_000
        self.worked = 0
        self.slept: list[int] = []

    def perf_counter_ns(self) -> int:
        return self.now

    def thread_time_ns(self) -> int:
        return self.worked

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds * 1e9))
        self.now += self.slept[-1]

    def work(self, breathe: Callable[[], None], nanoseconds: int, rush: Rush | None = None) -> None:
        """A thread computes so long, and then breathes; programs go on with theirs."""
        self.worked += nanoseconds
        self.now += nanoseconds
        if rush is not None:
            begin(rush)
        breathe()


def begin(rush: Rush) -> None:
    """Two looks at once: so many requests came within no time."""
    rush.look()
    rush.look()


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Hours:
    """In place of the module's `time`."""
    found = Hours()
    monkeypatch.setattr(rushes, "time", found)
    return found


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs in another thread than the loop's, as far as a breather can tell."""
    home = threading.get_ident()
    idents = iter([home])
    monkeypatch.setattr(rushes.threading, "get_ident", lambda: next(idents, home + 1))


def test_a_rush_is_many_requests_in_a_short_time(hours: Hours) -> None:
    rush = Rush()
    rush.look()
    assert not rush.on, "the first of all"
    for _ in range(5):
        hours.now += WITHIN_NS
        rush.look()
        assert not rush.on, "as they come when somebody types"
    hours.now += WITHIN_NS - 1
    rush.look()
    assert rush.on
    hours.now += LASTS_NS - 1
    assert rush.on
    hours.now += 1
    assert not rush.on


def test_nothing_gives_way_to_programs_while_somebody_waits_for_it(hours: Hours) -> None:
    del hours
    rush = Rush()
    begin(rush)
    with rush.urgent(), rush.urgent():
        assert not rush.on
    assert rush.on


@pytest.mark.trio
async def test_who_waits_for_a_rush_and_for_its_end() -> None:
    rush = Rush()
    seen: list[str] = []

    async def watch() -> None:
        await rush.begun()
        seen.append("begun")
        await rush.over()
        seen.append("over")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        rush.look()
        await trio.testing.wait_all_tasks_blocked()
        assert seen == []
        began = time.perf_counter_ns()
        rush.look()
        await trio.testing.wait_all_tasks_blocked()
        assert seen == ["begun"]
    assert seen == ["begun", "over"]
    assert time.perf_counter_ns() - began >= LASTS_NS


@pytest.mark.usefixtures("elsewhere")
def test_a_thread_waits_for_a_multiple_of_what_it_took(hours: Hours) -> None:
    rush = Rush()
    breathe = rush.breather()
    hours.work(breathe, 3 * TURN_NS)
    assert hours.slept == [], "nobody else is at work"
    hours.work(breathe, TURN_NS - 1, rush)
    assert hours.slept == [], "not for so little"
    hours.work(breathe, 1, rush)
    hours.work(breathe, 2 * TURN_NS, rush)
    hours.work(breathe, 10 * MOST_NS, rush)
    assert hours.slept == [PAYS * TURN_NS, PAYS * 2 * TURN_NS, PAYS * MOST_NS]


@pytest.mark.usefixtures("elsewhere")
def test_a_piece_of_work_comes_to_its_end(hours: Hours) -> None:
    rush = Rush()
    breathe = rush.breather()
    for _ in range(10_000):
        hours.work(breathe, TURN_NS, rush)
    assert PATIENCE_NS <= sum(hours.slept) < PATIENCE_NS + PAYS * MOST_NS
    other = rush.breather()
    hours.work(other, 2 * TURN_NS, rush)
    assert hours.slept[-1] == PAYS * MOST_NS, "each has its own patience"


def test_the_loop_never_waits(hours: Hours) -> None:
    rush = Rush()
    breathe = rush.breather()
    for _ in range(10):
        hours.work(breathe, 5 * TURN_NS, rush)
    assert hours.slept == []


def test_the_lane_tells_of_a_rush_in_real_time() -> None:
    """No clock of a test's: a thread that computes gives way, and goes on when nobody asks any more."""
    rush = Rush()
    turns: list[float] = []

    def compute() -> None:
        breathe = rush.breather()
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            before = time.perf_counter()
            breathe()
            turns.append(time.perf_counter() - before)

    begin(rush)
    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    assert 0 < sum(turn > 0.5 * PAYS * TURN_NS / 1e9 for turn in turns) < len(turns) / 2
