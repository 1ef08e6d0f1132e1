"""Machines that are away in turn, while others make room on the remote: what they come back with is whole."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio

from tests.machines.computer import Computer
from tests.machines.test_garbage import GRACE, NOW, commits_whole, noise, whole
from tests.machines.test_two import settle
from tests.remote.memory import MemoryBackend
from vaultfs import clock as vaultfs_clock
from vaultfs.sync import catalog, garbage_memory, publish, thinning
from vaultfs.sync.garbage import DAY, Garbage

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.trio
MINUTE = 60 * 1_000_000_000
LATE_DAYS = 45  # instead of 90: so more goes


class Time:
    """The one clock of all machines, in ns; and old heads that go as soon as they may."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        patch.setattr(vaultfs_clock, "now", self)
        patch.setattr(vaultfs_clock, "since_boot", self)
        patch.setattr(publish, "_THINNED", 1)
        patch.setattr(thinning, "NEWEST", 1)
        patch.setattr(thinning, "LATE_DAYS", LATE_DAYS)
        patch.setattr(garbage_memory, "APART", (LATE_DAYS - 1) * DAY)
        patch.setattr(catalog, "DUE_PACKS", 5)

    def __call__(self) -> int:
        return self.now

    async def sync(self, one: Computer) -> None:
        """Look, publish, and see to it that nothing stays of old heads but what has to."""
        await one.sync()
        await one.engine.publish()
        count = -1
        while count != (count := len(await one.remote.list(f"heads/{one.engine.ports.identity.id.hex()}"))):
            await one.engine.publisher.thin(0)

    async def collect(self, one: Computer) -> int:
        """How many objects went."""
        return (await Garbage(one.engine).collect(GRACE)).removed


async def edit(rng: random.Random, one: Computer) -> None:
    """With what is here, and nothing else."""
    path = f"f{rng.randrange(4)}"
    try:
        if rng.random() < 0.3:
            await one.rename(path, f"f{rng.randrange(4)}")
        elif rng.random() < 0.3:
            await one.remove(path)
        else:
            await one.write(path, noise(rng.choice([100, 70_000, 200_000]), rng.randrange(6)))
    except OSError:
        await one.write(path, b"new")


async def history(base: Path, seed: int, patch: pytest.MonkeyPatch, days: int = 200) -> int:
    """Three machines, each away for less than the grace at a time; how many objects went."""
    rng, clock, backend = random.Random(seed), Time(patch), MemoryBackend()
    computers = [Computer(base, label, backend) for label in "abc"]
    for one in computers:
        await one.begin()
        await clock.sync(one)
    seen = dict.fromkeys("abc", clock.now)
    removed, end = 0, clock.now + days * DAY
    while clock.now < end:
        clock.now += rng.randrange(1, 9) * DAY
        there = [one for one in computers if clock.now - seen[one.label] >= 20 * DAY or rng.random() < 0.4]
        for _ in range(rng.randrange(1, 4)):
            clock.now += rng.choice([1, 3, 7, 30]) * MINUTE
            for one in rng.sample(computers, 3):
                for _ in range(rng.randrange(3)):
                    await edit(rng, one)
                if rng.random() < 0.1:
                    one.tree.cache.evict(0)
                if one not in there:
                    await one.commit()
                    continue
                await clock.sync(one)
                seen[one.label] = clock.now
                if rng.random() < 0.3:
                    removed += await clock.collect(one)
                    await commits_whole(backend)
    picture = await settle(*computers)
    kept = sorted(await computers[0].kept())
    await whole(backend)
    new = Computer(base, "new", backend)
    await new.begin()
    assert await new.listing() == picture
    assert sorted(await new.kept()) == kept
    for one in (*computers, new):
        one.close()
    return removed


async def test_what_is_passed_on_by_machines_that_go_away_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in every head for minutes only, and nobody looks then: `gc` finds it in the late heads."""
    clock, backend = Time(monkeypatch), MemoryBackend()
    a, b, c = computers = [Computer(tmp_path, label, backend) for label in "abc"]
    for one in (*computers, *computers):
        await one.begin()
        await clock.sync(one)
    await a.write("x0", noise(300_000))
    for one in computers:
        await clock.sync(one)
        await one.find("x0")  # nobody reads it
    await a.remove("x0")
    await clock.sync(a)
    clock.now += DAY
    await clock.collect(a)
    for turn, (back, leaving) in enumerate([(b, c), (c, b), (b, c)]):
        clock.now += 20 * DAY
        await back.rename(f"x{turn}", f"x{turn + 1}")
        await back.commit()
        await clock.sync(back)
        await clock.sync(leaving)
        await leaving.find(f"x{turn + 1}")
        for _ in range(3):  # in step: then it goes
            clock.now += MINUTE
            await clock.sync(back)
            await clock.sync(a)
        await back.remove(f"x{turn + 1}")
        await clock.sync(back)
        clock.now += DAY
        for one in (back, a):
            await clock.sync(one)
        await clock.collect(a)
        clock.now += 5 * DAY
        await clock.collect(a)
    await c.rename("x3", "x")
    await clock.sync(c)
    await whole(backend)
    assert await settle(*computers) == {"x": noise(300_000)}
    for one in computers:
        one.close()


@pytest.mark.parametrize("how", ["nameless", "local"])
async def test_what_only_an_open_file_or_one_of_this_machine_has_is_stored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The same content is written again after its pack went: the new file does not lean on that one."""
    clock, backend = Time(monkeypatch), MemoryBackend()
    a, b = computers = [Computer(tmp_path, label, backend) for label in "ab"]
    await a.begin()
    await a.write("x", noise(300_000))
    for one in (a, b, a):
        await one.begin()
        await clock.sync(one)
    if how == "nameless":
        await a.hold("x")
        await a.remove("x")
    else:
        await a.write(".vaultignore", b"x\n")
    for _ in range(3):
        clock.now += MINUTE
        for one in computers:
            await clock.sync(one)
    clock.now += 60 * DAY
    for one in computers:
        await clock.sync(one)
    await clock.collect(b)
    clock.now += 31 * DAY
    assert await clock.collect(b)
    await a.write("y", noise(300_000))
    await clock.sync(a)
    await whole(backend)
    await clock.sync(b)
    assert await b.read("y") == noise(300_000)
    for one in computers:
        one.close()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
async def test_machines_that_are_away_for_less_than_the_grace(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they write meanwhile, from whatever they had, is whole when they are back."""
    assert await history(tmp_path, seed, monkeypatch)


if __name__ == "__main__":
    import sys
    import tempfile
    from pathlib import Path as Directory

    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="vaultfs-away-") as directory:
            print(number, trio.run(history, Directory(directory), number, pytest.MonkeyPatch()), flush=True)  # noqa: T201
