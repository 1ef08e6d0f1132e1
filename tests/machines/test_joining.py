"""Who joins a vault that grew over many commits sees it with few requests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio

from tests.machines.computer import FILE, Computer
from vaultfs.sync.upper import LEAST_BYTES, SHARE, UPPER_BYTES, upper

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.trio

DIRECTORIES, COMMITS = 400, 20


async def grown(a: Computer, *, size: int) -> None:
    """A directory of many, a few more with each commit; then a handoff."""
    await a.begin()
    await a.mkdir("vault")
    for number in range(DIRECTORIES):
        await a.mkdir(f"vault/dir{number}")
        directory = await a.find(f"vault/dir{number}")
        for name in range(3):
            node = a.tree.names.make(directory, b"file%d" % name, FILE, 1000, 1000)
            a.tree.content.write(node.ino, 0, os.urandom(size))
        if number % (DIRECTORIES // COMMITS) == 0:
            await a.sync()
    await a.sync()
    await handed_off(a)


async def handed_off(a: Computer) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.engine.run)
        await a.engine.begun.wait()
        await a.engine.handoff(60)
        nursery.cancel_scope.cancel()


async def test_the_upper_part_comes_with_one_request(computer: Callable[[str], Computer]) -> None:
    a, b = computer("a"), computer("b")
    await grown(a, size=2000)
    await b.begin()
    before = b.remote.requests.gets
    data = await b.read("vault/dir3/file2")
    assert data == await a.read("vault/dir3/file2")
    assert b.remote.requests.gets - before <= 6
    assert await b.listing() == await a.listing()


async def test_it_costs_little_beside_what_is_new(computer: Callable[[str], Computer]) -> None:
    a = computer("a")
    await grown(a, size=2000)
    spent = []
    for _ in range(2):
        for _ in range(6):
            await a.write("small", os.urandom(50))
            await a.sync()
        before = a.remote.requests.bytes_up
        await handed_off(a)  # an index of six packs
        spent.append(a.remote.requests.bytes_up - before)
    assert spent[0] < UPPER_BYTES / SHARE + (8 << 10), "what came last time counts as new, once"
    assert spent[1] < LEAST_BYTES


async def test_it_begins_at_the_top_and_keeps_to_its_limit(computer: Callable[[str], Computer]) -> None:
    a = computer("a")
    await grown(a, size=10)
    nodes = a.engine.commits.nodes()
    base = a.engine.commits.base()
    assert base is not None
    few = await trio.to_thread.run_sync(upper, nodes, base.root, 5000)
    more = await trio.to_thread.run_sync(upper, nodes, base.root, UPPER_BYTES)
    assert base.root in few
    assert sum(map(len, few.values())) <= 5000
    assert list(more)[: len(few)] == list(few)
    assert len(few) < len(more) > DIRECTORIES / 4
    assert sum(map(len, more.values())) <= UPPER_BYTES
