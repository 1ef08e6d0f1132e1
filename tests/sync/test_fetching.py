"""Nodes and blocks come by range, shared, in time, and never wrong."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.sync.fetchers import BLOCK, known, rows
from tests.sync.vaults import KEYS, NODE_KEY, A, Machine, Made, Vault, device, make_head, make_pack, noise
from vaultfs.errors import RemoteDamagedError, RemoteObjectMissingError, RemoteUnavailableError
from vaultfs.format.index import build_index, joined, name_of, records_of
from vaultfs.format.node import NodeDamagedError
from vaultfs.format.pack import node_id
from vaultfs.remote.directory import DirectoryBackend
from vaultfs.sync.nodes import NodeCache, ThreadNodes
from vaultfs.tree.incoming import NotHereError

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

    from vaultfs.remote import Requests

pytestmark = pytest.mark.trio


async def cost(vault: Vault, work: object) -> Requests:
    before = vault.counted()
    await work  # type: ignore[misc]
    return vault.remote.requests - before


# What is asked for.


async def test_neighbours_come_in_one_range(vault: Vault, here: Machine, large: Made) -> None:
    await known(vault, here, large)
    spent = await cost(vault, here.fetcher.blocks(rows(here, large, range(10, 20))))
    assert spent.gets == 1
    assert spent.bytes_down == 10 * (BLOCK + 28)
    spent = await cost(vault, here.fetcher.blocks(rows(here, large, [30, 31, 60])))
    assert spent.gets == 2, "31 to 60 is too far"
    spent = await cost(vault, here.fetcher.blocks(rows(here, large, [70, 72])))
    assert spent.gets == 1, "one block between them"
    for number in (*range(10, 20), 30, 31, 60, 70, 72):
        place = here.places.place_of_block(rows(here, large, [number])[0])
        assert place is not None
        assert here.cache.read(place) == large.contents[large.ids[number]]
    assert (await cost(vault, here.fetcher.blocks(rows(here, large, range(10, 20))))).gets == 0, "they are here"


async def test_a_long_range_is_divided(vault: Vault, here: Machine, large: Made) -> None:
    await known(vault, here, large)
    spent = await cost(vault, here.fetcher.blocks(rows(here, large, range(100))))
    assert spent.gets == 2
    assert spent.bytes_down < 100 * (BLOCK + 28) + (1 << 20)


async def test_reading_in_order_reads_ahead(vault: Vault, here: Machine, large: Made) -> None:
    await known(vault, here, large)
    spent = vault.counted()
    for number in range(100):
        await here.fetcher.blocks(rows(here, large, [number]))
    assert (vault.remote.requests - spent).gets < 12
    other = vault.machine(device("d"))
    await known(vault, other, large)
    spent = vault.counted()
    for number in (50, 10, 80, 30, 99):
        await other.fetcher.blocks(rows(other, large, [number]))
    assert (vault.remote.requests - spent).bytes_down == 5 * (BLOCK + 28), "and in no order, it does not"


async def test_the_same_at_the_same_time_is_fetched_once(
    vault: Vault, here: Machine, large: Made, autojump_clock: MockClock
) -> None:
    await known(vault, here, large)
    vault.fake.faults.latency = 1
    before = vault.counted()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(here.fetcher.blocks, rows(here, large, [5, 6, 7]))
            nursery.start_soon(here.fetcher.node, large.ids[110])
    assert (vault.remote.requests - before).gets == 2
    assert trio.current_time() - began == pytest.approx(1)
    assert autojump_clock.autojump_threshold == 0


async def test_who_was_first_may_be_cancelled(
    vault: Vault, here: Machine, large: Made, autojump_clock: MockClock
) -> None:
    await known(vault, here, large)
    vault.fake.faults.latency = 1
    done = []

    async def other() -> None:
        await trio.sleep(0.1)
        await here.fetcher.blocks(rows(here, large, [5]))
        done.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with trio.move_on_after(0.5):
            await here.fetcher.blocks(rows(here, large, [5]))
    assert done == [pytest.approx(1.5)]
    assert autojump_clock.autojump_threshold == 0


async def test_footers_are_shared_too(vault: Vault, here: Machine, autojump_clock: MockClock) -> None:
    small = make_pack(1, nodes=[noise(n, 500) for n in range(10)])
    await vault.put_pack(small)
    here.catalog.learn(make_head(A, 1, packs=[small]))
    vault.fake.faults.latency = 1
    before = vault.counted()
    async with trio.open_nursery() as nursery:
        for name in small.ids:
            nursery.start_soon(here.fetcher.node, name)
        with trio.move_on_after(0.5):
            await here.fetcher.node(small.ids[0])
    assert (vault.remote.requests - before).gets <= 2, "a second one if the first that asked was the cancelled one"
    assert autojump_clock.autojump_threshold == 0


async def test_nodes_and_contents_by_id(vault: Vault, here: Machine, large: Made) -> None:
    await known(vault, here, large)
    spent = vault.counted()
    for name in large.ids[100:]:
        assert await here.fetcher.node(name) == large.contents[name]
    assert (vault.remote.requests - spent).gets <= 2, "nodes stand side by side"
    found = await here.fetcher.contents(large.ids[:3])
    assert found == {name: large.contents[name] for name in large.ids[:3]}


async def test_reading_everything_asks_an_index_once_for_a_pack(vault: Vault, here: Machine) -> None:
    """Not once for every block, even where the chunks of the index are not kept."""
    made = [make_pack(n, blocks=[noise((n, at), 9000) for at in range(60)]) for n in (1, 2, 3)]
    for pack in made:
        await vault.put_pack(pack)
    index = build_index(KEYS, joined([records_of(pack.place, pack.entries) for pack in made]))
    await vault.backend.put(name_of(index.place.id), index.data)
    here.catalog.learn(make_head(A, 1, indexes=[index.place]))
    before = vault.counted()
    for pack in made:
        for start in range(0, 60, 10):
            wanted = pack.ids[start : start + 10]
            assert await here.fetcher.contents(wanted) == {name: pack.contents[name] for name in wanted}
            here.catalog._objects._chunks.clear()
    assert (vault.remote.requests - before).gets <= 1 + 3 * (1 + 1 + 6)


async def test_a_block_whose_place_nobody_knows(vault: Vault, here: Machine, large: Made) -> None:
    await vault.put_pack(large)
    index = build_index(KEYS, records_of(large.place, large.entries))
    await vault.backend.put(name_of(index.place.id), index.data)
    here.catalog.learn(make_head(A, 1, indexes=[index.place]))
    spent = await cost(vault, here.fetcher.fetch(NotHereError(blocks=tuple(rows(here, large, [3])))))
    assert spent.gets == 2, "the index, and the block"
    with pytest.raises(RemoteObjectMissingError, match="with 00000000"):
        await here.fetcher.node(bytes(32))


async def test_in_time_or_not_at_all(vault: Vault, here: Machine, large: Made, autojump_clock: MockClock) -> None:
    await known(vault, here, large)
    here.fetcher.limit = 20
    vault.fake.faults.hangs = True
    began = trio.current_time()
    with pytest.raises(RemoteUnavailableError, match="20 seconds"):
        await here.fetcher.blocks(rows(here, large, [1]))
    assert trio.current_time() - began == pytest.approx(20)
    vault.fake.faults.hangs, vault.fake.faults.reachable = False, False
    with pytest.raises(RemoteUnavailableError, match="no route to host"):
        await here.fetcher.node(large.ids[105])
    vault.fake.faults.reachable = True
    assert await here.fetcher.node(large.ids[105]) == large.contents[large.ids[105]], "and nothing is left behind"
    assert autojump_clock.autojump_threshold == 0
    assert vault.fake.faults.latency < math.inf


# Worker threads.


async def test_nodes_for_a_thread(vault: Vault, here: Machine, large: Made) -> None:
    await known(vault, here, large)
    cache = NodeCache(limit=20_000)
    nodes = ThreadNodes(cache, here.fetcher.node, NODE_KEY)
    wanted = large.ids[100:]

    def work() -> list[bytes]:
        mine = nodes.put(b"new" * 50)
        assert nodes.get(mine) == b"new" * 50
        return [nodes.get(name) for name in (*wanted, *wanted[-3:])]

    before = vault.counted()
    got = await trio.to_thread.run_sync(work)
    assert got == [large.contents[name] for name in (*wanted, *wanted[-3:])]
    assert cache.bytes <= 20_000
    assert nodes.new == {node_id(NODE_KEY, b"new" * 50): b"new" * 50}
    assert (vault.remote.requests - before).gets <= 2
    other = ThreadNodes(cache, here.fetcher.node, NODE_KEY)
    before = vault.counted()
    assert await trio.to_thread.run_sync(other.get, wanted[-1]) == large.contents[wanted[-1]]
    assert vault.remote.requests == before


async def test_nodes_of_a_source_that_lies(here: Machine) -> None:
    async def wrong(_name: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return b"something else"

    nodes = ThreadNodes(NodeCache(), wrong, NODE_KEY)
    with pytest.raises(NodeDamagedError):
        await trio.to_thread.run_sync(nodes.get, bytes(32))
    missing = ThreadNodes(NodeCache(), here.fetcher.node, NODE_KEY)
    with pytest.raises(RemoteObjectMissingError):
        await trio.to_thread.run_sync(missing.get, bytes(32))


async def test_many_threads_share_a_cache(vault: Vault, here: Machine, large: Made) -> None:
    await known(vault, here, large)
    cache = NodeCache(limit=10_000)

    def work(start: int) -> bool:
        nodes = ThreadNodes(cache, here.fetcher.node, NODE_KEY)
        names = large.ids[100 + start :] + large.ids[100 : 100 + start]
        return all(nodes.get(name) == large.contents[name] for name in names)

    async with trio.open_nursery() as nursery:
        for start in range(8):
            nursery.start_soon(partial(trio.to_thread.run_sync, work, start))
    assert 0 < cache.bytes <= 10_000


async def test_over_a_real_directory(tmp_path: Path, large: Made) -> None:
    vault = Vault(DirectoryBackend(tmp_path))
    here = vault.machine()
    await known(vault, here, large)
    await here.fetcher.blocks(rows(here, large, range(5)))
    path = tmp_path / large.name
    data = bytearray(path.read_bytes())
    data[large.entries[50].offset + 20] ^= 8
    path.write_bytes(data)
    with pytest.raises(RemoteDamagedError, match=large.name):
        await here.fetcher.blocks(rows(here, large, [50]))
    path.write_bytes(data[: large.entries[60].offset])
    with pytest.raises(RemoteDamagedError, match=large.name):
        await here.fetcher.node(large.ids[101])
    path.unlink()
    with pytest.raises(RemoteObjectMissingError, match=large.name):
        await here.fetcher.node(large.ids[102])
