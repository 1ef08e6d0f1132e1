"""What is open on a machine waits there; who watches or reads sees whole versions."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.machines_mounted.desk import differences, picture
from tests.support.watching import Watch

if TYPE_CHECKING:
    from tests.machines_mounted.desk import Desk
    from tests.machines_mounted.store import Store


def shared(a: Desk, b: Desk, name: str, text: str = "base") -> None:
    """Both have the file."""
    a.path(name).write_text(text)
    a.sync()
    b.until_reads(name, text.encode())


def test_invariant_9_a_file_that_is_open_for_writing_waits(pair: tuple[Desk, Desk]) -> None:
    a, b = pair
    shared(a, b, "note")
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; f = open(sys.argv[1], 'r+'); print('open', flush=True); input(); f.close()",
         str(b.path("note"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    b.helpers.append(holder)  # type: ignore[arg-type]
    assert holder.stdin
    assert holder.stdout
    assert holder.stdout.readline() == "open\n"
    a.path("note").write_text("newer")
    a.sync()
    (hold,) = b.until(lambda: b.now()["sync"]["holds"], say="a hold")
    assert hold["path"] == "note"
    assert holder.pid in hold["pids"]
    assert b.path("note").read_text() == "base", "nothing happens to it while it is open"
    assert "note" in b.run("status", "--vault", "vault").stdout
    holder.stdin.write("\n")
    holder.stdin.close()
    holder.wait(90)
    b.helpers.clear()
    b.until_reads("note", b"newer")
    b.until(lambda: not b.now()["sync"]["holds"])
    assert b.json("conflicts", "list", "--vault", "vault") == []


def test_what_is_written_to_it_meanwhile_is_kept_too(pair: tuple[Desk, Desk]) -> None:
    a, b = pair
    shared(a, b, "note")
    with b.path("note").open("r+") as held:
        a.path("note").write_text("by a")
        a.sync()
        b.until(lambda: b.now()["sync"]["holds"], say="a hold")
        held.write("by b")
    b.sync()
    a.sync()
    for one in (a, b):
        one.until_reads("note", b"by b")
        (kept,) = one.json("conflicts", "list", "--vault", "vault")
        assert one.run("conflicts", "show", kept["name"], "--vault", "vault").stdout == "by a"


def test_a_watcher_sees_what_another_machine_did(pair: tuple[Desk, Desk]) -> None:
    a, b = pair
    a.path("d").mkdir()
    shared(a, b, "d/changed")
    shared(a, b, "d/removed")
    with Watch(b.path("d")) as watch:
        a.path("d/changed").write_text("x")
        a.path("d/removed").unlink()
        a.path("d/new").write_text("y")
        a.sync()
        names: set[str] = set()
        while names < {"changed", "removed", "new"} and (events := watch.seen(1)):
            names |= {name for _, name in events}
    assert names == {"changed", "removed", "new"}


def test_a_reader_sees_whole_versions_during_a_hundred_replacements(pair: tuple[Desk, Desk]) -> None:
    a, b = pair
    size = 150_000
    a.path("file").write_bytes(b"000\n" * size)
    a.sync()
    b.until_reads("file", b"000\n" * size)
    wrong: list[str] = []
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                data = b.path("file").read_bytes()
            except OSError as error:
                wrong.append(f"{error}")
                continue
            seen.add(data[:4])
            if data != data[:4] * size:
                wrong.append(f"{len(data)} bytes, {len(set(data.split()))} versions")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 101):
            new = a.path("file.new")
            new.write_bytes(b"%03d\n" % number * size)
            os.rename(new, a.path("file"))
            if number % 3 == 0:
                b.until(lambda n=number: b.path("file").read_bytes()[:4] >= b"%03d\n" % n)
        b.until_reads("file", b"100\n" * size)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert not wrong, f"{len(wrong)}: {wrong[:5]}"
    assert len(seen) > 20, "the reader must have met many versions"


def test_what_belongs_to_one_machine_stays_there(pair: tuple[Desk, Desk]) -> None:
    a, b = pair
    a.path("d").mkdir()
    for name in ("state.db-shm", "d/agent.pid", "d/x.lock", "here"):
        a.path(name).write_text(name)
    os.setxattr(a.path("here"), "user.vaultfs.scope", b"node")
    os.mkfifo(a.path("d/pipe"))
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(a.path("d"))  # the whole path is too long for a socket
        try:
            one.bind("agent.sock")
        finally:
            os.chdir("/")
    a.path("d/shared").write_text("shared")
    a.sync()
    b.until_reads("d/shared", b"shared")
    assert sorted(picture(b.mountpoint)) == ["d", "d/shared"]
    b.path("d/shared").write_text("back")
    b.sync()
    a.until_reads("d/shared", b"back")
    assert a.path("d/agent.pid").read_text() == "d/agent.pid"
    assert a.path("here").exists()
    assert a.path("d/agent.sock").is_socket()
    found = differences(picture(a.mountpoint), picture(b.mountpoint))
    assert sorted(line.split(":")[0] for line in found) == [
        "d/agent.pid", "d/agent.sock", "d/pipe", "d/x.lock", "here", "state.db-shm",
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["read", "write"])
def test_a_database_is_held_as_one(pair: tuple[Desk, Desk], how: str) -> None:
    """Its -wal too, by who has only one of them open."""
    import sqlite3  # noqa: PLC0415

    a, b = pair
    db = sqlite3.connect(a.path("s.db"), isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("create table t (x)")
    a.sync()
    b.until(lambda: b.path("s.db").exists())
    mode = "ro" if how == "read" else "rw"
    there = sqlite3.connect(f"file:{b.path('s.db')}?mode={mode}", uri=True, isolation_level=None)
    assert there.execute("select count(*) from t").fetchone() == (0,)
    db.executemany("insert into t values (?)", [(n,) for n in range(500)])
    db.execute("pragma wal_checkpoint")
    db.execute("insert into t values (1)")
    a.sync()
    b.sync()  # A may have published while it wrote: what is held is all of it
    b.until(lambda: b.now()["sync"]["holds"], say="a hold")
    assert there.execute("select count(*) from t").fetchone() == (0,)
    if how == "read":
        there.close()
        b.until(lambda: not b.now()["sync"]["lag"], say="in place")
        again = sqlite3.connect(f"file:{b.path('s.db')}?mode=ro", uri=True)
        assert again.execute("pragma integrity_check").fetchone() == ("ok",)
        assert again.execute("select count(*) from t").fetchone() == (501,)
        again.close()
    else:
        there.execute("insert into t values ('b')")
        there.close()
        b.sync()
        a.sync()
        assert len(a.json("conflicts", "list", "--vault", "vault")) == 1
    db.close()


def test_who_only_reads_a_database_publishes_nothing(pair: tuple[Desk, Desk], store: Store) -> None:
    import sqlite3  # noqa: PLC0415

    a, b = pair
    db = sqlite3.connect(a.path("s.db"), isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("create table t (x)")
    a.sync()
    b.until(lambda: b.path("s.db").exists())
    b.sync()
    before = store.objects()
    there = sqlite3.connect(f"file:{b.path('s.db')}?mode=ro", uri=True)
    assert there.execute("select count(*) from t").fetchone() == (0,)
    there.close()
    b.sync()
    assert b.path("s.db-shm").exists(), "it did make something"
    assert store.objects().keys() == before.keys()
    db.close()
