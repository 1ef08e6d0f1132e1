"""What a remote shows without a mount, where no head alone has all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.machines.computer import KEYS, QUICK, Computer
from vaultfs.remote import Remote
from vaultfs.sync.archive import Archive
from vaultfs.sync.walking import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.trio


async def names(computer: Computer) -> list[bytes]:
    """What is at the top of the vault, as somebody sees it who only reads the remote."""
    archive = Archive(Remote(computer.backend, QUICK), KEYS)
    await archive.look()
    head = await archive.present()
    nodes = archive.nodes()

    def work() -> list[bytes]:
        snapshot = Snapshot(nodes, head.root)
        return sorted(found.path[-1] for found in snapshot.inside(snapshot.top))

    return await trio.to_thread.run_sync(work)


async def test_a_later_head_with_an_older_tree(computer: Callable[[str], Computer]) -> None:
    """B only says that a file is closed, and has not seen yet what A wrote."""
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.write("x", b"1")
    await a.sync()
    await b.begin()
    await b.write("y", b"1")
    await b.sync()
    await a.follow()
    await a.write("new", b"1")
    await a.sync()
    await b.engine.commits.restate()
    await b.publish()
    assert await names(a) == [b"new", b"x", b"y"]


async def test_two_heads_that_nobody_has_merged(computer: Callable[[str], Computer]) -> None:
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.write("x", b"1")
    await a.sync()
    await b.begin()
    for one, name in ((a, "by-a"), (b, "by-b")):
        await one.write(name, b"1")
        await one.commit()
    for one in (a, b):
        await one.publish()
    assert await names(a) == [b"by-a", b"by-b", b"x"]
