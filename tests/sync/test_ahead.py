"""What others have just published is here before anybody asks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.sync.fetchers import BLOCK
from tests.sync.vaults import A, Machine, Made, Vault, make_head, make_pack, noise
from vaultfs.sync.ahead import Ahead
from vaultfs.sync.fetching import PIECE

if TYPE_CHECKING:
    from vaultfs.format.head import PackPlace

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("autojump_clock")]


def pack(seed: int) -> Made:
    return make_pack(seed, blocks=[noise((seed, n), BLOCK) for n in range(40)])


async def fetched_ahead(here: Machine, *made: Made, limit: int) -> None:
    """Learn of the packs and let `Ahead` do what it does."""
    ahead = Ahead(here.fetcher, limit)
    ahead.want(here.catalog.learn(make_head(A, 1, packs=made)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ahead.run)
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.cancel_scope.cancel()


async def test_it_comes_in_pieces_and_reads_cost_nothing(vault: Vault, here: Machine) -> None:
    made = pack(1)
    await vault.put_pack(made)
    await fetched_ahead(here, made, limit=10 << 20)
    assert vault.counted().gets == -(-made.place.size // PIECE)
    await here.catalog.find(made.ids)
    before = vault.counted()
    rows = [here.places.add_block(name) for name in made.ids]
    await here.fetcher.blocks(rows)
    # A block across two pieces is whole in a file; this cache, in memory, asks for it again.
    assert (vault.remote.requests - before).gets < made.place.size / PIECE
    for row, name in zip(rows, made.ids, strict=True):
        place = here.places.place_of_block(row)
        assert place is not None
        assert here.cache.read(place) == made.contents[name]


async def test_too_much_is_left_to_who_reads_it(vault: Vault, here: Machine) -> None:
    made = pack(1)
    await vault.put_pack(made)
    await fetched_ahead(here, made, limit=made.place.size - 1)
    assert vault.counted().gets == 0


async def test_known_packs_do_not_come_again(here: Machine) -> None:
    first, second = pack(1), pack(2)
    assert here.catalog.learn(make_head(A, 1, packs=[first])) == [first.place]
    assert here.catalog.learn(make_head(A, 2, packs=[first, second])) == [second.place]


async def test_what_is_missing_is_left_to_who_needs_it(vault: Vault, here: Machine) -> None:
    """The loop goes on, with the next pack."""
    gone, there = pack(1), pack(2)
    await vault.put_pack(there)
    ahead = Ahead(here.fetcher, 10 << 20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ahead.run)
        for made in (gone, there):
            ahead.want([made.place])
            await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.cancel_scope.cancel()
    number = here.places.add_pack(there.place.id, 3)
    assert here.cache.holds(number, 0, PIECE)
    assert not here.cache.holds(here.places.add_pack(gone.place.id, 3), 0, PIECE)


async def test_who_reads_meanwhile_waits_for_the_piece(vault: Vault, here: Machine) -> None:
    made = pack(1)
    await vault.put_pack(made)
    here.catalog.learn(make_head(A, 1, packs=[made]))
    await here.catalog.find(made.ids)
    before = vault.counted()
    row = here.places.add_block(made.ids[0])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.fetcher.whole, made.place)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(partial(here.fetcher.blocks, [row]))
    assert (vault.remote.requests - before).gets == -(-made.place.size // PIECE)


async def test_a_fault_with_one_pack_ends_nothing() -> None:
    """As where a full disk has taken the database back, and with it what is known of the pack."""
    asked: list[bytes] = []

    class Faulty:
        async def whole(self, place: PackPlace) -> None:
            asked.append(place.id)
            if len(asked) == 1:
                raise KeyError(place.id)

    first, second = pack(1).place, pack(2).place
    ahead = Ahead(Faulty(), 10 << 20)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ahead.run)
        ahead.want([first])
        await trio.testing.wait_all_tasks_blocked(0.05)
        ahead.want([second])
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.cancel_scope.cancel()
    assert asked == [first.id, second.id]
