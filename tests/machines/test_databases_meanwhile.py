"""Databases and what is called like their logs, where one machine knows of one of the two only. Found by histories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.test_two import DB, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines.computer import Computer

pytestmark = pytest.mark.trio


async def joined(computer: Callable[[str], Computer], **files: bytes) -> tuple[Computer, Computer]:
    a, b = computer("a"), computer("b")
    await a.begin()
    for name, data in files.items():
        await a.write(name.replace("_", "."), data)
    await a.sync()
    await b.begin()
    await settle(a, b)
    return a, b


async def test_a_directory_called_like_a_log_is_none(computer: Callable[[str], Computer]) -> None:
    """A newer database took it away where it came, as it would a foreign log: with no lag, so for good (seed 65)."""
    a, b = await joined(computer, s_db=DB)
    await b.mkdir("s.db-wal")
    await settle(b, a)
    await a.write("s.db", DB + b"more")
    picture = await settle(a, b)
    assert picture == {"s.db": DB + b"more", "s.db-wal": None}


async def test_a_file_is_removed_that_has_become_a_databases_log(computer: Callable[[str], Computer]) -> None:
    """It was as it had been, so nothing was noted, and the removal counted for nothing (seed 1041)."""
    a, b = await joined(computer)
    await a.write("s.db-wal", b"log")
    await settle(a, b)
    await a.write("s.db", DB)
    await a.sync()
    await b.remove("s.db-wal")
    await b.engine.follow()
    await b.commit()
    picture = await settle(b, a)
    assert picture["s.db"] == DB


async def test_a_foreign_log_is_not_taken_for_that_of_a_database_that_is_written(
    computer: Callable[[str], Computer],
) -> None:
    """The merge was done, and its machine died before the log was put aside (seed 535)."""
    a, b = await joined(computer)
    await a.write("s.db", DB)
    await b.write("s.db-wal", b"of another one")
    await b.sync()
    await a.commit()
    await a.engine.heads.poll()
    await a.engine.follower.merge_in(a.engine.follower.waiting())
    a.crash()
    await a.begin()
    assert await a.listing() == {"s.db": DB}
    await a.write("s.db", DB + b"more")
    assert await settle(a, b) == {"s.db": DB + b"more"}
    assert await b.kept() == [b"of another one"]
