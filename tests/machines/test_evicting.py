"""The cache of a machine at work: what was published makes room, and only once a crash cannot take that back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sync.vaults import noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines.computer import Computer

pytestmark = pytest.mark.trio

LIMIT = 200_000
DATA = noise("f", 600_000)


def room(machine: Computer) -> int:
    """Bytes that the packs take on disk."""
    return sum(path.stat().st_blocks * 512 for path in machine.tree.blocks.directory.glob("*/*"))


async def prepared(computer: Callable[[str], Computer]) -> Computer:
    """A machine that was just started and has a commit to publish that is larger than its cache."""
    a = computer("a")
    await a.begin()
    await a.sync()
    a.crash()
    await a.begin()
    a.engine.ports.cache_limit = a.tree.cache.limit = LIMIT
    await a.write("f", DATA)
    await a.commit()
    return a


async def test_killed_before_it_is_known_on_disk_that_it_was_published(computer: Callable[[str], Computer]) -> None:
    a = await prepared(computer)
    await a.engine.publisher.publish()
    a.tree.cache.evict(0)
    a.crash()
    await a.begin()
    assert await a.read("f") == DATA
    await a.sync()
    assert a.tree.ledger.outbox() == []


async def test_published_and_evicted_and_killed(computer: Callable[[str], Computer]) -> None:
    a = await prepared(computer)
    await a.publish()
    assert room(a) <= LIMIT, "at once"
    a.crash()
    assert a.tree.ledger.outbox() == []
    await a.begin()
    assert await a.read("f") == DATA


async def test_a_machine_that_keeps_running_keeps_to_its_limit(computer: Callable[[str], Computer]) -> None:
    """Also with what it published since it looked at its cache for the first time."""
    a = computer("a")
    await a.begin()
    await a.sync()
    a.engine.ports.cache_limit = a.tree.cache.limit = LIMIT
    assert a.tree.cache.bytes <= LIMIT
    for number in range(6):
        await a.write("f", noise(number, 150_000))  # the same file again and again: all but the last is dead
        await a.sync()
        assert room(a) <= LIMIT
        assert a.tree.cache.bytes == room(a)
    assert await a.read("f") == noise(5, 150_000)


async def test_a_waiting_pack_that_is_gone_keeps_nobody_from_beginning(computer: Callable[[str], Computer]) -> None:
    """As a crash right behind an eviction left it, before evictions waited for the disk; the remote has it all."""
    a = computer("a")
    await a.begin()
    await a.sync()
    await a.write("f", DATA)
    await a.commit()
    image = a.image()
    await a.publish()
    a.restore(image)
    for commit in a.tree.ledger.outbox():
        for pack in commit.packs:
            name = a.tree.ledger.pack_of(pack).id.hex()
            (a.tree.blocks.directory / name[:2] / name).unlink()
    await a.begin()
    await a.sync()
    assert a.tree.ledger.outbox() == []
    assert await a.read("f") == DATA
    await a.write("g", b"more")
    await a.sync()
    b = computer("b")
    await b.begin()
    assert await b.listing() == {"f": DATA, "g": b"more"}
