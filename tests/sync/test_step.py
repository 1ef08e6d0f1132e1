"""Which heads are late: they may bring back what no other head has."""

from __future__ import annotations

import pytest

from vaultfs import clock as vaultfs_clock
from vaultfs.sync.step import WITHIN, Step


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(vaultfs_clock, "since_boot", one)
    return one


def test_what_is_made_in_step_is_not_late(clock: Clock) -> None:
    step = Step()
    step.looked(0, clean=True)
    clock.now = WITHIN - 1
    step.made(1, step.cut())
    clock.now = WITHIN
    assert not step.late([1])
    assert step.late([1]), "it is forgotten: nothing is known of it"


@pytest.mark.usefixtures("clock")
def test_what_was_made_before_the_first_look_is_late() -> None:
    step = Step()
    step.made(1, step.cut())
    step.looked(0, clean=False)
    step.made(2, step.cut())
    assert step.late([2])
    step.made(3, step.cut())
    assert not step.late([3])
    assert step.late([1, 3]), "one of them is enough"


def test_a_look_does_not_put_right_what_was_changed_before_it(clock: Clock) -> None:
    step = Step()
    step.looked(0, clean=True)
    clock.now = 2 * WITHIN  # asleep
    step.looked(clock.now, clean=False)
    first = step.cut()
    step.failed(first)
    step.made(1, step.cut())
    assert step.late([1])
    step.made(2, step.cut())
    assert not step.late([2])


def test_what_waited_for_long_is_late(clock: Clock) -> None:
    step = Step()
    step.looked(0, clean=True)
    step.made(1, step.cut())
    step.merged(2)
    clock.now = WITHIN + 1
    step.looked(clock.now, clean=True)
    assert step.late([1, 2])
