"""Two machines: what one publishes the other has, and nothing that either wrote is lost."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.machines.computer import LINK, Computer
from vaultfs.daemon.sync_status import sync_fact
from vaultfs.sync.commits import Commits
from vaultfs.sync.units import SQLITE_MAGIC
from vaultfs.tree.ledger import Lag, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.remote.memory import MemoryBackend
    from vaultfs.tree.cut import Cut

pytestmark = pytest.mark.trio

DB = SQLITE_MAGIC + bytes(84) + b"pages" * 4000


async def joined(computer: Callable[[str], Computer], files: dict[str, bytes]) -> tuple[Computer, Computer]:
    """Two machines that have the same vault with these files."""
    a, b = computer("a"), computer("b")
    await a.begin()
    for path, data in files.items():
        for depth in range(1, path.count("/") + 1):
            above = "/".join(path.split("/")[:depth])
            if above not in await a.listing():
                await a.mkdir(above)
        await a.write(path, data)
    await a.sync()
    await b.begin()
    assert await b.listing() == await a.listing()
    return a, b


async def settle(*computers: Computer) -> dict[str, bytes | None]:
    """Everybody syncs until nothing changes; all have the same tree, which is returned."""
    for _ in range(3):
        for one in computers:
            await one.sync()
    pictures = [await one.listing() for one in computers]
    assert all(picture == pictures[0] for picture in pictures), pictures
    roots = {one.engine.commits.base().root for one in computers}
    assert len(roots) == 1
    return pictures[0]


async def test_a_new_machine_has_everything(computer: Callable[[str], Computer]) -> None:
    big = bytes(range(256)) * 1200
    a, b = await joined(computer, {"x": b"small", "d/e/y": big, "empty": b"", "s.db": DB, "s.db-wal": b"log"})
    assert await b.read("d/e/y") == big
    await a.make("link", LINK, b"d/e")
    await a.write("d/z", b"later")
    await a.sync()
    await b.follow()
    assert await b.listing() == await a.listing()
    assert (await b.listing())["link"] == b"-> d/e"


async def test_edits_here_and_there(computer: Callable[[str], Computer]) -> None:
    a, b = await joined(computer, {"x": b"1", "d/y": b"1", "gone": b"1"})
    await a.write("x", b"2")
    await a.remove("gone")
    await b.write("d/y", b"3")
    await b.write("new", b"4")
    assert await settle(a, b) == {"x": b"2", "d": None, "d/y": b"3", "new": b"4"}
    assert await a.kept() == await b.kept() == []


async def test_both_wrote_one_file(computer: Callable[[str], Computer]) -> None:
    a, b = await joined(computer, {"x": b"1"})
    await a.write("x", b"from a")
    await b.write("x", b"from b")
    picture = await settle(a, b)
    assert {picture["x"], *await a.kept()} == {b"from a", b"from b"}
    assert await a.kept() == await b.kept()


async def test_delete_against_edit_keeps_the_edit(computer: Callable[[str], Computer]) -> None:
    a, b = await joined(computer, {"d/x": b"1", "d/y": b"1"})
    await a.remove("d/x")
    await a.remove("d/y")
    await a.remove("d")
    await b.write("d/x", b"edited")
    assert await settle(a, b) == {"d": None, "d/x": b"edited"}


async def test_a_directory_is_renamed_while_something_is_written_in_it(computer: Callable[[str], Computer]) -> None:
    a, b = await joined(computer, {"d/x": b"1", "d/y": b"2", "d/e/z": b"3"})
    await a.rename("d", "moved")
    await b.write("d/x", b"edited")
    picture = await settle(a, b)
    assert picture["moved/y"] == b"2"
    assert picture["moved/e/z"] == b"3"
    assert picture["d/x"] == b"edited"


async def test_files_change_names_in_a_ring(computer: Callable[[str], Computer]) -> None:
    """Each inode leaves its name before it comes under its new one, and is the same file there."""
    a, b = await joined(computer, {"x": b"1" * 1000, "y": b"2" * 1000, "z": b"3" * 1000})
    await a.rename("x", "w")
    await a.rename("y", "x")
    await a.rename("z", "y")
    await a.rename("w", "z")
    assert await settle(a, b) == {"x": b"2" * 1000, "y": b"3" * 1000, "z": b"1" * 1000}
    await a.rename("x", "d")
    await a.rename("y", "x")
    assert await settle(a, b) == {"d": b"2" * 1000, "x": b"3" * 1000, "z": b"1" * 1000}


async def test_a_held_file_waits(computer: Callable[[str], Computer]) -> None:
    a, b = await joined(computer, {"x": b"1", "y": b"1"})
    await b.hold("x")
    await b.hold("y")
    await a.write("x", b"2")
    await a.write("y", b"2")
    await a.sync()
    await b.sync()
    assert await b.read("x") == b"1"
    await b.patch("y", 0, b"3")
    b.release("x")
    b.release("y")
    picture = await settle(a, b)
    assert picture["x"] == b"2"
    assert {picture["y"], *await b.kept()} == {b"2", b"3"}


async def test_a_database_is_one_thing(computer: Callable[[str], Computer]) -> None:
    a, b = await joined(computer, {"s.db": DB, "s.db-wal": b"log"})
    await a.write("s.db-wal", b"log and a")
    await b.patch("s.db", 5000, b"b")
    picture = await settle(a, b)
    changed = DB[:5000] + b"b" + DB[5001:]
    kept = await a.kept()
    if picture["s.db"] == DB:
        assert picture["s.db-wal"] == b"log and a"
        assert kept == [changed, b"log"]
    else:
        assert picture["s.db"] == changed
        assert picture["s.db-wal"] == b"log"
        assert kept == [DB, b"log and a"]


async def test_what_stays_here_in_a_unit_is_not_replaced_with_it(computer: Callable[[str], Computer]) -> None:
    git = {"r/HEAD": b"ref: main", "r/objects/o": b"1", "r/refs/m": b"1"}
    a, b = await joined(computer, git)
    await b.write("r/objects/mine.lck", b"4711")
    await b.sync()
    assert "r/objects/mine.lck" not in await a.listing()
    await a.write("r/HEAD", b"ref: other")
    await a.sync()
    await b.follow()
    assert await b.read("r/objects/mine.lck") == b"4711"
    assert [(hold.path, hold.staying) for hold in b.engine.facts().holds] == [(b"r", b"mine.lck")], "and it is told"
    await b.remove("r/objects/mine.lck")
    assert (await settle(a, b))["r/HEAD"] == b"ref: other"
    assert b.engine.facts().holds == []


async def test_a_process_number_left_in_a_unit_goes_with_it(computer: Callable[[str], Computer]) -> None:
    """Postgres leaves `postmaster.pid` when it ends; what another machine wrote must come all the same."""
    a, b = await joined(computer, {"db/PG_VERSION": b"17", "db/base/1": b"1"})
    await b.write("db/postmaster.pid", b"4711")
    await b.sync()
    await a.write("db/base/1", b"2")
    await a.sync()
    await b.follow()
    assert await b.read("db/base/1") == b"2"
    assert b.engine.facts().holds == []


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs until it is ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        yield program
        program.kill()


@pytest.mark.parametrize("marker", ["PG_VERSION", "HEAD"])
async def test_a_database_is_not_replaced_while_its_server_runs(
    computer: Callable[[str], Computer], server: subprocess.Popen[bytes], marker: str
) -> None:
    """PGlite opens its files one by one as it starts and has much in memory: none of them is open now and then."""
    git = {"db/objects/1": b"1", "db/refs/1": b"1"} if marker == "HEAD" else {}
    a, b = await joined(computer, {f"db/{marker}": b"17", "db/base": b"1", **git})
    handle = b.tree.handles.open(await b.find("db/base"), writable=True, pid=server.pid)
    b.tree.handles.release(handle)
    await a.write("db/base", b"2")
    await a.sync()
    await b.follow()
    if marker == "HEAD":
        assert await b.read("db/base") == b"2", "nothing runs on a git directory"
    else:
        assert await b.read("db/base") == b"1"
        assert [(hold.path, hold.pids) for hold in b.engine.facts().holds] == [(b"db", (server.pid,))]
        await b.write("db/base", b"3")
    server.kill()
    server.wait()
    assert len((await settle(a, b))["db/base"] or b"") == 1
    assert len(await a.engine.decisions.list()) == (marker != "HEAD"), "what it wrote was made from what it had read"
    assert b.engine.facts().holds == []


async def test_a_machine_that_was_killed_goes_on(computer: Callable[[str], Computer]) -> None:
    a, b = await joined(computer, {"x": b"1", "d/y": b"1"})
    await a.write("x", b"2")
    await a.write("d/new", b"3")
    a.crash()
    await a.begin()
    await b.write("d/y", b"4")
    await b.commit()
    b.crash()
    await b.begin()
    picture = await settle(a, b)
    assert picture == {"x": b"2", "d": None, "d/new": b"3", "d/y": b"4"}
    b.crash()
    await b.begin()
    assert await b.listing() == picture


async def test_one_commit_costs_two_writes(computer: Callable[[str], Computer], backend: MemoryBackend) -> None:
    a, b = await joined(computer, {"transcript": b"line\n" * 2_000_000})
    before, objects = a.remote.requests.puts, set(backend.objects or {})
    await a.patch("transcript", 10_000_000, b"x" * 300)
    await a.commit()
    await a.publish()
    assert a.remote.requests.puts - before == 2
    new = {name: data for name, data in (backend.objects or {}).items() if name not in objects}
    assert sum(map(len, new.values())) <= 40 << 10
    await b.follow()
    lists = b.remote.requests.lists
    gets = b.remote.requests.gets
    await b.follow()
    assert (b.remote.requests.lists - lists, b.remote.requests.gets - gets) == (1, 0)


async def test_a_file_keeps_its_two_names_when_one_is_moved_elsewhere(computer: Callable[[str], Computer]) -> None:
    a, b = await joined(computer, {"d/x": b"1" * 1000, "e/y": b""})
    a.tree.names.link(await a.find("d/x"), await a.find("e"), b"z")
    await a.sync()
    await b.follow()
    await b.rename("d", "moved")
    await settle(a, b)
    for one in (a, b):
        assert await one.find("moved/x") == await one.find("e/z")
        assert one.tree.inode(await one.find("e/z")).nlink == 2
    await a.write("e/z", b"2")
    assert (await settle(a, b))["moved/x"] == b"2"


async def test_a_handoff_says_that_what_was_open_is_closed(computer: Callable[[str], Computer]) -> None:
    """The last commit was made while a program had the file open; nothing was written after it."""
    a, b = await joined(computer, {"x": b"1"})
    await a.hold("x")
    await a.write("x", b"2")
    await a.sync()
    await b.follow()
    assert open_on(b, "a") == [b"x"]
    a.release("x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.engine.run)
        await a.engine.begun.wait()
        await a.engine.handoff(20)
        nursery.cancel_scope.cancel()
    await b.follow()
    assert open_on(b, "a") == []


def open_on(computer: Computer, label: str) -> list[bytes]:
    """What a machine thinks that another has open."""
    return [item.path for device in computer.engine.facts().devices if device.label == label for item in device.open]


async def test_what_a_commit_is_being_made_of_is_not_published(
    computer: Callable[[str], Computer], monkeypatch: pytest.MonkeyPatch
) -> None:
    a = computer("a")
    await a.begin()
    await a.sync()
    assert sync_fact(a.engine.facts()).all_published
    await a.write("f", b"x" * 10_000)
    await a.write("g", b"y")
    before, during = sync_fact(a.engine.facts()), []
    real = Commits._seal

    async def looked_at(commits: Commits, cut: Cut) -> None:
        during.append(sync_fact(a.engine.facts()))
        await a.write("h", b"z")
        during.append(sync_fact(a.engine.facts()))
        await real(commits, cut)

    monkeypatch.setattr(Commits, "_seal", looked_at)
    assert await a.commit()
    after = sync_fact(a.engine.facts())
    assert before.pending.files == during[0].pending.files < during[1].pending.files
    assert before.pending.oldest == during[0].pending.oldest == during[1].pending.oldest
    assert (after.pending.commits, after.pending.files) == (1, during[1].pending.files - before.pending.files)
    assert not any(fact.all_published for fact in (before, *during, after))


async def test_a_commit_that_the_database_did_not_let_begin(
    computer: Callable[[str], Computer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves nothing behind that would be in the way of the next."""
    a, real = computer("a"), Ledger.lag
    await a.begin()
    await a.write("f", b"x")

    def fail(ledger: Ledger) -> list[Lag]:
        if not a.tree.changes.cutting:
            return real(ledger)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "lag", fail)
        with pytest.raises(OSError, match="Input/output"):
            await a.commit()
    assert await a.commit()
    assert not a.tree.blocks.pinned
