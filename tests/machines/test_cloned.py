"""A machine that goes on as another device, at a bad moment."""

from __future__ import annotations

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
