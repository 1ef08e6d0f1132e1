"""A machine that goes on as another device, at a bad moment."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from vaultfs.format.head import open_head
from vaultfs.sync.garbage import Garbage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.machines.computer import Computer
    from tests.remote.memory import MemoryBackend

pytestmark = pytest.mark.trio


@pytest.fixture
async def twins(computer: Callable[[str], Computer]) -> tuple[Computer, Computer]:
    """A machine, and its clone, which was the first to publish something."""
    a = computer("a")
    await a.begin()
    await a.sync()
    shutil.copytree(a.store, a.base / "image")
    clone = computer("clone")
    clone.identity = a.identity
    clone.restore(a.base / "image")
    await clone.begin()
    await clone.write("theirs", b"theirs")
    return a, clone


@pytest.mark.parametrize("moment", ["packs/", "heads/"])
async def test_it_notices_while_it_publishes(
    twins: tuple[Computer, Computer], moment: str, computer: Callable[[str], Computer], backend: MemoryBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    a, clone = twins
    await a.write("ours", os.urandom(70_000))
    await a.commit()
    real = backend.put

    async def put(name: str, data: bytes | Path) -> None:
        if name.startswith(moment):
            monkeypatch.undo()
            for _ in range(2):
                await clone.write("theirs", os.urandom(10))
                await clone.sync()
            await a.engine.follow()
        await real(name, data)

    await a.engine.follow()
    old = a.engine.ports.identity.id
    monkeypatch.setattr(backend, "put", put)
    await a.publish()
    assert a.engine.ports.identity.id != old
    assert not a.tree.ledger.outbox()
    for name, data in (backend.objects or {}).items():
        if name.startswith("heads/"):
            open_head(data, name, a.keys)
    await clone.sync()
    await a.follow()
    b = computer("b")
    await b.begin()
    assert await b.listing() == await a.listing() == await clone.listing()
    assert b.engine.heads.alarms == []
    await Garbage(b.engine).collect(0, dry_run=True)


@pytest.mark.parametrize("trouble", ["pack", "disk"])
async def test_what_goes_wrong_leaves_it_who_it_was(
    twins: tuple[Computer, Computer], trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, clone = twins
    await a.write("ours", b"ours")
    await a.commit()
    await clone.sync()
    old, waiting = a.engine.ports.identity.id, a.tree.ledger.outbox()

    def fail(*_: object) -> None:
        monkeypatch.undo()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if trouble == "pack":
        monkeypatch.setattr(a.engine.commits, "list_pack", fail)
    else:
        monkeypatch.setattr(a.tree.state, "commit", fail)
    with pytest.raises(OSError, match="No space"):
        await a.engine.follow()
    assert a.engine.ports.identity.id == old
    assert a.tree.ledger.outbox() == waiting
    await a.sync()
    assert a.engine.ports.identity.id != old
    await clone.sync()
    await a.sync()
    assert await a.listing() == await clone.listing() == {"ours": b"ours", "theirs": b"theirs"}
    assert await a.kept() == await clone.kept() == []
