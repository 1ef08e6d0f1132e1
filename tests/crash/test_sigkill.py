"""Invariant 1: what fsync or close acknowledged survives `kill -9` of the daemon, at whatever moment."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.crash.rounds import KillRounds, machine
from vaultfs import clock

if TYPE_CHECKING:
    from pathlib import Path

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


def written_at_once(directory: Path) -> int:
    """A file that was made and written to within one tick, open."""
    for number in range(1000):
        before = clock.tick()
        fd = os.open(directory / f"made-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        os.write(fd, b"x" * 500)
        if clock.tick() == before:
            return fd
        os.close(fd)
    raise AssertionError("nothing is done within a tick here")


def test_who_closes_a_file_of_a_dead_mount_is_told() -> None:
    """Even one whose times are those that it was made with."""
    with machine() as home:
        home.mount()
        fd = written_at_once(home.mountpoint)
        home.kill()
        with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
            os.close(fd)
        home.mount()
        assert sum(path.stat().st_size == 0 for path in home.mountpoint.glob("made-*")) == 1
