"""Before a cut the kernel hands over: whatever was acknowledged before is in the tree."""

from __future__ import annotations

import contextlib
import mmap
import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.cutting import WRITERS
from tests.support.served import Served, served
from tests.support.users import User, as_user

if TYPE_CHECKING:
    from collections.abc import Iterator

CUTS = 120
NOBODY = User(pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse"),
]

WRITER = """
import mmap, os, sqlite3, struct, sys
path, acknowledged, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
said = mmap.mmap(os.open(acknowledged, os.O_RDWR), 0)
db = sqlite3.connect(path, timeout=60, isolation_level=None)
db.execute("pragma journal_mode=wal")
db.execute("pragma synchronous=normal")
db.execute(f"pragma wal_autocheckpoint={(1000, 50, 200)[at]}")
db.execute(f"pragma mmap_size={(0, 0, 1 << 26)[at]}")
db.execute("create table if not exists entry(seq integer primary key, body blob)")
n = 0
while True:
    n += 1
    db.execute("insert into entry values (?, randomblob(?))", (n, n * 37 % 3000))
    if n > 400:
        db.execute("delete from entry where seq = ?", (n - 400,))
    struct.pack_into("<q", said, 8 * at, n)
"""


@pytest.fixture
def outside() -> Iterator[Path]:
    """Not in the mount."""
    path = Path(tempfile.mkdtemp(prefix="vaultfs-handover-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def writers(vault: Served, acknowledged: Path) -> Iterator[None]:
    """Three databases written to without pause."""
    acknowledged.write_bytes(bytes(mmap.PAGESIZE))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(vault.mountpoint / f"{at}.db"), str(acknowledged), str(at)],
        )
        for at in range(WRITERS)
    ]
    try:
        yield
        assert [process.poll() for process in running] == [None] * WRITERS
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_every_transaction_acknowledged_before_the_cut_is_in_it(outside: Path) -> None:
    acknowledged = outside / "acknowledged"
    lacking, before, last = [], [0] * WRITERS, [0] * WRITERS
    with served("tests.support.cutting:control") as vault, writers(vault, acknowledged):
        while not all(before):
            (outside / "first").mkdir(exist_ok=True)
            before = vault.ask(cut=str(outside / "first"), acknowledged=str(acknowledged))["before"]
        for cut in range(CUTS):
            target = outside / str(cut)
            target.mkdir()
            before = vault.ask(cut=str(target), acknowledged=str(acknowledged))["before"]
            for at in range(WRITERS):
                db = sqlite3.connect(target / f"{at}.db")
                assert db.execute("pragma integrity_check").fetchone() == ("ok",)
                newest, count = db.execute("select max(seq), count(*) from entry").fetchone()
                db.close()
                if newest < before[at]:
                    lacking.append((cut, at, before[at] - newest))
                assert count >= min(newest, 400)
                last[at] = newest
            shutil.rmtree(target)
    assert not lacking
    assert min(last) > 400, "the writers got somewhere"


def test_what_is_only_in_the_page_cache_comes_whatever_became_of_the_name() -> None:
    with served("tests.support.cutting:control") as vault:
        root = vault.mountpoint
        made = [open(root / name, "wb", buffering=0) for name in ("kept", "renamed", "removed", "replaced")]  # noqa: SIM115
        inos = [os.fstat(file.fileno()).st_ino for file in made]
        (root / "d").mkdir()
        os.rename(root / "renamed", root / "d" / "elsewhere")
        os.unlink(root / "removed")
        (root / "new").write_bytes(b"")
        os.rename(root / "new", root / "replaced")
        os.mkfifo(root / "fifo")
        for file in made:
            file.write(b"cached")
        found = vault.ask(content=inos)
        assert found["before"] == [0] * 4, "the test wants pages that the kernel has not sent"
        assert found["after"] == ["cached"] * 4
        assert vault.ask(writers=inos) == {"writers": 4, "used": [True] * 4}
        for file in made:
            file.close()


def test_a_file_that_was_handed_over_goes_with_its_last_name() -> None:
    with served("tests.support.cutting:control") as vault:
        path = vault.mountpoint / "file"
        with open(path, "wb", buffering=0) as file:
            ino = os.fstat(file.fileno()).st_ino
            file.write(b"cached")
            assert vault.ask(content=[ino])["after"] == ["cached"]
        path.unlink()
        assert any(vault.ask(gone=ino, wait=seconds)["gone"] for seconds in (0, 0.1, 1, 5))


def test_a_shared_mapping_is_handed_over() -> None:
    with served("tests.support.cutting:control") as vault:
        path = vault.mountpoint / "mapped"
        path.write_bytes(b"a" * 10_000)
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            ino = os.fstat(file.fileno()).st_ino
            file.close()
            mapped[5000:5005] = b"later"
            assert vault.ask(content=[ino])["after"] == ["a" * 5000 + "later" + "a" * 4995]


@pytest.mark.root
def test_a_file_that_may_not_be_opened_is_handed_over_all_the_same() -> None:
    with served("tests.support.cutting:control", user=NOBODY) as vault:
        path = vault.mountpoint / "secret"

        def body() -> None:
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0)
            os.write(descriptor, b"cached")
            found = vault.ask(content=[os.fstat(descriptor).st_ino])
            assert found == {"before": [0], "after": ["cached"]}
            os.close(descriptor)

        as_user(NOBODY, body)


def test_nobody_else_finds_the_hidden_directories() -> None:
    with served("tests.support.cutting:control") as vault:
        hidden = vault.mountpoint / ".vaultfs"
        (vault.mountpoint / "f").write_bytes(b"f")
        ino = (vault.mountpoint / "f").stat().st_ino
        with open(vault.mountpoint / "f", "ab", buffering=0) as file:
            file.write(b"more")
            assert vault.ask(content=[ino])["after"] == ["fmore"]
        for name in ("open", "staging", f"open/{ino}"):
            assert not (hidden / name).exists()
        assert sorted(os.listdir(hidden)) == ["conflicts", "status"]
