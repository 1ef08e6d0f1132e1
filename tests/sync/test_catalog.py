"""The catalog finds what heads, footers and indexes say, with few requests; and believes none of them unproved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3

from tests.sync.vaults import KEYS, A, B, Machine, Made, Vault, changed, device, make_head, make_pack, noise
from vaultfs.crypto.keys import VaultKeys
from vaultfs.errors import RemoteDamagedError, RemoteObjectMissingError, RemoteUnavailableError
from vaultfs.format.head import PackPlace
from vaultfs.format.index import build_index, joined, name_of, records_of
from vaultfs.format.pack import PackCodec
from vaultfs.remote import Limits, Remote
from vaultfs.remote.directory import DirectoryBackend
from vaultfs.sync import catalog as catalogs

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.format.head import IndexPlace

pytestmark = pytest.mark.trio


def packs(count: int, first: int = 1) -> list[Made]:
    return [
        make_pack(n, blocks=[noise((n, "b"), 900)], nodes=[noise((n, "n"), 400)]) for n in range(first, first + count)
    ]


async def put(vault: Vault, made: list[Made]) -> list[Made]:
    for pack in made:
        await vault.put_pack(pack)
    return made


async def put_index(vault: Vault, made: list[Made]) -> IndexPlace:
    index = build_index(KEYS, joined([records_of(pack.place, pack.entries) for pack in made]))
    await vault.backend.put(name_of(index.place.id), index.data)
    return index.place


async def test_a_small_pack_comes_whole_and_only_once(vault: Vault, here: Machine) -> None:
    made = await put(vault, packs(3))
    here.catalog.learn(make_head(A, 3, packs=made))
    before = vault.counted()
    found = await here.catalog.find(made[2].ids)
    assert found.keys() == set(made[2].ids)
    assert (vault.remote.requests - before).gets == 1, "the newest first: what changed last is in there"
    assert all(here.cache.read(place) == made[2].contents[name] for name, place in found.items())
    await here.catalog.find(made[2].ids)
    assert (vault.remote.requests - before).gets == 1
    await here.catalog.find([*made[0].ids, *made[1].ids])
    assert (vault.remote.requests - before).gets == 3
    assert here.places.place_of_node(made[0].ids[1]) is not None, "the ledger knows it from now on"


async def test_of_a_large_pack_only_the_footer(vault: Vault, here: Machine) -> None:
    made = await put(vault, [make_pack(1, blocks=[noise(n, 60_000) for n in range(6)])])
    here.catalog.learn(make_head(A, 1, packs=made))
    before = vault.counted()
    assert len(await here.catalog.find(made[0].ids)) == 6
    cost = vault.remote.requests - before
    assert (cost.gets, cost.bytes_down) == (1, made[0].place.footer_length)


async def test_what_is_nowhere(vault: Vault, here: Machine) -> None:
    made = await put(vault, packs(2))
    here.catalog.learn(make_head(A, 1, packs=made))
    assert await here.catalog.find([bytes(32)]) == {}


async def test_an_index_answers_with_a_front_and_a_chunk(vault: Vault, here: Machine) -> None:
    """A hundred packs and 60,000 entries: three requests to a block nobody knows anything of, two to the next."""
    large = [make_pack(n, blocks=[noise((n, at), 70_000 // 2) for at in range(8)]) for n in range(1, 3)]
    other = make_pack(99, blocks=[b"?"])
    entries = [other.entries[0]._replace(id=blake3(b"%d" % n).digest()) for n in range(60_000)]
    await put(vault, large)
    sources = [records_of(pack.place, pack.entries) for pack in large]
    index = build_index(KEYS, joined([*sources, records_of(other.place, entries)]))
    await vault.backend.put(name_of(index.place.id), index.data)
    here.catalog.learn(make_head(A, 1, indexes=[index.place]))
    before = vault.counted()
    found = await here.catalog.find([large[0].ids[3]])
    assert found[large[0].ids[3]].entry == large[0].entries[3]
    cost = vault.remote.requests - before
    assert cost.gets == 2
    assert cost.bytes_down < 80_000
    before = vault.counted()
    assert await here.catalog.find([large[1].ids[0]]) != {}
    assert (vault.remote.requests - before).gets <= 1


async def test_many_ids_of_one_pack_cost_its_footer_not_an_index(vault: Vault, here: Machine) -> None:
    made = await put(vault, [make_pack(n, blocks=[noise((n, at), 9000) for at in range(40)]) for n in (1, 2)])
    here.catalog.learn(make_head(A, 1, indexes=[await put_index(vault, made)]))
    before = vault.counted()
    assert len(await here.catalog.find(made[0].ids)) == 40
    assert (vault.remote.requests - before).gets == 2


async def test_after_a_restart_nothing_is_asked_twice_for_what_the_ledger_knows(vault: Vault, here: Machine) -> None:
    made = await put(vault, packs(5))
    head = make_head(A, 5, packs=made)
    here.catalog.learn(head)
    await here.catalog.find(made[0].ids)
    here.start()
    here.catalog.learn(head)
    before = vault.counted()
    new = (await put(vault, packs(1, first=9)))[0]
    here.catalog.learn(make_head(A, 6, packs=[*made, new]))
    assert len(await here.catalog.find(new.ids)) == 2
    assert (vault.remote.requests - before).gets == 1
    assert await here.catalog.find([bytes(32)]) == {}
    assert (vault.remote.requests - before).gets == 6, "only what is nowhere else is looked for there again"


# Making indexes.


async def test_indexes_stay_few(vault: Vault, here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogs, "DUE_PACKS", 4)
    everything: dict[bytes, bytes] = {}
    written = 0
    rounds = 40
    for number in range(1, rounds * 5 + 1):
        pack = make_pack(number, nodes=[noise((number, at), 100) for at in range(20)])
        await vault.put_pack(pack)
        here.catalog.add(pack.place, pack.entries)
        everything |= pack.contents
        if here.catalog.due():
            before = vault.counted()
            assert await here.catalog.make_index() is not None
            cost = vault.remote.requests - before
            written += cost.bytes_up
            assert cost.puts == 1
            assert here.catalog.unindexed == ()
    assert len(here.catalog.indexes) <= math.log2(rounds) + 1
    assert written < 54 * 20 * 5 * rounds * math.log2(rounds) * 2
    new = vault.machine(device("d"))
    new.catalog.learn(make_head(A, 1, packs=[], indexes=here.catalog.indexes))
    assert (await new.catalog.find(everything)).keys() == everything.keys()


async def test_what_an_index_covers_is_not_named_by_heads(vault: Vault, here: Machine) -> None:
    made = await put(vault, packs(6))
    here.catalog.learn(make_head(A, 1, packs=made[:4]))
    small = await put_index(vault, made[:3])
    here.catalog.learn(make_head(B, 1, packs=[made[5]], indexes=[small]))
    assert {pack.id for pack in here.catalog.unindexed} == {pack.place.id for pack in (*made[:4], made[5])}
    await here.catalog.settle()
    assert {pack.id for pack in here.catalog.unindexed} == {made[3].place.id, made[5].place.id}
    large = await put_index(vault, made[:5])
    here.catalog.learn(make_head(B, 2, packs=[made[5]], indexes=[large]))
    before = vault.counted()
    await here.catalog.settle()
    assert here.catalog.indexes == (large,), "the one that the other covers is dropped"
    assert [pack.id for pack in here.catalog.unindexed] == [made[5].place.id]
    assert (vault.remote.requests - before).gets == 1
    await here.catalog.settle()
    assert (vault.remote.requests - before).gets == 1


async def test_two_machines_that_index_the_same_write_the_same_object(vault: Vault) -> None:
    made = await put(vault, packs(5))
    places = []
    for letter in "de":
        machine = vault.machine(device(letter))
        machine.catalog.learn(make_head(A, 1, packs=made))
        places.append(await machine.catalog.make_index())
    assert places[0] == places[1]
    assert len([name for name in vault.objects if name.startswith("index/")]) == 1


async def test_an_index_leaves_out_what_cannot_be_read(vault: Vault, here: Machine) -> None:
    made = await put(vault, packs(4))
    here.catalog.learn(make_head(A, 1, packs=made))
    del vault.objects[made[1].name]
    vault.flip(made[2].name, made[2].place.footer + 40)
    assert await here.catalog.make_index() is not None
    assert [pack.id for pack in here.catalog.unindexed] == [made[1].place.id, made[2].place.id]
    assert await vault.machine().catalog.make_index() is None, "nothing to index"


# What a remote may do to it.


async def wrong_footer(vault: Vault, made: list[Made], how: str) -> None:
    name, right = made[0].name, made[0].data
    if how == "flipped":
        vault.flip(name, made[0].place.footer + 30)
    elif how == "truncated":
        vault.objects[name] = right[: len(right) // 2]
    elif how == "swapped":
        vault.objects[name] = made[1].data
    elif how == "other vault":
        keys = VaultKeys(KEYS.master(), bytes(16))
        vault.objects[name] = make_pack(1, blocks=list(made[0].contents.values()), keys=keys).data
    else:
        vault.objects[name] = b""


@pytest.mark.parametrize("how", ["flipped", "truncated", "swapped", "other vault", "empty"])
@pytest.mark.parametrize("large", [False, True], ids=["small pack", "large pack"])
async def test_wrong_footers(vault: Vault, here: Machine, how: str, *, large: bool) -> None:
    size = 60_000 if large else 600
    made = await put(vault, [make_pack(n, blocks=[noise((n, at), size) for at in range(6)]) for n in (1, 2)])
    await wrong_footer(vault, made, how)
    here.catalog.learn(make_head(A, 1, packs=made[:1]))
    before = vault.counted()
    with pytest.raises(RemoteDamagedError) as caught:
        await here.catalog.find(made[0].ids)
    assert made[0].name in str(caught.value)
    assert caught.value.exit_code == 79
    assert here.wary.alarms == 2
    assert (vault.remote.requests - before).gets == 2, "once more, past caches"
    assert here.told[0][0] == made[0].name
    assert here.places.nodes == {}
    assert here.places.blocks == {}


@pytest.mark.parametrize(
    "change",
    [
        {"offset": -1},
        {"offset": 1 << 40},
        {"length": 1 << 40},
        {"size": 1 << 40},
        {"size": 1},
        {"kind": 9},
        {"codec": 3},
        {"id": b"x"},
    ],
    ids=str,
)
async def test_a_footer_by_somebody_with_the_keys_who_is_up_to_no_good(
    vault: Vault, here: Machine, change: dict[str, int]
) -> None:
    made = make_pack(1, nodes=[b"n" * 300])
    codec = PackCodec(KEYS, made.place.id)
    data = made.data[: made.place.footer] + codec.finish(made.place.footer, [made.entries[0]._replace(**change)])
    length = int.from_bytes(data[-12:-8], "little")
    await vault.backend.put(made.name, data)
    place = PackPlace(made.place.id, len(data), made.place.footer, length)
    here.catalog.learn(changed(make_head(A, 1), packs=(place,)))
    with pytest.raises(RemoteDamagedError, match=made.name):
        await here.catalog.find(made.ids)
    assert await here.catalog.make_index() is None
    here.catalog.learn(changed(make_head(A, 2), packs=(place._replace(id=KEYS.object_id(), size=1 << 50),)))
    assert await here.catalog.make_index() is None


@pytest.mark.parametrize("at", [2, 5, 10, 25, 40, 200, -100], ids=str)
@pytest.mark.parametrize("large", [False, True], ids=["small index", "large index"])
async def test_wrong_indexes(vault: Vault, here: Machine, at: int, *, large: bool) -> None:
    made = await put(vault, packs(4))
    extra = [made[0].entries[0]._replace(id=blake3(b"%d" % n).digest()) for n in range(6000 if large else 3)]
    sources = [records_of(pack.place, pack.entries) for pack in made[1:]]
    index = build_index(KEYS, joined([*sources, records_of(made[0].place, [*made[0].entries, *extra])]))
    name = name_of(index.place.id)
    used = index.data.rstrip(b"\0")
    vault.objects[name] = index.data
    vault.flip(name, at if at > 0 else len(used) + at)
    here.catalog.learn(make_head(A, 1, indexes=[index.place]))
    wanted = [line.id for pack in made for line in pack.entries] + [line.id for line in extra[-50:]]
    try:
        found = await here.catalog.find(wanted)
    except RemoteDamagedError as error:
        assert name in str(error)  # noqa: PT017 - which of them stands in the way depends on the bit
    else:
        assert large, "the bit is in a chunk that was not needed"
        assert found.keys() == set(wanted)
    vault.objects[name] = index.data[: index.place.front // 2]
    here.start()
    here.catalog.learn(make_head(A, 1, indexes=[index.place]))
    with pytest.raises(RemoteDamagedError, match=name):
        await here.catalog.find(wanted)


async def test_a_version_that_the_host_made_up_stops_nothing(vault: Vault, here: Machine) -> None:
    """The version stands before what is sealed: it is believed no more than any other byte."""
    made = await put(vault, packs(2))
    index = await put_index(vault, made)
    vault.flip(name_of(index.id), 5)
    here.catalog.learn(make_head(A, 1, indexes=[index]))
    here.catalog.learn(make_head(B, 1, packs=made))
    await here.catalog.settle()
    wanted = [name for pack in made for name in pack.ids]
    assert (await here.catalog.find(wanted)).keys() == set(wanted)
    assert [name for name, _ in here.told][:2] == [name_of(index.id)] * 2


async def test_another_way_round_a_damaged_object(vault: Vault, here: Machine) -> None:
    """The index is damaged, but a head of another device still names the pack: found all the same."""
    made = await put(vault, packs(2))
    index = await put_index(vault, made)
    vault.flip(name_of(index.id), 60)
    here.catalog.learn(make_head(A, 2, indexes=[index]))
    here.catalog.learn(make_head(B, 1, packs=made))
    assert len(await here.catalog.find([*made[0].ids, *made[1].ids])) == 4


async def test_a_wrong_answer_on_the_way_is_asked_for_again(vault: Vault, here: Machine) -> None:
    made = await put(vault, packs(1))
    here.catalog.learn(make_head(A, 1, packs=made))
    get = vault.fake.get
    asked: list[tuple[int, int | None]] = []

    async def gets(name: str, offset: int, length: int | None) -> bytes:
        data = await get(name, offset, length)
        asked.append((offset, length))
        return data if len(asked) > 1 else bytes(len(data))

    vault.fake.get = gets  # type: ignore[method-assign]
    assert len(await here.catalog.find(made[0].ids)) == 2
    assert here.wary.alarms == 1
    assert asked[0] != asked[1], "not the same range: what sits in between may keep answers"


async def test_a_missing_object_is_told_as_such(here: Machine) -> None:
    here.catalog.learn(make_head(A, 1, packs=packs(1)))
    with pytest.raises(RemoteObjectMissingError, match="packs/00"):
        await here.catalog.find([bytes(32)])


async def test_an_unreachable_remote_is_told_at_once(vault: Vault, here: Machine) -> None:
    vault.remote = Remote(vault.backend, Limits(call=0.05))
    here.start()
    here.catalog.learn(make_head(A, 1, packs=packs(20)))
    vault.fake.faults.reachable = False
    with pytest.raises(RemoteUnavailableError):
        await here.catalog.find([bytes(32)], besides=frozenset())
    assert here.wary.alarms == 0


async def test_over_a_real_directory(tmp_path: Path) -> None:
    vault = Vault(DirectoryBackend(tmp_path))
    here = vault.machine()
    made = await put(vault, packs(5))
    here.catalog.learn(make_head(A, 1, packs=made))
    place = await here.catalog.make_index()
    assert place is not None
    new = vault.machine(device("d"))
    new.catalog.learn(make_head(A, 2, indexes=[place]))
    assert len(await new.catalog.find(made[3].ids)) == 2
    path = tmp_path / name_of(place.id)
    path.write_bytes(path.read_bytes()[:-200])
    other = vault.machine(device("e"))
    other.catalog.learn(make_head(A, 2, indexes=[place]))
    with pytest.raises(RemoteDamagedError, match=path.name):
        await other.catalog.find(made[3].ids)
