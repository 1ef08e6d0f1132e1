"""The parts beside the handlers: group commit of fsync, counting lookups, waiting for room in the journal."""

from __future__ import annotations

import errno
import os
import random
import threading
import time

import pytest
import trio
import trio.testing

from vaultfs.fuse import syncer as syncers
from vaultfs.fuse.housekeeping import Housekeeping
from vaultfs.fuse.lookups import LookupCounts
from vaultfs.fuse.syncer import Syncer


class Disk:
    """Counts what was written and what of it is durable; `gate` holds up each run where it is set."""

    def __init__(self, *, heavy: bool) -> None:
        self.heavy = heavy
        self.written = 0
        self.durable = 0
        self.runs = 0
        self.fails = False
        self.started = threading.Semaphore(0)
        self.gate: threading.Semaphore | None = None

    def take(self) -> DiskTicket | None:
        return DiskTicket(self) if self.written > self.durable else None


class DiskTicket:
    """Covers what was written when it was made."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.heavy = disk.heavy
        self.covers = disk.written

    def run(self) -> None:
        self.disk.started.release()
        if self.disk.gate:
            self.disk.gate.acquire()
        self.disk.runs += 1
        if self.disk.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def run_apart(self) -> None:
        self.run()

    def done(self) -> None:
        self.disk.durable = max(self.disk.durable, self.covers)


async def write_and_sync(disk: Disk, syncer: Syncer) -> None:
    disk.written += 1
    mine = disk.written
    await syncer.sync()
    assert disk.durable >= mine


@pytest.mark.parametrize("heavy", [False, True], ids=["inline", "in the thread"])
def test_fsync_returns_only_when_its_own_writes_are_on_disk(heavy: bool) -> None:
    """Invariant 1, whatever order they come in."""
    chance = random.Random(5)

    async def one(disk: Disk, syncer: Syncer) -> None:
        for _ in range(30):
            await write_and_sync(disk, syncer)
            for _ in range(chance.randrange(3)):
                await trio.lowlevel.checkpoint()

    async def main() -> None:
        disk = Disk(heavy=heavy)
        syncer = Syncer(disk.take)
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(one, disk, syncer)
        syncer.close()

    trio.run(main)


def test_those_who_wait_share_the_next_run() -> None:
    async def main() -> None:
        disk = Disk(heavy=True)
        disk.gate = threading.Semaphore(0)
        syncer = Syncer(disk.take)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_and_sync, disk, syncer)
            await trio.to_thread.run_sync(disk.started.acquire)
            for _ in range(20):
                nursery.start_soon(write_and_sync, disk, syncer)
            await trio.testing.wait_all_tasks_blocked()
            disk.gate.release(2)
        assert disk.runs == 2
        syncer.close()

    trio.run(main)


def test_an_error_reaches_all_who_share_the_run_and_not_the_next() -> None:
    async def main() -> None:
        disk = Disk(heavy=True)
        disk.gate = threading.Semaphore(0)
        disk.fails = True
        syncer = Syncer(disk.take)
        failed = []

        async def expect_failure() -> None:
            disk.written += 1
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                await syncer.sync()
            failed.append(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_failure)
            await trio.to_thread.run_sync(disk.started.acquire)
            for _ in range(5):
                nursery.start_soon(expect_failure)
            await trio.testing.wait_all_tasks_blocked()
            disk.gate.release(2)
        assert len(failed) == 6
        disk.fails = False
        disk.gate = None
        await write_and_sync(disk, syncer)
        syncer.close()

    trio.run(main)


def test_an_fsync_is_expected_where_they_come_after_most_writes() -> None:
    syncer = Syncer(lambda: None)

    def expects() -> bool:
        syncer.afterwards = None
        syncer.wrote(print)
        return syncer.afterwards is print

    assert not any(expects() for _ in range(5)), "nobody ever asked"
    for _ in range(10):
        assert syncer.at_once()
        assert all(expects() for _ in range(2)), "a database writes a few pages each time"
    assert sum(expects() for _ in range(50)) <= 3, "what the kernel writes back by itself"
    assert syncer.at_once()
    assert expects(), "one that saves now and then"
    syncer.close()


def test_a_slow_disk_is_waited_for_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncers, "INLINE_NS", -1)
    threads = []

    async def main() -> None:
        disk = Disk(heavy=False)
        syncer = Syncer(disk.take)
        monkeypatch.setattr(DiskTicket, "run_apart", lambda _: threads.append(threading.current_thread()))
        await write_and_sync(disk, syncer)
        syncer.close()

    trio.run(main)
    assert threads[0] is not threading.main_thread()


def test_lookups_are_counted_for_small_and_huge_numbers() -> None:
    counts = LookupCounts()
    for ino in (1, 5000, (1 << 24) - 1, 1 << 24, 1 << 40):
        counts.add(ino)
        counts.add(ino)
        assert not counts.forget(ino, 1)
        counts.add(ino)
        assert counts.forget(ino, 2)
    assert counts.forget(77, 1)
    assert counts.forget(1 << 50, 1)


class Tree:
    """A journal that has room again when housekeeping was done."""

    def __init__(self) -> None:
        self.crowded = True
        self.work = [self]

    def tick(self) -> Tree | None:
        return self.work.pop() if self.work else None

    def run(self) -> None:
        assert threading.current_thread() is not threading.main_thread()

    def apply(self) -> None:
        self.crowded = False


def test_a_writer_waits_for_room_and_housekeeping_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaultfs.fuse.housekeeping.TICK_SECONDS", 30.0)

    async def main() -> None:
        tree = Tree()
        housekeeping = Housekeeping(tree)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(housekeeping.run)
            await trio.testing.wait_all_tasks_blocked()
            started = time.monotonic()
            await housekeeping.room()
            assert time.monotonic() - started < 25, "it waited for the next tick"
            assert not tree.crowded
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_writer_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 11: no wait without a bound."""
    monkeypatch.setattr("vaultfs.fuse.housekeeping.ROOM_SECONDS", 0.05)

    async def main() -> None:
        tree = Tree()
        tree.work = []
        await Housekeeping(tree).room()
        assert tree.crowded

    trio.run(main)
