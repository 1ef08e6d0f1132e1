"""One machine works, hands off, the other goes on; both write, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from typing import TYPE_CHECKING, Any

from tests.machines_mounted.desk import Desk, differences, picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.machines_mounted.store import Store

FIRST = 1_600_000_000_123_456_789


def a_life(top: Path) -> sqlite3.Connection:
    """Everything an agent may leave in a directory; the database stays open."""
    (top / "d/e").mkdir(parents=True)
    (top / "d/e/deep").write_bytes(b"deep" * 5000)
    (top / "small").write_text("small")
    (top / "empty").touch()
    (top / "big").write_bytes(os.urandom(20 << 20))
    with (top / "holes").open("wb") as file:
        file.truncate(5 << 20)
        file.seek(3 << 20)
        file.write(b"in the middle")
    os.symlink("d/e/deep", top / "link")
    os.symlink("/nowhere", top / "dangling")
    os.link(top / "small", top / "d/again")
    os.setxattr(top / "small", "user.colour", b"green")
    (top / "script").write_text("#!/bin/sh\necho hello\n")
    (top / "script").chmod(0o755)
    (top / "secret").write_text("x")
    (top / "secret").chmod(0o600)
    (top / "närrisch name\n").write_text("odd")
    db = sqlite3.connect(top / "state.db", isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("create table t (x)")
    db.executemany("insert into t values (?)", [(str(n) * 50,) for n in range(500)])
    git(top, "init", "-q", "-b", "main", "repo")
    (top / "repo/file").write_text("one\n")
    git(top / "repo", "add", "file")
    git(top / "repo", "commit", "-qm", "one")
    for path in [*(top / "d").rglob("*"), top / "d", top / "empty"]:
        os.utime(path, ns=(FIRST, FIRST))
    return db


def git(where: Path, *words: str) -> str:
    """git, as nobody in particular."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*"]
    done = subprocess.run(["git", *identity, *words], cwd=where, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def seen(desk: Desk, *, times: bool = True) -> dict[str, Any]:
    """Without what never leaves a machine. `times`: with those of directories, which do not follow new names."""
    found = {name: what for name, what in picture(desk.mountpoint).items() if not name.endswith("-shm")}
    return (
        found if times else {name: what[:2] + what[3:] if what[0][:1] == "d" else what for name, what in found.items()}
    )


def test_a_works_hands_off_and_b_goes_on(desk: Callable[..., Desk]) -> None:
    a, b = desk("a"), desk("b")
    a.make()
    top = a.mount()
    db = a_life(top)
    assert a.json("handoff", "--vault", "vault")["published"] is True
    shutil.copy(a.key, b.key)
    b.mount()
    assert b.path("link").read_bytes() == b"deep" * 5000
    seen(b)  # how many names a file has is known when the directories have been looked into
    # git makes and removes files: a directory's own time follows those only until the first commit has seen it.
    assert not differences(seen(a, times=False), seen(b, times=False))
    assert {b.path(name).stat().st_mtime_ns for name in ("d", "d/e", "empty")} == {FIRST}
    assert {one["device"] for one in b.json("who", str(b.path("small")), str(b.path("state.db")))} == {"a"}
    with sqlite3.connect(f"file:{b.path('state.db')}?mode=ro", uri=True) as there:
        assert there.execute("pragma integrity_check").fetchone() == ("ok",)
        assert there.execute("select count(*) from t").fetchone() == (500,)
    there.close()
    assert "one" in git(b.path("repo"), "log", "--oneline")
    git(b.path("repo"), "fsck", "--strict")
    assert git(b.path("repo"), "status", "--porcelain") == ""

    b.path("small").write_text("by b")
    b.path("d/new").write_text("new")
    os.rename(b.path("d/e"), b.path("moved"))
    os.unlink(b.path("holes"))
    b.sync()
    a.until_reads("small", b"by b")
    a.until(lambda: a.path("moved/deep").exists() and not a.path("holes").exists())
    assert not differences(seen(b, times=False), seen(a, times=False))
    assert a.json("who", str(a.path("small")))[0]["device"] == "b"
    assert a.path("d/again").read_text() == "by b", "the other name of the same file"
    assert a.json("conflicts", "list", "--vault", "vault") == []
    db.execute("insert into t values ('more')")
    db.close()
    a.sync()
    b.sync()
    assert not differences(seen(b, times=False), seen(a, times=False))
    a.umount()
    b.umount()


def test_both_wrote(pair: tuple[Desk, Desk], store: Store) -> None:
    a, b = pair
    a.path("note").write_text("base")
    a.sync()
    b.until_reads("note", b"base")
    store.stop()  # both write without knowing of each other
    a.path("note").write_text("by a")
    time.sleep(0.05)  # the kernel's clock for files moves every 4 or 10 ms: B is to be the later one
    b.path("note").write_text("by b")
    store.start()
    a.sync()
    b.sync()
    a.sync()
    listed = a.json("conflicts", "list", "--vault", "vault")
    assert listed == b.json("conflicts", "list", "--vault", "vault")
    assert [(one["path"], one["label"]) for one in listed] == [("note", "a")], "the newer is in place"
    assert a.path("note").read_text() == b.path("note").read_text() == "by b"
    assert a.run("conflicts", "show", listed[0]["name"], "--vault", "vault").stdout == "by a"
    assert a.status()["sync"]["conflicts"] == 1
    b.run("conflicts", "keep", listed[0]["name"], "--vault", "vault")
    a.until_reads("note", b"by a")
    assert a.json("conflicts", "list", "--vault", "vault") == []
