"""A head that is far too long is refused wherever heads are read, and never read to its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.machines.computer import KEYS, QUICK
from tests.machines.test_repair import objects, pair, repair
from vaultfs.daemon.following import Following
from vaultfs.errors import GarbageStoppedError, RemoteDamagedError
from vaultfs.format.head import MAX_BYTES, head_name
from vaultfs.remote import Remote
from vaultfs.sync.archive import Archive
from vaultfs.sync.garbage import DAY, Garbage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines.computer import Computer
    from tests.remote.memory import MemoryBackend

pytestmark = pytest.mark.trio

NOBODY = b"\xab" * 16
NAME = head_name(NOBODY, 1)
LONG = bytes(8 * MAX_BYTES)


@pytest.fixture
def longest(backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of what was read of the long head."""
    lengths, get = [], backend.get

    async def told(name: str, offset: int, length: int | None) -> bytes:
        data = await get(name, offset, length)
        if objects(backend)[name] is LONG:
            lengths.append(len(data))
        return data

    monkeypatch.setattr(backend, "get", told)
    return lengths


def none_whole(lengths: list[int]) -> bool:
    return bool(lengths) and max(lengths) <= MAX_BYTES + 1


async def test_without_a_mount(backend: MemoryBackend, longest: list[int]) -> None:
    objects(backend)[NAME] = LONG
    archive = Archive(Remote(backend, QUICK), KEYS)
    await archive.look()
    with pytest.raises(RemoteDamagedError, match="cut off"):
        await archive.newest()
    assert none_whole(longest)


async def test_a_mount_of_one_commit(
    backend: MemoryBackend, longest: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    objects(backend)[NAME] = LONG
    monkeypatch.setattr("vaultfs.daemon.following.members", lambda _: None)
    monkeypatch.setattr("vaultfs.daemon.following.local_header", lambda _: None)
    mount = SimpleNamespace(_opened=SimpleNamespace(keys=KEYS, job=SimpleNamespace(vault=None)))
    with pytest.raises(RemoteDamagedError, match="cut off"):
        await Following._head(mount, Remote(backend, QUICK), NOBODY, 1)  # type: ignore[arg-type]
    assert none_whole(longest)


async def test_repair(computer: Callable[[str], Computer], backend: MemoryBackend, longest: list[int]) -> None:
    a, _, _ = await pair(computer)
    objects(backend)[NAME] = LONG
    assert NAME in [lost.object for lost in (await repair(a)).lost]
    assert none_whole(longest)


async def test_making_room(computer: Callable[[str], Computer], backend: MemoryBackend, longest: list[int]) -> None:
    a, _, _ = await pair(computer)
    objects(backend)[NAME] = LONG
    with pytest.raises(GarbageStoppedError, match=NAME):
        await Garbage(a.engine).collect(30 * DAY, now=1_800_000_000_000_000_000)
    assert none_whole(longest)


async def test_one_of_our_own_that_was_cut_short(
    computer: Callable[[str], Computer], backend: MemoryBackend, longest: list[int]
) -> None:
    """It is there instead of one that was to be published; with the next one it goes."""
    a = computer("a")
    await a.begin()
    await a.sync()
    numbers = []
    for content in (b"one", b"two"):
        await a.write("f", content)
        await a.commit()
        numbers.append(a.tree.ledger.outbox()[-1].number)
    name = head_name(a.identity.id, numbers[0])
    objects(backend)[name] = LONG
    await a.publish()
    assert name not in objects(backend)
    assert head_name(a.identity.id, numbers[1]) in objects(backend)
    assert none_whole(longest)
