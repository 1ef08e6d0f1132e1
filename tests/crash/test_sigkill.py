"""Invariant 1: what fsync or close acknowledged survives `kill -9` of the daemon, at whatever moment."""

from __future__ import annotations

import time

import pytest

from tests.crash.rounds import KillRounds, machine

pytestmark = [pytest.mark.fuse, pytest.mark.slow]
AT_MOST_SECONDS = 130


@pytest.mark.timeout(400)
def test_invariant_1_nothing_acknowledged_is_lost_by_sigkill(request: pytest.FixtureRequest, seed: int) -> None:
    """As many rounds as asked for, or as fit in two minutes on a slow machine (but ten at least)."""
    wanted = request.config.getoption("--kills")
    start = time.monotonic()
    wrong: list[str] = []
    with machine() as home:
        rounds = KillRounds(home, seed)
        while rounds.kills < wanted and not wrong:
            if rounds.kills >= 10 and time.monotonic() - start > AT_MOST_SECONDS:
                break
            wrong = rounds.round()
        home.abandon()
    assert not wrong, "\n".join(wrong)
    assert rounds.acknowledged > 100 * rounds.number, "the load did too little to prove anything"
