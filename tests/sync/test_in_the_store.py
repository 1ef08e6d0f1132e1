"""The same over the ledger and the cache of a real store, and after a crash of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.store.conftest import stores
from tests.store.stores import KEYS, work_off
from tests.sync.vaults import A, B, C, Made, Vault, make_head, make_pack, name_of_head, noise
from vaultfs.errors import RemoteDamagedError
from vaultfs.format.index import build_index, name_of, records_of
from vaultfs.sync.catalog import Catalog
from vaultfs.sync.fetching import Fetcher
from vaultfs.sync.heads import Heads, Own
from vaultfs.sync.wary import Wary
from vaultfs.tree.housekeeping import SyncWork

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker
    from vaultfs.tree import Tree

__all__ = ["stores"]
pytestmark = pytest.mark.trio


class Here:
    """A machine with a store."""

    def __init__(self, vault: Vault, tree: Tree) -> None:
        self.tree = tree
        self.wary = Wary(vault.remote)
        self.catalog = Catalog(self.wary, KEYS, tree.ledger, tree.cache)
        self.fetcher = Fetcher(self.wary, self.catalog, tree.ledger, tree.cache, KEYS)
        self.heads = Heads(vault.remote, KEYS, tree.ledger, Own(C.id))

    def row(self, block: bytes, number: int) -> int:
        """A row for a block of which nothing is known but the id."""
        self.tree.state.run("INSERT INTO block VALUES(?,?,0,0,0,0,0,0)", number, block)
        return number


@pytest.fixture
def vault() -> Vault:
    return Vault(keys=KEYS)


@pytest.fixture
def made() -> Made:
    blocks = [noise(n, 40_000) for n in range(12)]
    return make_pack(1, blocks=blocks, nodes=[noise(("n", n), 2000) for n in range(5)], keys=KEYS)


async def test_blocks_and_nodes_land_in_the_cache(vault: Vault, made: Made, stores: StoreMaker) -> None:
    here = Here(vault, stores.new())
    await vault.put_pack(made)
    here.catalog.learn(make_head(A, 1, packs=[made]))
    rows = [here.row(name, 1000 + number) for number, name in enumerate(made.ids[:12])]
    before = vault.counted()
    await here.fetcher.blocks(rows[2:6])
    assert (vault.remote.requests - before).gets == 2
    for row in rows[2:6]:
        place = here.tree.ledger.place_of_block(row)
        assert place is not None
        assert here.tree.cache.read(place) == made.contents[place.entry.id]
    assert await here.fetcher.node(made.ids[14]) == made.contents[made.ids[14]]
    before = vault.counted()
    assert await here.fetcher.contents(made.ids[3:5]) == {name: made.contents[name] for name in made.ids[3:5]}
    await here.fetcher.blocks(rows[2:6])
    assert await here.fetcher.node(made.ids[14]) == made.contents[made.ids[14]]
    assert (vault.remote.requests - before).gets == 0
    far = here.tree.ledger.place_of_block(rows[11])
    assert far is not None
    assert here.tree.cache.read(far) is None, "a hole is not taken for a block"
    vault.flip(made.name, made.entries[9].offset + 50)
    with pytest.raises(RemoteDamagedError, match=made.name):
        await here.fetcher.blocks([rows[9]])


async def test_a_pack_that_came_whole_needs_nothing_more(vault: Vault, made: Made, stores: StoreMaker) -> None:
    here = Here(vault, stores.new())
    await vault.put_pack(made)
    here.catalog.learn(make_head(A, 1, packs=[made]))
    rows = [here.row(name, 1000 + number) for number, name in enumerate(made.ids[:12])]
    await here.fetcher.blocks(rows[2:4])
    number = here.tree.ledger.add_pack(made.place.id, 3)
    assert not here.tree.cache.holds(number, 0, made.place.size)
    await here.fetcher.whole(made.place)
    assert here.tree.cache.holds(number, 0, made.place.size)
    before = vault.counted()
    await here.fetcher.whole(made.place)
    await here.fetcher.blocks(rows)
    assert (vault.remote.requests - before).gets == 0
    for row in rows:
        place = here.tree.ledger.place_of_block(row)
        assert place is not None
        assert here.tree.cache.read(place) == made.contents[place.entry.id]


async def test_what_was_learnt_survives_with_the_store(vault: Vault, made: Made, stores: StoreMaker) -> None:
    tree = stores.new()
    here = Here(vault, tree)
    await vault.put_pack(made)
    head = make_head(A, 1, packs=[made])
    await vault.publish(A, head)
    assert await here.heads.poll() == [head]
    here.catalog.learn(head)
    await here.fetcher.node(made.ids[13])
    work_off(SyncWork(tree.keeper))
    here = Here(vault, stores.crash(tree))
    before = vault.counted()
    assert await here.heads.poll() == []
    assert here.heads.seen == [head]
    here.catalog.learn(head)
    assert await here.fetcher.node(made.ids[13]) == made.contents[made.ids[13]]
    cost = vault.remote.requests - before
    assert (cost.lists, cost.gets) == (1, 0)


async def test_alarms_survive_with_the_store(vault: Vault, stores: StoreMaker) -> None:
    tree = stores.new()
    here = Here(vault, tree)
    await vault.publish_number(A, 1)
    await here.heads.poll()
    del vault.objects[name_of_head(A, 1)]
    for _ in range(3):
        await here.heads.poll()
    work_off(SyncWork(tree.keeper))
    here = Here(vault, stores.crash(tree))
    assert [alarm.kind for alarm in here.heads.alarms] == ["rollback"]
    here.heads.accept(A.id)
    work_off(SyncWork(here.tree.keeper))
    again = Here(vault, stores.crash(here.tree))
    assert again.heads.alarms == []
    assert await again.heads.poll() == []


async def test_a_block_moves_to_where_it_is_whole(vault: Vault, stores: StoreMaker) -> None:
    here = Here(vault, stores.new())
    same = noise("same", 50_000)
    one = make_pack(1, blocks=[same, *(noise(n, 60_000) for n in range(6))], keys=KEYS)
    other = make_pack(2, blocks=[*(noise((2, n), 60_000) for n in range(6)), same], keys=KEYS)
    for pack in (one, other):
        await vault.put_pack(pack)
    index = build_index(KEYS, records_of(other.place, other.entries))
    await vault.backend.put(name_of(index.place.id), index.data)
    row = here.row(one.ids[0], 1000)
    here.catalog.learn(make_head(A, 1, packs=[one]))
    await here.catalog.find([one.ids[0]])
    here.catalog.learn(make_head(B, 1, indexes=[index.place]))
    del vault.objects[one.name]
    await here.fetcher.blocks([row])
    place = here.tree.ledger.place_of_block(row)
    assert place is not None
    assert here.tree.ledger.pack_of(place.pack).id == other.place.id
    assert here.tree.cache.read(place) == same
