"""What is made here under a name whose newer version is known, and has not come into the working tree yet.

A remote that is slow at the wrong moment is all it takes: the merge is done, and what is to come cannot be fetched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.test_two import DB, joined, settle
from vaultfs.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines.computer import Computer

pytestmark = pytest.mark.trio


async def lagging(computer: Callable[[str], Computer]) -> tuple[Computer, Computer]:
    """B has merged a's `d` with what is in it, and shows nothing of it yet."""
    a, b = computer("a"), computer("b")
    await a.begin()
    await b.write("own", b"b")
    await a.sync()
    await b.begin()
    await settle(a, b)
    for name in ("d", "d/e", "d/e/deep", "d/f"):
        await a.mkdir(name)
    for name in ("d/x", "d/y", "d/e/x", "d/e/deep/x", "d/f/x"):
        await a.write(name, b"a")
    await a.sync()
    await b.engine.follow()
    with pytest.raises(FileNotFoundError):
        await b.find("d")
    return a, b


ALL = {"own": b"b"} | dict.fromkeys(("d/x", "d/y", "d/e/x", "d/e/deep/x", "d/f/x"), b"a")


def files(picture: dict[str, bytes | None]) -> dict[str, bytes]:
    return {name: data for name, data in picture.items() if data is not None}


async def test_a_directory_is_made(computer: Callable[[str], Computer]) -> None:
    a, b = await lagging(computer)
    await b.mkdir("d")
    assert files(await settle(b, a)) == ALL
    assert await a.kept() == []


async def test_what_is_written_in_it_replaces_nothing_that_was_not_seen(computer: Callable[[str], Computer]) -> None:
    a, b = await lagging(computer)
    for name in ("d", "d/e", "d/e/new"):
        await b.mkdir(name)
    for name in ("d/x", "d/z", "d/e/x", "d/e/new/z"):
        await b.write(name, b"b")
    picture = files(await settle(b, a))
    mine = dict.fromkeys(("d/x", "d/z", "d/e/x", "d/e/new/z"), b"b")
    assert picture == ALL | mine
    assert await a.kept() == [b"a", b"a"], "d/x and d/e/x as they were"


async def test_a_directory_is_moved_there(computer: Callable[[str], Computer]) -> None:
    a, b = await lagging(computer)
    for name in ("g", "g/e"):
        await b.mkdir(name)
    await b.write("g/x", b"b")
    await b.commit()
    await b.rename("g", "d")
    assert files(await settle(b, a)) == ALL | {"d/x": b"b"}
    assert await a.kept() == [b"a"]


async def test_it_is_made_and_removed_again(computer: Callable[[str], Computer]) -> None:
    a, b = await lagging(computer)
    await b.mkdir("d")
    await b.commit()
    await b.remove("d")
    assert files(await settle(b, a)) == ALL, "what was in it was never seen here"


async def test_after_a_file_that_was_replaced_elsewhere_by_a_directory(computer: Callable[[str], Computer]) -> None:
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.write("d", b"file")
    await a.sync()
    await b.begin()
    await settle(a, b)
    await a.remove("d")
    await a.mkdir("d")
    await a.write("d/x", b"a")
    await a.sync()
    await b.engine.follow()
    await b.remove("d")
    await b.mkdir("d")
    await b.write("d/x", b"b")
    assert files(await settle(b, a)) == {"d/x": b"b"}
    assert await a.kept() == [b"a"]


@pytest.mark.parametrize("new", ["z", "d/z"])
async def test_a_file_is_renamed_here_and_removed_there(computer: Callable[[str], Computer], new: str) -> None:
    """The merge came between the rename and its commit, which could never be made."""
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.mkdir("d")
    await a.write("y", b"file")
    await a.sync()
    await b.begin()
    await settle(a, b)
    await a.remove("y")
    await a.sync()
    await b.rename("y", new)
    await b.follow()
    assert files(await settle(b, a)) == {new: b"file"}


async def test_a_log_is_renamed_here_and_its_database_comes(computer: Callable[[str], Computer]) -> None:
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.write("s.db-wal", b"log")
    await a.sync()
    await b.begin()
    await settle(a, b)
    await a.write("s.db", DB)
    await a.sync()
    await b.rename("s.db-wal", "log")
    await b.follow()
    assert files(await settle(b, a))["log"] == b"log"


async def test_who_saves_by_renames_all_the_time_follows_all_the_same(computer: Callable[[str], Computer]) -> None:
    """What was saved stays for the next commit: it need not be made first."""
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.write("f", b"0")
    await a.sync()
    await b.begin()
    await settle(a, b)
    await a.write("g", b"a")
    await a.sync()
    await b.write("f.tmp", b"1")
    await b.rename("f.tmp", "f")
    await b.follow()
    assert await b.read("g") == b"a"
    assert not b.tree.changes.empty
    assert files(await settle(b, a)) == {"f": b"1", "g": b"a"}


async def test_what_came_stays_after_a_crash_with_all_that_belongs_to_it(computer: Callable[[str], Computer]) -> None:
    """The database itself was the same, and lagged again: its removal then counted as that of the older one."""
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.write("s.db", DB)
    await a.write("s.db-wal", b"log")
    await a.write("x", b"same")
    await a.sync()
    await b.begin()
    await settle(a, b)
    b.tree.ledger.set_lag(ROOT, b"x", None)
    await a.remove("s.db-wal")
    await a.sync()
    await b.follow()
    assert b.tree.ledger.lag() == []
    b.crash()
    assert b.tree.ledger.lag() == []
    await b.begin()
    await b.remove("s.db")
    assert files(await settle(b, a)) == {"x": b"same"}


async def test_a_file_is_moved_into_a_directory_that_others_removed(computer: Callable[[str], Computer]) -> None:
    """No commit could be made any more: the base had not got the directory."""
    a, b = await joined(computer, {"d/x": b"x", "y": b"y"})
    await b.hold("d/x")
    await a.remove("d/x")
    await a.remove("d")
    await a.sync()
    await b.follow()
    await b.rename("y", "d/y")
    await b.mkdir("e")
    await b.write("e/z", b"z")
    await b.rename("e", "d/e")
    assert await b.commit()
    b.release("d/x")
    assert files(await settle(b, a)) == {"d/y": b"y", "d/e/z": b"z"}


async def test_an_empty_log_of_a_database_is_moved(computer: Callable[[str], Computer]) -> None:
    """It is in no commit, so none could move it."""
    a, b = await joined(computer, {"s.db": DB})
    await a.write("s.db-wal", b"")
    await a.sync()
    await a.rename("s.db", "t.db")
    await a.rename("s.db-wal", "log")
    assert await a.commit()
    assert files(await settle(a, b)) == {"t.db": DB, "log": b""}
