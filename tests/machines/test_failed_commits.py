"""A commit that fails on this machine's disk leaves nothing behind that the next one would publish half of."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.machines.test_garbage import collect
from vaultfs.format.pack import BLOCK_BYTES, Kind
from vaultfs.tree.packs import PackWriter, path_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines.computer import Computer

pytestmark = pytest.mark.trio

BLOCKS = 40  # more than stand in a file's own entry: their list is a node, and the same in the next commit


def no_room_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when the pack with the commit's nodes is to be finished."""
    finish = PackWriter.finish

    def failing(writer: PackWriter) -> None:
        if any(entry.kind == Kind.NODE for entry in writer.entries):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finish(writer)

    monkeypatch.setattr(PackWriter, "finish", failing)


async def failed(a: Computer) -> bytes:
    """A file's content, of which a commit has failed."""
    await a.begin()
    await a.sync()
    data = os.urandom(BLOCKS * BLOCK_BYTES)
    await a.write("big", data)
    with pytest.MonkeyPatch.context() as monkeypatch:
        no_room_for_the_end(monkeypatch)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            await a.commit()
    return data


def interrupted(a: Computer) -> set[int]:
    return {pack for (pack,) in a.tree.state.all("SELECT pack FROM pack WHERE state=0")}


@pytest.mark.parametrize("restart", [False, True])
async def test_the_next_commit_has_all_its_nodes(computer: Callable[[str], Computer], restart: bool) -> None:
    a, b = computer("a"), computer("b")
    data = await failed(a)
    await a.housekeep()
    if restart:
        await a.engine.commits.checkpoint()
        a.crash()
        await a.begin()
    await a.sync()
    assert not a.tree.ledger.outbox()
    await b.begin()
    assert await b.read("big") == data


async def test_the_pack_of_a_failed_commit_is_collected(computer: Callable[[str], Computer]) -> None:
    a = computer("a")
    data = await failed(a)
    left = interrupted(a)
    assert left
    await a.sync()
    a.tree.keeper.collect_soon()
    await a.housekeep()
    assert not interrupted(a) & left
    assert await a.read("big") == data


async def test_what_an_older_version_left_of_a_failed_commit_goes(computer: Callable[[str], Computer]) -> None:
    """It noted where nodes stood before their pack was finished, and took that for a place from then on."""
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.write("big", data := os.urandom(BLOCKS * BLOCK_BYTES))
    await a.commit()
    ((list_of_blocks,),) = a.tree.state.all("SELECT id FROM node ORDER BY size DESC LIMIT 1")
    await a.sync()
    a.tree.state.begin(grows=False)
    open_packs = [a.tree.blocks.new_writer() for _ in range(2)]
    a.tree.state.end()
    files = [path_of(a.tree.blocks.directory, writer.id) for writer in open_packs]
    for writer, name in zip(open_packs, (list_of_blocks, b"n" * 32), strict=True):
        a.tree.state.run("UPDATE node SET pack=? WHERE id=?", writer.number, name)
        a.tree.state.run("INSERT OR IGNORE INTO node VALUES(?,?,0,24,99,80,0)", name, writer.number)
    await a.write("copy", data)
    await a.sync()
    await collect(a)
    await a.housekeep()
    assert not [file for file in files if file.exists()]
    await b.begin()
    assert await b.read("copy") == data
