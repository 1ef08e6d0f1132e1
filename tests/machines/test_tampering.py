"""A store that lies: each lie is noticed and named, nothing of it is applied, and the truth is taken again later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.computer import Computer
from tests.remote.memory import MemoryBackend
from vaultfs.crypto.keys import VaultKeys
from vaultfs.errors import VaultfsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.trio

BEFORE = {"d": None, "d/x": b"one", "y": b"1" * 5000}
AFTER = {"d": None, "d/x": b"two", "y": b"2" * 5000, "z": b"3" * 5000}
Objects = dict[str, bytes]


def _newest(new: Objects, prefix: str) -> str:
    return max(name for name in new if name.startswith(prefix))


def _flip(objects: Objects, new: Objects, prefix: str, share: float) -> str:
    name = _newest(new, prefix)
    at = int(len(objects[name]) * share)
    objects[name] = objects[name][:at] + bytes([objects[name][at] ^ 4]) + objects[name][at + 1 :]
    return name


def flip_head(objects: Objects, new: Objects, _: Objects) -> str:
    return _flip(objects, new, "heads/", 0.5)


def flip_pack_start(objects: Objects, new: Objects, _: Objects) -> str:
    return _flip(objects, new, "packs/", 0.1)


def flip_footer(objects: Objects, new: Objects, _: Objects) -> str:
    name = _newest(new, "packs/")
    data = objects[name]
    at = int.from_bytes(data[-8:], "little") + 10
    objects[name] = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
    return name


def truncate_pack(objects: Objects, new: Objects, _: Objects) -> str:
    name = _newest(new, "packs/")
    objects[name] = objects[name][: len(objects[name]) // 2]
    return name


def lose_pack(objects: Objects, new: Objects, _: Objects) -> str:
    name = _newest(new, "packs/")
    del objects[name]
    return name


def swap_packs(objects: Objects, new: Objects, _: Objects) -> str:
    name = _newest(new, "packs/")
    other = next(one for one in objects if one.startswith("packs/") and one != name)
    objects[name], objects[other] = objects[other], objects[name]
    return name


def pack_of_another_vault(objects: Objects, new: Objects, foreign: Objects) -> str:
    name = _newest(new, "packs/")
    objects[name] = foreign[_newest(foreign, "packs/")]
    return name


def head_of_another_vault(objects: Objects, new: Objects, foreign: Objects) -> str:
    name = _newest(new, "heads/")
    objects[name] = foreign[_newest(foreign, "heads/")]
    return name


def older_head_as_new(objects: Objects, new: Objects, _: Objects) -> str:
    name = _newest(new, "heads/")
    objects[name] = objects[min(one for one in objects if one.startswith("heads/"))]
    return name


LIES = [
    flip_head, flip_pack_start, flip_footer, truncate_pack, lose_pack, swap_packs, pack_of_another_vault,
    head_of_another_vault, older_head_as_new,
]  # fmt: skip


async def published(computer: Computer, tree: dict[str, bytes | None]) -> None:
    """The computer's tree is this now, and on the remote."""
    there = await computer.listing()
    for path, data in tree.items():
        if data is None:
            if path not in there:
                await computer.mkdir(path)
        else:
            await computer.write(path, data)
    await computer.commit()
    await computer.publish()


async def tried(computer: Computer) -> str:
    """What a few rounds of following said."""
    said = ""
    for _ in range(4):
        try:
            await computer.follow()
            await computer.listing()
        except VaultfsError as error:
            said += error.message
    return said + " ".join(f"{alarm.object} {alarm.text}" for alarm in computer.engine.facts().alarms)


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_noticed(tmp_path: Path, lie: Callable[[Objects, Objects, Objects], str]) -> None:
    backend, elsewhere = MemoryBackend(), MemoryBackend()
    a, b = Computer(tmp_path, "a", backend), Computer(tmp_path, "b", backend)
    other = Computer(tmp_path, "other", elsewhere, keys=VaultKeys(bytes(32), bytes(16)))
    await other.begin()
    await published(other, AFTER)
    await a.begin()
    await published(a, BEFORE)
    await b.begin()
    assert await b.listing() == BEFORE
    assert backend.objects is not None
    assert elsewhere.objects is not None
    old = dict(backend.objects)
    await published(a, AFTER)
    truth = dict(backend.objects)
    name = lie(backend.objects, {key: data for key, data in truth.items() if key not in old}, elsewhere.objects)
    said = await tried(b)
    assert name in said, said
    # What cannot be read keeps the old tree; a part that is damaged is an error where it is needed, and nothing else.
    for path, data in (await shown(b)).items():
        assert data in {BEFORE.get(path), AFTER.get(path), b"unreadable"}
    backend.objects.clear()
    backend.objects.update(truth)
    for alarm in b.engine.heads.alarms:
        await b.engine.accept(alarm.device)
    await published(a, {"z": b"again"})
    for _ in range(3):
        await b.sync()
        await a.sync()
    assert await b.listing() == AFTER | {"z": b"again"}
    for computer in (a, b, other):
        computer.close()


async def shown(computer: Computer) -> dict[str, bytes | None]:
    """What is in the tree, as far as it can be read."""
    out: dict[str, bytes | None] = {}
    for path in AFTER:
        try:
            ino = await computer.find(path)
            out[path] = None if computer.tree.inode(ino).is_dir else await computer.read(path)
        except FileNotFoundError:
            pass
        except (VaultfsError, OSError):
            out[path] = b"unreadable"
    return out


async def test_a_store_that_goes_back(tmp_path: Path) -> None:
    backend = MemoryBackend()
    a, b = Computer(tmp_path, "a", backend), Computer(tmp_path, "b", backend)
    await a.begin()
    await published(a, BEFORE)
    assert backend.objects is not None
    old = dict(backend.objects)
    await b.begin()
    await published(a, AFTER)
    await b.sync()
    assert await b.listing() == AFTER
    backend.objects.clear()
    backend.objects.update(old)
    for _ in range(4):
        await b.sync()
    (alarm,) = [one for one in b.engine.facts().alarms if one.device == a.identity.id]
    assert alarm.kind == "rollback"
    assert "'a'" in alarm.text
    assert await b.listing() == AFTER
    await b.engine.accept(alarm.device)
    await b.sync()
    assert await b.listing() == AFTER, "what this machine has stays"
    for computer in (a, b):
        computer.close()
