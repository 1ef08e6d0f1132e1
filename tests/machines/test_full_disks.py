"""Disks that fill up at any write: this machine's, or the one that the remote is on.

Each is a small file system of its own with a file in it that leaves just so much room. What was acknowledged is there
afterwards, here and on another machine; nothing fails in any other way than that there is no room; and everything goes
on when there is some again.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import trio

from tests.machines.computer import Computer
from tests.remote.memory import MemoryBackend
from tests.support.quick_stores import quick_stores
from tests.support.virtual_time import run_virtually
from vaultfs.errors import RemoteFullError, StoreFullError
from vaultfs.remote.directory import DirectoryBackend
from vaultfs.tree import state
from vaultfs.tree.housekeeping import SyncWork

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vaultfs.remote import Backend

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")]

PAGE = 4096
STEPS = 60
HISTORIES = 20
AT_ONCE = 5


class Disk:
    """A small disk. `room` bytes are left by a file that takes the rest."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._filler = place / "filler"

    def leave(self, room: int) -> None:
        self.clear()
        found = os.statvfs(self.place)
        taken = found.f_bavail * found.f_bsize - room
        with self._filler.open("xb", buffering=0) as file, contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(taken, PAGE))

    def clear(self) -> None:
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", place], check=True)
    yield Disk(place)
    gc.collect()  # files that a machine had open when it was killed
    subprocess.run(["umount", "--lazy", place], check=True)  # a history that failed may still hold files open


class Owner:
    """Works on machine `a`, whose disk or whose remote's disk is full now and then, and remembers what it was told."""

    def __init__(self, a: Computer, disk: Disk, rng: random.Random) -> None:
        self.a, self.disk, self.rng = a, disk, rng
        self.here: dict[str, bytes] = {}  # what was acknowledged
        self.unsure: set[str] = set()  # what failed in the middle may be the old, the new, or a part of it
        self.refused: list[str] = []
        self.said: list[str] = []

    async def write(self) -> None:
        path = self.rng.choice(["p", "q", "d/r", "d/s", "s.db"])
        data = self.rng.randbytes(self.rng.choice([10, 3000, 70_000, 300_000]))
        self.unsure.add(path)
        await self.a.write(path, data)
        self.unsure.discard(path)
        self.here[path] = data

    async def remove(self) -> None:
        path = self.rng.choice(sorted(self.here) or ["none"])
        with contextlib.suppress(FileNotFoundError):
            await self.a.remove(path)  # room can always be made
            self.here.pop(path)

    async def seal(self) -> None:
        keeper = self.a.tree.keeper
        while await self.a._do(lambda: keeper.seal(everything=True)):
            pass

    async def checkpoint(self) -> None:
        keeper = self.a.tree.keeper
        await self.a._do(lambda: SyncWork(keeper))

    async def collect(self) -> None:
        await self.a._do(self.a.tree.keeper.collect)

    async def sync(self) -> None:
        await self.a.sync()

    async def fill(self) -> None:
        self.disk.leave(PAGE * self.rng.randrange(80))

    async def clear(self) -> None:
        self.disk.clear()

    async def restart(self) -> None:
        """The machine is killed and starts again on a disk that may be full. It may not be able to."""
        self.a.abandon()
        try:
            self.a._open()
        except StoreFullError:
            self.refused.append("start")
            self.disk.clear()
            self.a._open()
        with trio.move_on_after(60):  # it is tried again and again
            await self.a.begin()
            return
        self.refused.append("begin")
        self.disk.clear()
        await self.a.begin()

    async def live(self) -> None:
        doings = [
            *[self.write] * 8, self.remove, self.seal, *[self.checkpoint] * 2, self.collect, *[self.sync] * 4,
            *[self.fill] * 3, self.clear, self.restart,
        ]  # fmt: skip
        await self.a.begin()
        await self.a.mkdir("d")
        for _ in range(STEPS):
            doing = self.rng.choice(doings)
            self.said.append(doing.__name__)
            try:
                await doing()
            except (RemoteFullError, StoreFullError) as problem:
                self.refused.append(type(problem).__name__)
            except OSError as problem:
                if problem.errno != errno.ENOSPC:
                    raise
                self.refused.append(doing.__name__)

    async def check(self) -> None:
        """All that was acknowledged is there."""
        for path, data in self.here.items():
            if path not in self.unsure:
                assert await self.a.read(path) == data, path


async def history(disk: Disk, base: Path, free: Path, backend: Backend, seed: int) -> list[str]:
    """What was refused."""
    owner = Owner(Computer(base, "a", backend), disk, random.Random(seed))
    try:
        await owner.live()
        await owner.check()
        disk.clear()
        await owner.write()
        await owner.a.sync()
        await owner.check()
        assert owner.a.tree.health == []
        assert not owner.a.tree.ledger.outbox()
        await owner.restart()
        await owner.check()
        b = Computer(free, "b", backend)
        await b.begin()
        assert await b.listing() == await owner.a.listing()
        for one in (owner.a, b):
            one.close()
    except BaseException as error:
        owner.a.abandon()
        error.add_note(f"seed {seed}: {'; '.join(owner.said)}")
        raise
    return owner.refused


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Else nothing would ever be tried when room is low, and no write would meet the end of it.
    monkeypatch.setattr(state, "LOW_SPACE", 0)
    with quick_stores(segment_bytes=1 << 20):
        yield


def some(disk: Disk, tmp_path: Path, block: int, *, remote: bool) -> set[str]:
    """What was refused in some histories."""
    refused: set[str] = set()
    for seed in range(block * AT_ONCE, block * AT_ONCE + AT_ONCE):
        full, free = disk.place / str(seed), tmp_path / f"free-{seed}"
        for place in (full, free):
            place.mkdir()
        backend = DirectoryBackend(full) if remote else MemoryBackend()
        machine = free if remote else full
        refused.update(run_virtually(history, disk, machine, free, backend, seed, seed=seed))
        disk.clear()
        shutil.rmtree(full)
    return refused


@pytest.mark.parametrize("block", range(HISTORIES // AT_ONCE))
def test_this_machines_disk(disk: Disk, tmp_path: Path, block: int) -> None:
    refused = some(disk, tmp_path, block, remote=False)
    assert {"write", "checkpoint", "sync"} <= refused


@pytest.mark.parametrize("block", range(HISTORIES // AT_ONCE))
def test_the_remotes_disk(disk: Disk, tmp_path: Path, block: int) -> None:
    assert some(disk, tmp_path, block, remote=True) == {"RemoteFullError"}
