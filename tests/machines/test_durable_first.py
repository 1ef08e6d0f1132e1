"""A head leaves its machine only when the machine's own disk says that its number was used for it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.machines.computer import Computer
from tests.remote.memory import MemoryBackend
from tests.support.virtual_time import run_virtually
from vaultfs.format.head import parse_name
from vaultfs.sync.outbox import Outbox
from vaultfs.sync.rebirth import be_another

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from vaultfs.tree.housekeeping import Work

HOUR = 3600.0
FIRST, SECOND = 0, 1  # the parts of a checkpoint: the database's transaction; the disk


class Slow(Computer):
    """A machine whose disk can be held up in a checkpoint that has a new commit in it."""

    part = -1  # which is held up
    above = 0  # commits up to that number are not new
    done = 0  # checkpoints

    def hold(self, part: int) -> None:
        """The next checkpoint of a new commit waits before this part of it."""
        self.part, self.above, self.held, self.go = part, self.newest(), trio.Event(), trio.Event()

    def newest(self) -> int:
        """The number of the newest commit that was made here."""
        return self.tree.state.counter - 1

    async def _do(self, decide: Callable[[], Work | None]) -> bool:
        async with self._working:
            work = decide()
            found, part, before = work is not None, 0, self.tree.keeper.committed
            while work is not None:
                outbox = self.tree.ledger.outbox()
                if part == self.part and outbox and outbox[-1].number > self.above:
                    self.part = -1
                    self.held.set()
                    await self.go.wait()
                await trio.to_thread.run_sync(work.run)
                work = work.apply()
                part += 1
            self.done += self.tree.keeper.committed - before
        return found

    def heads(self) -> dict[int, bytes]:
        """Its heads on the remote."""
        assert isinstance(self.backend, MemoryBackend)
        objects = self.backend.objects or {}
        own = f"heads/{self.identity.id.hex()}/"
        return {parse_name(name)[1]: data for name, data in objects.items() if name.startswith(own)}


async def two(base: Path) -> tuple[Slow, Computer]:
    """Two machines that have the same."""
    backend = MemoryBackend()
    a, b = Slow(base, "a", backend), Computer(base, "b", backend)
    await a.begin()
    await a.write("f", b"as it was")
    await a.sync()
    await b.begin()
    await b.read("f")
    await b.sync()
    await a.sync()
    return a, b


def virtually(test: Callable[[Path], Awaitable[None]], base: Path) -> None:
    async def soon() -> None:
        with trio.fail_after(HOUR):
            await test(base)

    run_virtually(soon, seed=1)


async def commit(a: Slow, _b: Computer) -> None:
    await a.write("f", b"a's")
    await a.commit()


async def restate(a: Slow, _b: Computer) -> None:
    await a.engine.commits.restate()


async def merge(a: Slow, b: Computer) -> None:
    await b.write("g", b"b's")
    await b.sync()
    await a.write("f", b"a's")
    a.above += 1
    await a.commit()
    await a.engine.publisher.publish()
    await a.engine.follow()


async def decide(a: Slow, b: Computer) -> None:
    above, a.above = a.above, 1 << 60
    await b.write("f", b"b's")
    await a.write("f", b"a's")
    await b.sync()
    await a.sync()
    (kept,) = await a.engine.decisions.list()
    a.above = above + 2
    await a.engine.decisions.drop(kept)


async def rebirth(a: Slow, _b: Computer) -> None:
    await a.write("f", b"a's")
    a.above += 1  # a commit of the old device, which is in the new one's
    await be_another(a.engine.ports, a.engine.commits, a.newest())


# What a merge or a decision takes over is in no outbox before the first part has ended.
@pytest.mark.parametrize(
    ("make", "part"),
    [
        *((make, part) for make in (commit, restate, rebirth) for part in (FIRST, SECOND)),
        (merge, SECOND),
        (decide, SECOND),
    ],
)
def test_it_waits_for_the_disk(make: Callable[[Slow, Computer], Awaitable[None]], part: int, tmp_path: Path) -> None:
    async def test(base: Path) -> None:
        a, b = await two(base)
        a.hold(part)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(make, a, b)
            await a.held.wait()
            before = set(a.backend.objects)
            done = a.done
            nursery.start_soon(a.engine.publisher.publish)
            await wait_all_tasks_blocked()
            assert set(a.backend.objects) == before
            a.go.set()
        assert set(a.backend.objects) > before
        assert not a.tree.ledger.outbox()
        assert a.done - done == 1, "the publisher had no checkpoint of its own made"
        a.close()
        b.close()

    virtually(test, tmp_path)


def test_what_is_on_disk_goes_out_meanwhile(tmp_path: Path) -> None:
    async def test(base: Path) -> None:
        a, b = await two(base)
        await a.write("f", b"first")
        await a.commit()
        first = a.newest()
        await a.write("f", b"second")
        a.hold(FIRST)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.commit)
            await a.held.wait()
            await a.publish()
            assert max(a.heads()) == first
            a.go.set()
        await a.publish()
        assert max(a.heads()) == first + 1
        a.close()
        b.close()

    virtually(test, tmp_path)


def test_a_number_that_the_disk_did_not_take_is_used_again(tmp_path: Path) -> None:
    """And nobody has seen it before: the other machine has what this one has."""

    async def test(base: Path) -> None:
        a, b = await two(base)
        await a.write("f", b"first version")
        state, real = a.tree.state, a.tree.state.commit

        def full() -> None:
            state.commit = real  # type: ignore[method-assign]
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        async def refused() -> None:
            with pytest.raises(OSError, match="No space"):
                await a.commit()

        a.hold(FIRST)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused)
            await a.held.wait()
            number = a.newest()
            nursery.start_soon(a.publish)
            await wait_all_tasks_blocked()
            state.commit = full  # type: ignore[method-assign]
            a.go.set()
        await b.follow()
        await a.write("f", b"second version")
        await a.sync()
        assert max(a.heads()) == number
        await b.sync()
        assert await b.read("f") == await a.read("f") == b"second version"
        a.close()
        b.close()

    virtually(test, tmp_path)


@pytest.mark.parametrize("broken", [False, True])
def test_the_publisher_sees_to_it_where_nobody_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    async def refuse(_: Outbox, _change: object = None) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def test(base: Path) -> None:
        a, b = await two(base)
        with monkeypatch.context() as patch:
            patch.setattr(Outbox, "checkpoint", refuse)
            with pytest.raises(OSError, match="Input/output"):
                await a.engine.commits.restate()
        heads, done = a.heads(), a.done
        if broken:
            a.tree.state.failed = errno.EIO
            with pytest.raises(OSError, match="Input/output"):
                await a.publish()
            assert a.heads() == heads
        else:
            await a.publish()
            assert max(a.heads()) > max(heads)
            assert a.done == done + 1
        a.crash()
        assert a.tree.state.counter == max(a.heads()) + 1
        a.close()
        b.close()

    virtually(test, tmp_path)
