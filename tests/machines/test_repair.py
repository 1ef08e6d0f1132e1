"""What the remote lost comes back from whoever has it, and what nobody has is told by its path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.test_garbage import forget_history, noise, packs, whole
from tests.machines.test_two import settle
from vaultfs.sync import catalog
from vaultfs.sync.repair import Repair, Repaired

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines.computer import Computer
    from tests.remote.memory import MemoryBackend

pytestmark = pytest.mark.trio


async def repair(computer: Computer, *, dry_run: bool = False, read_data: bool = False) -> Repaired:
    return await Repair(computer.engine).run(dry_run=dry_run, read_data=read_data)


async def pair(computer: Callable[[str], Computer]) -> tuple[Computer, Computer, dict[str, bytes | None]]:
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.mkdir("d")
    await a.write("d/x", noise(400_000))
    await a.sync()
    await b.begin()
    await b.write("y", noise(100_000, 1))
    await b.sync()
    return a, b, await settle(a, b)


def objects(backend: MemoryBackend) -> dict[str, bytes]:
    assert backend.objects is not None
    return backend.objects


async def test_where_all_is_well_nothing_is_done(computer: Callable[[str], Computer], backend: MemoryBackend) -> None:
    a, _, _ = await pair(computer)
    before = dict(objects(backend))
    found = await repair(a, read_data=True)
    assert (found.lost, found.stored, found.copied, found.gone, found.paths) == ([], 0, 0, 0, [])
    assert found.bytes_read > 300_000
    assert objects(backend) == before


@pytest.mark.parametrize("how", ["gone", "short", "flipped"])
async def test_a_pack_of_ours_is_stored_again(
    computer: Callable[[str], Computer], backend: MemoryBackend, how: str
) -> None:
    a, b, picture = await pair(computer)
    there = objects(backend)
    name = max(packs(backend), key=lambda one: len(there[one]))
    right = there[name]
    if how == "gone":
        del there[name]
    else:
        there[name] = right[:-5] if how == "short" else right[:50_000] + bytes([right[50_000] ^ 1]) + right[50_001:]
    planned = await repair(a, dry_run=True, read_data=True)
    assert planned.stored == 1
    assert [lost.object for lost in planned.lost] == [name]
    assert there.get(name) != right
    assert await repair(a, read_data=True) == Repaired(**{**as_dict(planned), "dry_run": False})
    assert there[name] == right
    await whole(backend)
    assert await settle(a, b) == picture


def as_dict(found: Repaired) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__struct_fields__}


async def test_another_machine_has_it_in_its_cache(computer: Callable[[str], Computer], backend: MemoryBackend) -> None:
    """b has only what it read: that goes into a new pack."""
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.write("x", noise(400_000))
    await a.write("z", noise(400_000, 1))
    await a.sync()
    await a.remove("z")
    await a.sync()
    await forget_history(a)
    await b.begin()
    picture = await settle(a, b)
    there = objects(backend)
    name = max(packs(backend), key=lambda one: len(there[one]))
    del there[name]
    a.tree.cache.evict(0)
    found = await repair(b)
    assert found.stored == 0
    assert found.copied >= 7
    assert found.gone == 0
    await whole(backend)
    b.tree.cache.evict(0)
    assert await settle(a, b) == picture
    c = computer("c")
    await c.begin()
    assert await settle(a, b, c) == picture
    assert (await repair(c)).lost == []


async def test_what_nobody_has_is_told(computer: Callable[[str], Computer], backend: MemoryBackend) -> None:
    a, b, _ = await pair(computer)
    there = objects(backend)
    before = set(there)
    await a.write("d/x", noise(400_000, 2))
    await a.sync()
    await a.publish()
    await b.sync()
    older = {f"{name[6:14]}:{int(name[-16:])}" for name in before if name.startswith("heads/")}
    (new,) = {name for name in packs(backend) - before if len(there[name]) > 300_000}
    # Its nodes are still known here, its blocks are not.
    c = computer("c")
    await c.begin()
    await c.find("d/x")
    del there[new]
    for one in (a, b):
        one.tree.cache.evict(0)
    found = await repair(c)
    assert found.gone == 7
    (lost,) = [path for path in found.paths if path.path == b"d/x"][:1]
    assert not lost.directory
    assert lost.whole_in in older
    assert lost.commit not in older
    assert not [path for path in found.paths if path.path == b"y"]


STRANGE = {
    "packs/zz/hello": b"what is this",
    "packs/hello": b"",
    "packs/aa/" + "aa" * 14 + "0100": b"short",
    "packs/ab/" + "ab" * 14 + "0100": b"",
    "packs/ac/" + "ad" * 14 + "0100": bytes(900),
    "packs/ae/" + "ae" * 14 + "0100": bytes(24) + b"VFSP" + (1 << 20).to_bytes(4, "little") + bytes([255] * 8),
    "packs/af/" + "af" * 14 + "0100": bytes(30) + b"VFSP" + (1 << 20).to_bytes(4, "little") + bytes([255] * 8),
}


async def test_what_anybody_may_put_among_the_packs_does_not_stop_it(
    computer: Callable[[str], Computer], backend: MemoryBackend
) -> None:
    a, b, picture = await pair(computer)
    there = objects(backend)
    there |= STRANGE
    name = max(packs(backend) - STRANGE.keys(), key=lambda one: len(there[one]))
    right = there.pop(name)
    found = await repair(a)
    assert found.stored == 1
    assert [lost.object for lost in found.lost] == [name]
    assert there[name] == right
    assert {name: there[name] for name in STRANGE} == STRANGE, "it is not ours to remove"
    assert await settle(a, b) == picture


async def test_a_lost_index_and_a_lost_head(
    computer: Callable[[str], Computer], backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "DUE_PACKS", 4)
    a = computer("a")
    await a.begin()
    for number in range(8):
        await a.write(f"f{number}", noise(70_000, number))
        await a.commit()
        await a.engine.publish()
    picture = await a.listing()
    there = objects(backend)
    indexes = [name for name in there if name.startswith("index/")]
    assert indexes
    for name in indexes:
        del there[name]
    a.crash()
    a.engine.recall()
    found = await repair(a)
    assert {lost.object for lost in found.lost} & set(indexes), "the newest may be in no head yet"
    assert found.gone == 0
    await whole(backend)
    b = computer("b")
    await b.begin()
    assert await b.listing() == picture
    # All heads go: a's next one says everything.
    for name in [name for name in there if name.startswith("heads/")]:
        del there[name]
    found = await repair(a)
    assert [lost.object for lost in found.lost if lost.object.startswith("heads/")]
    assert found.gone == 0
    await whole(backend)
    c = computer("c")
    await c.begin()
    assert await c.listing() == picture


async def test_everything_is_lost_but_one_machine_has_it(
    computer: Callable[[str], Computer], backend: MemoryBackend
) -> None:
    a, _, picture = await pair(computer)
    await a.listing()
    objects(backend).clear()
    found = await repair(a)
    assert found.gone == 0
    await whole(backend)
    c = computer("c")
    await c.begin()
    assert await c.listing() == picture
