"""A checkout and what happens while it goes on."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.machines.test_two import DB, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.machines.computer import Computer
    from vaultfs.tree.arrivals import Batch

pytestmark = pytest.mark.trio


async def test_what_comes_during_a_checkout_comes_after_it(
    computer: Callable[[str], Computer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that was being put in place was taken for the newest, which then never came."""
    a, b = await joined(computer, {"x": b"0"})
    mount = b.engine.ports.mount
    present = mount.present_all

    async with trio.open_nursery() as nursery:

        async def slowly(batches: Sequence[Batch]) -> list[bool]:
            if await a.read("x") == b"1":
                await a.write("x", b"2")
                await a.sync()
                nursery.start_soon(b.engine.follow)
                with trio.move_on_after(0.5):  # it must wait, which nothing tells
                    while (base := b.tree.ledger.base) is not None and base.root == first[0]:  # noqa: ASYNC110
                        await trio.sleep(0.01)
            return await present(batches)

        monkeypatch.setattr(mount, "present_all", slowly)
        await a.write("x", b"1")
        await a.sync()
        await b.engine.follow()
        base = b.tree.ledger.base
        assert base is not None
        first = [base.root]
        await b.engine.check_out()
    await b.engine.check_out()
    assert await b.read("x") == b"2"


async def test_who_asks_for_a_checkout_waits_for_the_one_that_goes_on(
    computer: Callable[[str], Computer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sync` said that all was in place while it was not: an agent began with the state of before (seen in CI)."""
    a, b = await joined(computer, {"x": b"0"})
    mount = b.engine.ports.mount
    present, begun, go_on = mount.present_all, trio.Event(), trio.Event()

    async def later(batches: Sequence[Batch]) -> list[bool]:
        if begun.is_set():
            return [False] * len(batches)  # as the kernel's side does for what is under way already
        begun.set()
        await go_on.wait()
        return await present(batches)

    monkeypatch.setattr(mount, "present_all", later)
    await a.write("x", b"1")
    await a.sync()
    await b.engine.follow()
    seen: list[bytes] = []

    async def second() -> None:
        await b.engine.check_out()
        seen.append(await b.read("x"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(b.engine.check_out)
        await begun.wait()
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked(0.05)
        go_on.set()
    assert seen == [b"1"]


@pytest.mark.parametrize("fails", ["stage", "prepare", "caught_up"])
async def test_a_full_disk_leaves_nothing_staged(
    computer: Callable[[str], Computer], monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """What was staged, and the names that were about to change hands, stayed so until the next mount."""
    a, b = await joined(computer, {"x": b"0", "s.db": DB})
    await a.write("x", b"1")
    await a.write("s.db-wal", b"log")
    await a.write("s.db", DB + b"more")
    await a.sync()
    await b.engine.follow()
    arrivals = b.tree.arrivals
    real = getattr(arrivals, fails)
    calls = 0

    def full(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2 or fails == "caught_up":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(arrivals, fails, full)
        with pytest.raises(OSError, match="No space left"):
            await b.engine.check_out()
    assert arrivals.tokens() == []
    assert b.tree.state.all("SELECT ino FROM orphan") == []
    await b.engine.check_out()
    assert await b.listing() == await a.listing()
