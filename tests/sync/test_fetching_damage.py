"""What a remote serves is checked: wrong bytes are named, and only what they hit is lost."""

from __future__ import annotations

import pytest

from tests.sync.fetchers import BLOCK, known, rows
from tests.sync.vaults import KEYS, A, B, Machine, Made, Vault, make_head, make_pack, noise
from vaultfs.crypto.keys import VaultKeys
from vaultfs.errors import RemoteDamagedError, RemoteObjectMissingError
from vaultfs.format.index import build_index, joined, name_of, records_of
from vaultfs.format.pack import PackCodec
from vaultfs.sync.fetching import Fetcher

pytestmark = pytest.mark.trio


# What a remote may do.


def with_paths(here: Machine, pack: Made) -> Fetcher:
    names = {name: f"/dir/file-{number}" for number, name in enumerate(pack.ids)}
    return Fetcher(here.wary, here.catalog, here.places, here.cache, KEYS, path_of=lambda name: names.get(name, ""))


async def test_a_flipped_bit_is_named_and_only_what_it_hits_is_lost(vault: Vault, here: Machine, large: Made) -> None:
    await known(vault, here, large)
    fetcher = with_paths(here, large)
    vault.flip(large.name, large.entries[12].offset + 100)
    wanted = rows(here, large, range(10, 15))
    with pytest.raises(RemoteDamagedError) as caught:
        await fetcher.blocks(wanted)
    assert large.name in str(caught.value)
    assert "/dir/file-12" in str(caught.value)
    assert fetcher.alarms == len(here.told) > 0
    assert {name for name, _ in here.told} == {large.name}
    for number in (10, 11, 13, 14):
        await fetcher.blocks(rows(here, large, [number]))
        place = here.places.place_of_block(rows(here, large, [number])[0])
        assert place is not None
        assert here.cache.read(place) == large.contents[large.ids[number]]
    bad = here.places.place_of_block(rows(here, large, [12])[0])
    assert bad is not None
    assert here.cache.read(bad) is None


@pytest.mark.parametrize("how", ["truncated", "swapped", "other vault", "gone", "zeros"])
async def test_wrong_packs(vault: Vault, here: Machine, how: str) -> None:
    made = [make_pack(n, nodes=[noise((n, at), 20_000) for at in range(20)]) for n in (1, 2)]
    await known(vault, here, *made)
    name = made[0].name
    if how == "truncated":
        vault.objects[name] = made[0].data[: made[0].entries[3].offset + 10]
    elif how == "swapped":
        vault.objects[name] = made[1].data
    elif how == "other vault":
        keys = VaultKeys(KEYS.master(), bytes(16))
        vault.objects[name] = make_pack(1, nodes=list(made[0].contents.values()), keys=keys).data
    elif how == "gone":
        del vault.objects[name]
    else:
        vault.objects[name] = bytes(made[0].place.size)
    kind = RemoteObjectMissingError if how == "gone" else RemoteDamagedError
    with pytest.raises(kind, match=name):
        await here.fetcher.node(made[0].ids[5])
    assert (here.wary.alarms > 0) == (how != "gone")
    assert await here.fetcher.node(made[1].ids[5]) == made[1].contents[made[1].ids[5]]


async def test_a_wrong_answer_now_and_then_does_no_harm(vault: Vault, here: Machine, large: Made) -> None:
    await known(vault, here, large)
    vault.fake.faults.flipped_gets = vault.fake.faults.truncated_gets = 0.1
    good = 0
    for number in range(100):
        try:
            await here.fetcher.blocks(rows(here, large, [number]))
            good += 1
        except RemoteDamagedError:
            continue
        place = here.places.place_of_block(rows(here, large, [number])[0])
        assert place is not None
        assert here.cache.read(place) == large.contents[large.ids[number]]
    assert good > 80
    assert here.wary.alarms > 0


async def test_rightly_sealed_under_a_wrong_id(vault: Vault, here: Machine) -> None:
    """Somebody with the keys writes a footer that gives a node another's id."""
    made = make_pack(1, nodes=[b"one" * 100, b"two" * 100])
    one, two = made.entries
    codec = PackCodec(KEYS, made.place.id)
    lying = [one._replace(id=two.id), two._replace(id=one.id)]
    data = made.data[: made.place.footer] + codec.finish(made.place.footer, lying)
    await vault.backend.put(made.name, data)
    here.catalog.learn(make_head(A, 1, packs=[made]))
    with pytest.raises(RemoteDamagedError, match="not what its index says"):
        await here.fetcher.node(one.id)


@pytest.mark.parametrize("how", ["gone", "damaged"])
async def test_what_stands_elsewhere_too_is_taken_from_there(vault: Vault, here: Machine, how: str) -> None:
    """Two devices have published the same block: one copy is enough, and it is kept in mind."""
    same = noise("same", 50_000)
    one = make_pack(1, blocks=[same, *(noise(n, BLOCK) for n in range(6))])
    other = make_pack(2, blocks=[noise("before", 40_000), same, *(noise((2, n), BLOCK) for n in range(6))])
    await known(vault, here, one)
    await vault.put_pack(other)
    index = build_index(KEYS, joined([records_of(other.place, other.entries)]))
    await vault.backend.put(name_of(index.place.id), index.data)
    here.catalog.learn(make_head(B, 1, indexes=[index.place]))
    row = rows(here, one, [0])
    if how == "gone":
        del vault.objects[one.name]
    else:
        vault.flip(one.name, one.entries[0].offset + 9)
    await here.fetcher.blocks(row)
    place = here.places.place_of_block(row[0])
    assert place is not None
    assert here.places.pack_of(place.pack)[0] == other.place.id
    assert here.cache.read(place) == same
    assert (here.wary.alarms > 0) == (how == "damaged")


async def test_the_only_one_of_several_copies_that_is_left_is_found(vault: Vault, here: Machine) -> None:
    """`gc` has removed the others, one by one; older commits still name them."""
    same = noise("same", 50_000)
    packs = [make_pack(n, blocks=[same, *(noise((n, m), BLOCK) for m in range(6))]) for n in range(1, 5)]
    await known(vault, here, packs[0])
    indexes = [build_index(KEYS, joined([records_of(pack.place, pack.entries)])) for pack in packs[1:]]
    for pack, index in zip(packs[1:], indexes, strict=True):
        await vault.put_pack(pack)
        await vault.backend.put(name_of(index.place.id), index.data)
    here.catalog.learn(make_head(B, 1, indexes=[index.place for index in indexes]))
    for pack in packs[:-1]:
        del vault.objects[pack.name]
    row = rows(here, packs[0], [0])
    await here.fetcher.blocks(row)
    place = here.places.place_of_block(row[0])
    assert place is not None
    assert here.cache.read(place) == same


async def test_what_was_made_here_is_never_written_over_unchecked(vault: Vault, here: Machine, large: Made) -> None:
    await vault.put_pack(large)
    number = here.places.add_pack(large.place.id, 2)  # published, and complete here
    here.places.add_entries(number, list(enumerate(large.entries)))
    await here.fetcher.node(large.ids[105])
    entry = large.entries[105]
    assert here.cache._pieces.keys() == {(number, entry.offset)}
    assert here.cache.bytes == entry.length
