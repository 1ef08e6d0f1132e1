"""Making room on the remote: what no commit needs goes after its grace, and nobody misses anything."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio

from tests.machines.computer import KEYS, QUICK, Computer
from tests.machines.test_two import settle
from tests.remote.fake import FakeBackend
from tests.remote.memory import MemoryBackend
from vaultfs.errors import GarbageStoppedError, RemoteUnavailableError, RollbackError
from vaultfs.format.head import head_name
from vaultfs.remote import Remote
from vaultfs.sync import catalog, thinning
from vaultfs.sync.archive import Archive
from vaultfs.sync.auditing import Extent, audit
from vaultfs.sync.garbage import DAY, Collected, Garbage
from vaultfs.sync.garbage_mark import Marked, mark

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.trio

GRACE = 30 * DAY
NOW = 1_800_000_000_000_000_000


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


async def collect(computer: Computer, days: float = 0, *, grace: int = GRACE, dry_run: bool = False) -> Collected:
    return await Garbage(computer.engine).collect(grace, dry_run=dry_run, now=NOW + int(days * DAY))


async def forget_history(*computers: Computer) -> None:
    """All of their heads but the newest go, as they do in the course of months."""
    for one in computers:
        ports = one.engine.ports
        for entry in await ports.remote.list(f"heads/{ports.identity.id.hex()}"):
            newest = one.engine.heads.trust.number(ports.identity.id)
            if entry.name != head_name(ports.identity.id, newest):
                await ports.remote.delete(entry.name)


async def whole(backend: MemoryBackend) -> None:
    """Whoever comes new finds everything that the newest commits need, byte for byte."""
    archive = Archive(Remote(backend, QUICK), KEYS)
    await archive.look()
    assert await audit(archive, Extent(1.0), lambda _done, _total: None) == []


async def commits_whole(backend: MemoryBackend) -> None:
    """Every commit that is kept can be read, by whoever comes new."""
    archive = Archive(Remote(backend, QUICK), KEYS)
    await archive.look()
    marked = Marked()
    for device, numbers in archive.numbers.items():
        for number in numbers:
            head = await archive.head(device, number)
            await archive.use(head)
            await trio.to_thread.run_sync(mark, archive.nodes(), [head.root], marked)
    assert not marked.unread
    await archive.contents(sorted(marked.blocks))


def packs(backend: MemoryBackend) -> set[str]:
    assert backend.objects is not None
    return {name for name in backend.objects if name.startswith("packs/")}


async def test_what_nobody_needs_goes_after_its_grace(
    computer: Callable[[str], Computer], backend: MemoryBackend
) -> None:
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.write("x", noise(300_000))
    await a.write("keep", noise(200_000, 1))
    await a.sync()
    await b.begin()
    await b.listing()
    await a.write("x", b"short")
    await a.write("keep", noise(200_000, 1) + b"more")
    await settle(a, b)
    before = packs(backend)
    first = await collect(a)
    assert first.removed == 0
    assert first.waiting_bytes < 1000, "the older heads still need it"
    await forget_history(a, b)
    await b.sync()
    first = await collect(a)
    assert (first.removed, first.rewritten) == (0, 0)
    assert packs(backend) == before
    # Of the first pack `keep` needs more than a quarter. What was short then goes, and the large file alone does not.
    await a.write("keep", b"short, too")
    await settle(a, b)
    await forget_history(a, b)
    first = await collect(a)
    assert first.waiting > 0
    assert first.next == NOW + GRACE
    early = await collect(a, 29)
    assert early.removed == 0
    planned = await collect(a, 31, dry_run=True)
    assert planned.removed == first.waiting
    assert before <= packs(backend)
    done = await collect(a, 31)
    assert (done.removed, done.removed_bytes) == (planned.removed, planned.removed_bytes)
    assert done.removed_bytes > 400_000
    assert not before <= packs(backend)
    await whole(backend)
    c = computer("c")
    await c.begin()
    assert await settle(a, b, c) == {"x": b"short", "keep": b"short, too"}


async def test_a_mostly_dead_pack_is_written_anew(computer: Callable[[str], Computer], backend: MemoryBackend) -> None:
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.write("big", noise(1_000_000))
    await a.write("small", noise(70_000, 1))
    await a.sync()
    await b.begin()
    await b.listing()
    await a.remove("big")
    await settle(a, b)
    await forget_history(a, b)
    done = await collect(a)
    assert done.rewritten >= 1
    assert done.removed == 0
    assert 70_000 < done.copied < 80_000
    await whole(backend)
    assert (await collect(a, 1)).rewritten == 0, "once is enough"
    done = await collect(a, 31)
    assert done.removed_bytes > 1_000_000
    await whole(backend)
    # A machine that was away meanwhile, and has nothing of it in its cache.
    b.tree.cache.evict(0)
    await b.write("new", b"1")
    assert await settle(a, b) == {"small": noise(70_000, 1), "new": b"1"}
    c = computer("c")
    await c.begin()
    assert await c.read("small") == noise(70_000, 1)


async def test_a_machine_that_was_away_still_has_it(computer: Callable[[str], Computer]) -> None:
    """Within the grace: what it made from an older commit is needed again, and is no garbage any more."""
    a, b = computer("a"), computer("b")
    await a.begin()
    old = noise(300_000)
    await a.write("x", old)
    await a.sync()
    await b.begin()
    await b.read("x")
    await a.write("x", b"short")
    await a.sync()
    await forget_history(a)
    assert (await collect(a)).waiting > 0
    await b.patch("x", 299_999, b"!")  # b has not seen anything of it
    await b.sync()
    done = await collect(a, 31)
    await settle(a, b)
    assert old[:-1] + b"!" in {(await a.read("x")), *await a.kept()}
    c = computer("c")
    await c.begin()
    assert old[:-1] + b"!" in {(await c.read("x")), *await c.kept()}
    assert done.missing == 0


async def test_what_was_there_once_is_stored_again(computer: Callable[[str], Computer], backend: MemoryBackend) -> None:
    """The same bytes come back after their pack was removed, on a machine that still has them in its cache."""
    a, b = computer("a"), computer("b")
    await a.begin()
    old = noise(300_000)
    await a.mkdir("d")
    await a.write("x", old)
    await a.sync()
    await b.begin()
    await b.listing()
    await a.remove("x")
    await settle(a, b)
    await forget_history(a, b)
    await collect(a)
    assert (await collect(a, 31)).removed > 0
    for one in (a, b):
        await one.write("d/again", old)
        await settle(a, b)
        await whole(backend)
        await one.remove("d/again")
        await settle(a, b)
        await whole(backend)


async def test_what_is_saved_whole_with_a_small_change_is_not_stored_again(
    computer: Callable[[str], Computer], backend: MemoryBackend
) -> None:
    a = computer("a")
    await a.begin()
    await a.write("x", noise(2_000_000))
    await a.sync()
    before = sum(map(len, (backend.objects or {}).values()))
    await a.write("x", noise(2_000_000) + b"more")  # cut to nothing, and written
    await a.sync()
    await a.write("new", noise(2_000_000) + b"more, too")
    await a.rename("new", "x")
    await a.sync()
    await a.remove("x")
    await a.write("x", noise(2_000_000) + b"again")
    await a.sync()
    assert sum(map(len, (backend.objects or {}).values())) - before < 300_000


async def test_many_packs_and_their_indexes(
    computer: Callable[[str], Computer], backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "DUE_PACKS", 6)
    a, b = computer("a"), computer("b")
    await a.begin()
    await b.begin()
    for number in range(40):
        one = (a, b)[number % 2]
        await one.write(f"f{number % 5}", noise(80_000, number))
        await one.commit()
        await one.follow()
        await one.engine.publish()
    picture = await settle(a, b)
    before = packs(backend)
    await forget_history(a, b)
    await collect(a)
    done = await collect(a, 31)
    assert done.removed > 20
    await whole(backend)
    for one in (b, a):
        one.tree.cache.evict(0)
        await one.write("last", one.label.encode())
        await one.sync()
        await one.engine.publish()
    picture["last"] = b"a"
    assert await settle(a, b) == picture
    gone = {bytes.fromhex(name[-32:]) for name in before - packs(backend)}
    for one in (a, b):
        assert gone.isdisjoint(pack.id for pack in one.engine.catalog.unindexed), "nobody goes on naming them"
    await forget_history(a, b)
    await collect(a, 32)
    await collect(a, 63)
    assert backend.objects is not None
    assert len([name for name in backend.objects if name.startswith("index/")]) <= 3
    c = computer("c")
    await c.begin()
    assert await settle(a, b, c) == picture


async def test_it_stops_at_what_it_cannot_read(computer: Callable[[str], Computer], backend: MemoryBackend) -> None:
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.write("x", noise(100_000))
    await a.sync()
    await b.begin()
    await b.write("y", b"1")
    await b.sync()
    await a.follow()
    await b.write("y", b"2")
    await b.sync()
    assert backend.objects is not None
    objects = dict(backend.objects)
    older = min(name for name in objects if name.startswith(f"heads/{b.identity.id.hex()}"))
    backend.objects[older] = b"x" + objects[older]
    with pytest.raises(GarbageStoppedError, match=older):
        await collect(a)
    backend.objects[older] = objects[older]
    for name in [name for name in objects if name.startswith(f"heads/{b.identity.id.hex()}")]:
        del backend.objects[name]
    for _ in range(5):
        await a.follow()
    with pytest.raises(RollbackError):
        await collect(a)
    backend.objects.update(objects)
    for alarm in a.engine.heads.alarms:
        await a.engine.accept(alarm.device)
    await collect(a)


@pytest.mark.long
async def test_a_crash_anywhere_leaves_everything_readable(tmp_path: Path) -> None:
    for step in range(1, 40):
        backend = FakeBackend(MemoryBackend())
        a = Computer(tmp_path / str(step), "a", backend)
        await a.begin()
        await a.write("big", noise(600_000))
        await a.write("small", noise(70_000, 1))
        await a.sync()
        await a.remove("big")
        await a.sync()
        await forget_history(a)
        if step > 20:
            await collect(a)
        left = [step % 20]

        def breaks(_operation: str, _name: str, left: list[int] = left) -> bool:
            left[0] -= 1
            if not left[0]:
                raise RemoteUnavailableError(remote="memory", detail="gone")
            return False

        backend.faults.crash_before = breaks
        a.engine.ports.remote.limits = type(QUICK)(call=0.001, attempt=0.001, first_pause=1)
        finished = True
        try:
            await collect(a, 31 if step > 20 else 0)
        except RemoteUnavailableError:
            finished = False
        backend.faults.crash_before = lambda *_: False
        a.crash()
        a.engine.recall()
        await a.sync()
        inner = backend.inner
        assert isinstance(inner, MemoryBackend)
        await whole(inner)
        await collect(a, 40)
        await collect(a, 80)
        await whole(inner)
        assert await a.listing() == {"small": noise(70_000, 1)}
        assert sum(len(data) for name, data in (inner.objects or {}).items() if name.startswith("packs/")) < 200_000
        a.close()
        if finished and step % 20 > 12:
            continue


async def something(rng: random.Random, one: Computer) -> None:
    """An edit, and perhaps a sync."""
    path, there = f"f{rng.randrange(4)}", await one.listing()
    if rng.random() < 0.2 and path in there:
        await one.remove(path)
    elif rng.random() < 0.5 or path not in there:
        await one.write(path, noise(rng.choice([100, 70_000, 200_000]), rng.randrange(12)))
    else:
        await one.patch(path, rng.randrange(100), b"!")
    if rng.random() < 0.5:
        await one.commit()
        await one.follow()
        await one.engine.publish()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
async def test_random_histories(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no grace at all, while all are in step: every machine and a new one can read all, conflicts, and commits."""
    monkeypatch.setattr(catalog, "DUE_PACKS", 5)
    monkeypatch.setattr(thinning, "NEWEST", 3)
    rng = random.Random(seed)
    backend = MemoryBackend()
    computers = [Computer(tmp_path, label, backend) for label in "abc"]
    for one in computers:
        await one.begin()
        await one.sync()
    removed = 0
    for round_ in range(4):
        for _ in range(12):
            await something(rng, rng.choice(computers))
        await settle(*computers)
        for one in computers:
            one.tree.cache.evict(rng.choice([0, 1 << 30]))
        if round_ % 2:
            await forget_history(*rng.sample(computers, 2))
        one = rng.choice(computers)
        for _ in range(2):
            removed += (await collect(one, round_, grace=0)).removed
        await whole(backend)
        picture = await settle(*computers)
        kept = sorted(await computers[0].kept())
        new = Computer(tmp_path, f"new{round_}", backend)
        await new.begin()
        assert await new.listing() == picture
        assert sorted(await new.kept()) == kept
        new.close()
        await commits_whole(backend)
    assert removed
    for one in computers:
        one.close()
