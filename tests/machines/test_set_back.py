"""A machine that is set back to an older image makes files again where it had made others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.test_two import settle
from vaultfs.errors import NewerFormatError
from vaultfs.format.head import MAGIC, head_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines.computer import Computer
    from tests.remote.memory import MemoryBackend

pytestmark = pytest.mark.trio


async def test_files_of_before_and_after_are_not_one(computer: Callable[[str], Computer]) -> None:
    """They had one inode number, hence one id, and counted as two names of one file."""
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.sync()
    image = a.image()
    await a.write("before", b"1")
    await a.sync()
    a.restore(image)
    await a.write("after", b"2")
    await a.begin()
    await b.begin()
    assert await settle(a, b) == {"before": b"1", "after": b"2"}
    await b.write("before", b"3")
    await b.write("after", b"4")
    assert await settle(b, a) == {"before": b"3", "after": b"4"}
    await a.write("before", b"5")
    assert await settle(a, b) == {"before": b"5", "after": b"4"}


async def test_names_that_a_store_makes_up_change_nothing(
    computer: Callable[[str], Computer], backend: MemoryBackend
) -> None:
    """Not who this machine is, and not what it publishes."""
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.sync()
    me, objects = a.engine.ports.identity.id, backend.objects
    assert objects is not None
    for number in range(6):
        junk = head_name(me, 10**15 + number)
        objects[junk] = b"junk"
        await a.follow()
        del objects[junk]
        await a.write("f", str(number).encode())
        await a.sync()
    objects[head_name(me, 10**15)] = b"junk"
    for _ in range(3):
        await a.follow()
    assert [alarm.kind for alarm in a.engine.heads.alarms] == ["damaged"]
    await a.write("f", b"all the same")
    await a.sync()
    assert a.engine.ports.identity.id == me
    del objects[head_name(me, 10**15)]
    await b.begin()
    assert await b.listing() == {"f": b"all the same"}


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_twin_that_is_ahead_of_this_vaultfs(
    computer: Callable[[str], Computer], backend: MemoryBackend, *, accepted: bool
) -> None:
    """Its numbers must not be used a second time; whether it is one, only a newer vaultfs can tell."""
    a = computer("a")
    await a.begin()
    await a.sync()
    me = a.engine.ports.identity.id
    name = head_name(me, 1000)
    assert backend.objects is not None
    backend.objects[name] = MAGIC + (2).to_bytes(2, "little") + bytes(600)
    await a.follow()
    await a.write("f", b"waits")
    await a.commit()
    with pytest.raises(NewerFormatError):
        await a.publish()
    if accepted:
        await a.engine.accept(me)
    else:
        del backend.objects[name]
    await a.follow()
    await a.publish()
    assert not a.tree.ledger.outbox()
    assert a.engine.ports.identity.id == me


async def test_a_file_keeps_its_id_when_its_machine_starts_again(computer: Callable[[str], Computer]) -> None:
    a = computer("a")
    ids = {}
    for number in range(3):
        await a.write(f"f{number}", b"x")
        await a.commit()
        ids[number] = a.tree.state.file_ids.of(a.tree.inode(await a.find(f"f{number}")))
        for _ in range(2):
            a.crash()
    assert ids == {n: a.tree.state.file_ids.of(a.tree.inode(await a.find(f"f{n}"))) for n in ids}
    assert len(set(ids.values())) == 3
