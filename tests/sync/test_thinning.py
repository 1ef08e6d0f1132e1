"""Old heads are thinned out, and never the newest."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vaultfs.sync.thinning import LATE_DAYS, NEWEST, RECENT, Kept, surplus

SECOND = 1_000_000_000
DAY = 86_400 * SECOND


def test_a_month_of_work_leaves_few() -> None:
    heads = [Kept(number, number * 5 * SECOND) for number in range(1, 30 * 86_400 // 5, 7)]
    now = heads[-1].stored
    gone = set(surplus(heads, now, 30))
    left = [head for head in heads if head.number not in gone]
    assert NEWEST + 144 + 28 <= len(left) <= NEWEST + 146 + 31
    assert left[-NEWEST:] == heads[-NEWEST:]
    assert max(b.stored - a.stored for a, b in pairwise(left)) <= 2 * DAY


def test_what_is_older_than_the_retention_goes() -> None:
    heads = [Kept(number, number * DAY) for number in range(1, 101)]
    assert surplus(heads, 100 * DAY, 60) == list(range(1, 40))


@given(st.lists(st.integers(0, 1 << 60), max_size=200), st.integers(1, 100))
def test_the_newest_stay(moments: list[int], days: int) -> None:
    heads = [Kept(number, moment) for number, moment in enumerate(sorted(moments), 1)]
    gone = surplus(heads, max(moments, default=0), days)
    assert not set(gone) & {number for number, _, _ in heads[-NEWEST:]}
    left = [head for head in heads if head.number not in set(gone)]
    assert surplus(left, max(moments, default=0), days) == []


def test_what_others_may_have_taken_in_just_now_stays() -> None:
    heads = [Kept(number, number * SECOND) for number in range(1, 2000)]
    now = heads[-1].stored
    gone = surplus(heads, now, 30)
    assert max(gone) == 2000 - RECENT // SECOND - 3, "it was replaced just before that"


def test_late_heads_stay() -> None:
    heads = [Kept(number, number * SECOND, late=number == 7) for number in range(1, 200)]
    assert 7 not in surplus(heads, 80 * DAY, 30)
    assert 6 in surplus(heads, 80 * DAY, 30)
    assert 7 in surplus(heads, (LATE_DAYS + 1) * DAY, 30)
