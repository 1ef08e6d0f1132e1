"""When it is time to commit."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from vaultfs.sync.pacing import Pacing
from vaultfs.sync.ports import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 0.1


def first_due(written: Callable[[float], float], pace: Pace) -> float:
    """When a commit is due, looked at ten times a second, if so much was written until each moment."""
    when = Pacing(pace)
    when.nothing(int(written(0)))
    for step in count(1):
        now = step * STEP
        if when.due(now, int(written(now))):
            return round(now, 1)
    raise AssertionError


PACE = Pace(after=1.0, every=5.0)


def test_one_write() -> None:
    assert first_due(lambda now: min(now, 0.1) * 10, PACE) == 1.1


def test_writing_without_pause_waits_for_the_longest() -> None:
    assert first_due(lambda now: now * 20, PACE) == 5.1


def test_a_burst_is_not_kept_by_a_trickle() -> None:
    """A thousand files in the first second, and a database that is at work all the time."""
    assert 1.9 <= first_due(lambda now: min(now, 1.0) * 1000 + now * 20, PACE) <= 2.1


def test_writing_that_goes_on_slower_is_no_trickle() -> None:
    assert first_due(lambda now: min(now, 1.0) * 100 + now * 50, PACE) == 5.1


def test_after_a_commit_it_starts_anew() -> None:
    when = Pacing(PACE)
    when.nothing(0)
    assert not when.due(10.0, 1000)
    assert when.due(11.0, 1000)
    when.nothing(1000)
    assert not when.due(11.5, 1010), "what was committed is no burst any more"
    assert not when.due(12.0, 1020)
    assert when.waited(12.0) == 0.5
    assert when.due(13.1, 1020)
