"""Random histories of three machines: they end with one tree, and nothing that anybody wrote is lost.

Each lasts for weeks, on a clock that jumps (tests/support/virtual_time.py). A history is its number: more of them by
`.venv/bin/python -m tests.machines.test_histories 2000 9000`, one again by its number.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
import trio

from tests.machines.computer import Computer
from tests.machines.person import GRACE, HOUR, Person, difference
from tests.support.quick_stores import quick_stores
from tests.support.virtual_time import run_virtually
from vaultfs.errors import RollbackError
from vaultfs.sync import publish, thinning
from vaultfs.sync.garbage import Garbage

HISTORIES = 500  # and as many more in test_histories_thinned.py: whole files go to one worker
AT_ONCE = 50  # histories in one test


async def one_history(base: Path, seed: int) -> int:
    """How many objects went from the remote."""
    person = Person(base, random.Random(seed))
    try:
        await person.live()
        picture = await person.settle()
        await _whole(person, picture)
        if seed % 8 < 2:
            await _make_room(person)
            assert difference(picture, await person.settle()) == {}
            await _whole(person, picture)
            new = Computer(base, "new", person.backend)
            person.computers.append(new)
            await new.begin()
            assert difference(picture, await new.listing()) == {}
            await _whole(person, picture)
        for computer in person.computers:
            computer.close()
            assert not computer.tree.health
    except BaseException as error:
        error.add_note(f"seed {seed}: " + "; ".join(person.said))
        raise
    return person.removed


async def _whole(person: Person, picture: dict[str, bytes | None]) -> None:
    """Whatever somebody wrote and did not replace themselves is in place, or a conflict; on the newest machine, too."""
    there = {*picture.values(), *await person.computers[-1].kept()}
    assert person.alive <= there, f"lost: {[data[:20] for data in person.alive - there]}"


async def _make_room(person: Person) -> None:
    """All that nobody needs goes from the remote."""
    collecting = person.rng.choice(person.computers)
    for _ in range(3):
        try:
            found = await Garbage(collecting.engine).collect(GRACE)
        except RollbackError:  # half a head, of a machine that went on as another one: a person has to say so
            await person.accept(collecting)
            found = await Garbage(collecting.engine).collect(GRACE)
        person.removed += found.removed
        await trio.sleep(16 * 24 * HOUR)
        for computer in person.computers:
            await person.come_back(computer)


def live_through(seed: int) -> int:
    memory = Path("/dev/shm")  # what a disk makes of it is tested elsewhere
    base = Path(tempfile.mkdtemp(prefix="vaultfs-histories-", dir=memory if os.access(memory, os.W_OK) else None))
    with quick_stores(segment_bytes=1 << 20), pytest.MonkeyPatch.context() as patch:
        if seed % 2:  # old heads go as soon as they may (test_histories_thinned.py)
            patch.setattr(publish, "_THINNED", 1)
            patch.setattr(thinning, "NEWEST", 1)
        try:
            return int(run_virtually(one_history, base, seed, seed=seed))
        finally:
            shutil.rmtree(base, ignore_errors=True)


def some(block: int, seed: int | None, odd: int) -> None:
    first = (seed or 0) // 2 * 2 + block * AT_ONCE * 2 + odd
    removed = sum(live_through(number) for number in range(first, first + AT_ONCE * 2, 2))
    assert removed, "room was made in none of them"


@pytest.mark.parametrize("block", range(HISTORIES // AT_ONCE))
def test_random_histories(block: int, pytestconfig: pytest.Config) -> None:
    some(block, pytestconfig.getoption("--seed"), 0)


if __name__ == "__main__":
    import sys

    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        print(number, live_through(number), flush=True)  # noqa: T201
