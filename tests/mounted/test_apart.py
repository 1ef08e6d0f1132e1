"""The daemon goes to another processor when whoever it answers takes its own at each answer, and not all the time."""

from __future__ import annotations

import os
import threading
from itertools import count, pairwise
from typing import TYPE_CHECKING

import pytest

from tests.support.lane import kernel
from tests.support.lane import record as request
from vaultfs.fuse.fast import lane
from vaultfs.fuse.fast.apart import LONGEST_PAUSE, TOO_OFTEN, Apart
from vaultfs.fuse.fast.wire import Op
from vaultfs.tree.rush import EVERY

if TYPE_CHECKING:
    from collections.abc import Iterable


class Taken:
    """How often the processor was taken away, as a test says."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> int:
        return self.times

    def at(self, apart: Apart, times: Iterable[int]) -> list[int]:
        """The looks at which it went elsewhere, where that many were taken before each."""
        moved = []
        for number, more in enumerate(times):
            before = apart.moves
            self.times += more
            apart.look()
            if apart.moves > before:
                moved.append(number)
        return moved


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[set[int], int]]:
    """Each set of processors that was asked for, and the processor it was asked on; four of them, we on the third."""
    asked: list[tuple[set[int], int]] = []
    monkeypatch.setattr("vaultfs.fuse.fast.apart._here", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, mask: asked.append((mask, pid)))
    return asked


def test_who_is_left_alone_stays(masks: list[object]) -> None:
    taken = Taken()
    assert not taken.at(Apart(taken), [0, TOO_OFTEN - 1] * 100)
    assert not masks


def test_it_goes_where_it_is_not_and_may_be_moved_back(masks: list[object]) -> None:
    taken = Taken()
    assert taken.at(Apart(taken), [0, 0, TOO_OFTEN, 0]) == [2]
    assert masks == [({0, 1, 3}, 0), ({0, 1, 2, 3}, 0)]


@pytest.mark.usefixtures("masks")
def test_where_that_does_not_help_it_is_tried_less_and_less() -> None:
    taken = Taken()
    apart = Apart(taken)
    moved = taken.at(apart, [EVERY] * 1000)
    gaps = [later - earlier for earlier, later in pairwise(moved)]
    assert moved[0] == 0
    assert gaps == sorted(gaps)
    assert gaps[0] == 2
    assert gaps[-1] == LONGEST_PAUSE
    assert taken.at(apart, [0] * LONGEST_PAUSE + [EVERY]) == [LONGEST_PAUSE], "it had helped for a while"


def test_the_one_it_may_use_is_the_one_it_stays_on() -> None:
    found: list[object] = []

    def pinned() -> None:
        one = {min(os.sched_getaffinity(0))}
        os.sched_setaffinity(0, one)  # of this thread
        times = count(0, EVERY)
        apart = Apart(lambda: next(times))
        for _ in range(10):
            apart.look()
        found.extend((apart.moves, os.sched_getaffinity(0) == one))

    thread = threading.Thread(target=pinned)
    thread.start()
    thread.join()
    assert found == [0, True]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor only")
def test_afterwards_it_may_run_everywhere_again() -> None:
    usual = os.sched_getaffinity(0)
    times = count(0, EVERY)
    apart = Apart(lambda: next(times))
    for _ in range(20):
        apart.look()
    assert apart.moves > 1
    assert os.sched_getaffinity(0) == usual


@pytest.mark.trio
async def test_the_lane_looks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = count()
    monkeypatch.setattr(lane, "Apart", type("Counted", (), {"look": lambda _: next(looks)}))
    async with kernel() as asked:
        for unique in range(2, 2 + 3 * EVERY):
            await asked.send(request(Op.GETATTR, 1, bytes(16), unique=unique))
            assert (await asked.hear(unique))[0] == 0
    assert next(looks) == 3
