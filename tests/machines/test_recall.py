"""What a store remembers of the remote, for verbs that look at it once and without the mount."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nacl.signing import SigningKey

from tests.machines.computer import KEYS, QUICK, Computer
from tests.machines.test_repair import objects, pair
from vaultfs.crypto.device import DeviceIdentity
from vaultfs.errors import RemoteDamagedError, StoreDamagedError
from vaultfs.format.head import head_name, open_head, seal_head
from vaultfs.remote import Entry, Remote
from vaultfs.sync.archive import Archive
from vaultfs.sync.recalling import doubts
from vaultfs.sync.trust import MemorySeen
from vaultfs.tree.remembered import remembered

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.remote.memory import MemoryBackend
    from vaultfs.format.head import Head

pytestmark = pytest.mark.trio

Both = tuple[Computer, Computer]


@pytest.fixture
async def both(computer: Callable[[str], Computer]) -> Both:
    a, b, _ = await pair(computer)
    return a, b


async def memory(of: Computer) -> MemorySeen:
    """What is in the store of a machine whose mount goes on."""
    await of.engine.commits.checkpoint()
    found = remembered(of.store, KEYS, of.identity.id)
    seen = MemorySeen()
    seen.rows.update(found.seen)
    seen.facts.update(found.facts)
    return seen


async def look(backend: MemoryBackend, own: Computer, seen: MemorySeen | None = None) -> tuple[Archive, list[str]]:
    archive = Archive(Remote(backend, QUICK), KEYS, seen=seen)
    await archive.look()
    return archive, [alarm.kind for alarm in await doubts(archive, own.identity.id)]


def newest(of: Computer) -> Head:
    """The newest head that a machine has published."""
    return of.engine.heads.trust.heads[of.identity.id]


# The store.


async def test_it_is_read_while_a_mount_has_it_open(both: Both) -> None:
    a, b = both
    before = await memory(b)
    assert before.rows[a.identity.id][0] == newest(a).number
    assert dict(before.rows) == dict(b.tree.ledger.seen())
    await a.write("new", b"1")
    await a.sync()
    assert newest(a) in await b.engine.heads.poll()
    assert remembered(b.store, KEYS, b.identity.id).seen == before.rows, "as of the latest checkpoint"
    assert (await memory(b)).rows[a.identity.id][0] == newest(a).number


async def test_reading_changes_nothing_in_a_store_that_crashed(both: Both) -> None:
    _, b = both
    expected = (await memory(b)).rows
    image = b.image()
    before = {path: path.read_bytes() for path in image.rglob("*") if path.is_file() and path.suffix != ".db-shm"}
    assert any(path.name == "meta.db-wal" and data for path, data in before.items())
    assert remembered(image, KEYS, b.identity.id).seen == expected
    assert {path: path.read_bytes() for path in before} == before
    b.restore(image)
    assert b.tree.ledger.seen() == expected


async def test_a_store_that_cannot_be_read(both: Both) -> None:
    _, b = both
    with pytest.raises(StoreDamagedError):
        remembered(b.store / "nowhere", KEYS, b.identity.id)
    with pytest.raises(StoreDamagedError):
        remembered(b.store, KEYS, bytes(16))
    image = b.image()
    (image / "meta.db").write_bytes(bytes(8192))
    with pytest.raises(StoreDamagedError):
        remembered(image, KEYS, b.identity.id)


# What it is for.


async def test_where_all_is_there_it_costs_no_request(both: Both, backend: MemoryBackend) -> None:
    _, b = both
    for seen in (None, await memory(b)):
        archive, kinds = await look(backend, b, seen)
        assert kinds == []
        assert archive.remote.requests.gets == 2
        await archive.newest()
        assert archive.remote.requests.gets == 2


@pytest.mark.parametrize("how", ["gone", "damaged", "gone, and a name that anybody may make up"])
async def test_what_was_seen_has_to_be_there(both: Both, backend: MemoryBackend, how: str) -> None:
    a, b = both
    seen = await memory(b)
    there = objects(backend)
    last = newest(a)
    if how == "damaged":
        whole = there[last.name]
        there[last.name] = whole[:-1] + bytes([whole[-1] ^ 1])
    else:
        del there[last.name]
    if how.endswith("make up"):
        there[head_name(a.identity.id, 10**16 - 1)] = b"VFSHEAD\0\2\0"
    archive, kinds = await look(backend, b, seen)
    assert kinds == ["rollback" if how == "gone" else "damaged"]
    assert archive.trust.error(archive.trust.alarms[0]).exit_code == 80
    assert "'a'" in archive.trust.alarms[0].text


async def test_our_own_has_to_be_there_too(both: Both, backend: MemoryBackend) -> None:
    _, b = both
    seen = await memory(b)
    del objects(backend)[newest(b).name]
    assert (await look(backend, b, seen))[1] == ["rollback"]


async def test_a_listing_that_is_late_is_no_doubt(
    both: Both, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = both
    seen = await memory(b)
    listing = backend.list

    async def late(prefix: str) -> list[Entry]:
        return [entry for entry in await listing(prefix) if entry.name != newest(a).name]

    monkeypatch.setattr(backend, "list", late)
    for recalled in (seen, None):
        archive, kinds = await look(backend, b, recalled)
        assert kinds == []
        assert archive.numbers[a.identity.id][-1] == newest(a).number
        assert newest(a) in await archive.newest()


async def test_a_newer_one_stands_for_it(both: Both, backend: MemoryBackend) -> None:
    a, b = both
    seen = await memory(b)
    old = newest(a)
    await a.write("new", b"1")
    await a.sync()
    del objects(backend)[old.name]
    archive, kinds = await look(backend, b, seen)
    assert kinds == []
    assert archive.trust.number(a.identity.id) == newest(a).number


async def test_what_a_person_has_accepted_is_no_doubt_any_more(both: Both, backend: MemoryBackend) -> None:
    a, b = both
    del objects(backend)[newest(a).name]
    for _ in range(4):
        await b.follow()
    assert (await look(backend, b, await memory(b)))[1] == ["rollback"], "the alarm that stands"
    await b.engine.accept(a.identity.id)
    assert (await look(backend, b, await memory(b)))[1] == []


async def test_a_machine_that_has_seen_less_than_before(both: Both, backend: MemoryBackend) -> None:
    """A head that its device never made after the one that was seen: it takes back what it had merged."""
    a, b = both
    await a.write("new", b"1")
    await a.sync()
    await b.sync()
    seen = await memory(b)
    head = newest(a)
    assert len(head.vector) == 2
    vector = tuple(dot for dot in head.vector if dot.device == a.identity.id)
    less = type(head)(**{name: getattr(head, name) for name in head.__struct_fields__} | {
        "number": head.number + 1, "vector": (vector[0]._replace(counter=head.number + 1),),
    })  # fmt: skip
    objects(backend)[less.name] = seal_head(less, a.identity, KEYS)
    assert (await look(backend, b, seen))[1] == ["vector"]
    assert (await look(backend, b))[1] == [], "nobody can know"


async def test_a_device_keeps_the_key_that_it_was_seen_with(both: Both, backend: MemoryBackend) -> None:
    a, b = both
    seen = await memory(b)
    other = DeviceIdentity(a.identity.id, "a", 0, SigningKey(bytes(32)))
    old = newest(a)
    fields = {name: getattr(old, name) for name in old.__struct_fields__}
    forged = type(old)(**fields | {"public_key": other.public_key})
    objects(backend)[old.name] = seal_head(forged, other, KEYS)
    archive, kinds = await look(backend, b, seen)
    assert kinds == ["damaged"]
    with pytest.raises(RemoteDamagedError, match="a key that is not its device's"):
        await archive.newest()
    assert (await look(backend, b))[1] == []


async def test_another_one_under_the_same_number(both: Both, backend: MemoryBackend) -> None:
    """A clone of a machine published it, before it became a machine of its own: no host can make such a head."""
    a, b = both
    old = newest(a)
    assert open_head(objects(backend)[old.name], old.name, KEYS) == old
    fields = {name: getattr(old, name) for name in old.__struct_fields__}
    objects(backend)[old.name] = seal_head(type(old)(**fields | {"label": "clone"}), a.identity, KEYS)
    assert (await look(backend, b, await memory(b)))[1] == []
    assert (await look(backend, a, await memory(a)))[1] == []


async def test_heads_say_what_is_missing_where_nothing_is_remembered(both: Both, backend: MemoryBackend) -> None:
    a, b = both
    assert dict(newest(b).vector)[a.identity.id] == newest(a).number
    del objects(backend)[newest(a).name]
    archive, kinds = await look(backend, b)
    assert kinds == ["withheld"]
    (alarm,) = archive.trust.alarms
    assert alarm.object == newest(a).name
    assert alarm.text.startswith("'b' has seen head")
