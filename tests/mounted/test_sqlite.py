"""SQLite in every journal mode, from several processes at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.users import in_child

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import sqlite3, sys
path, mode, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
db = sqlite3.connect(path, timeout=60, isolation_level=None)
db.execute(f"pragma journal_mode={mode}")
for n in range(count):
    db.execute("begin immediate")
    (last,) = db.execute("select coalesce(max(seq), 0) from entry").fetchone()
    db.execute("insert into entry values (?, ?, ?, ?)", (last + 1, who, n, "x" * (n % 400)))
    db.execute("update counter set n = n + 1")
    db.execute("commit")
"""
WRITERS, EACH = 3, 40
MODES = ["delete", "truncate", "persist", "memory", "off", "wal"]


def schema(path: Path, mode: str) -> None:
    db = sqlite3.connect(path)
    assert db.execute(f"pragma journal_mode={mode}").fetchone() == (mode,)
    db.execute("create table entry(seq integer primary key, who integer, n integer, body text)")
    db.execute("create table counter(n integer)")
    db.execute("insert into counter values (0)")
    db.commit()
    db.close()


@pytest.mark.parametrize("mode", MODES)
def test_several_writers(work: Path, mode: str) -> None:
    path = work / "test.db"
    schema(path, mode)
    arguments = [sys.executable, "-c", WRITER, str(path), mode]
    running = [subprocess.Popen([*arguments, str(who), str(EACH)]) for who in range(WRITERS)]
    reader = sqlite3.connect(path, timeout=60)
    seen = 0
    while any(process.poll() is None for process in running):
        count, highest = reader.execute("select count(*), coalesce(max(seq), 0) from entry").fetchone()
        assert count == highest >= seen, "a reader saw half a transaction, or time run backwards"
        seen = count
    assert [process.returncode for process in running] == [0] * WRITERS
    assert reader.execute("pragma integrity_check").fetchone() == ("ok",)
    assert reader.execute("select n from counter").fetchone() == (WRITERS * EACH,)
    rows = reader.execute("select who, n from entry order by who, n").fetchall()
    assert rows == [(who, n) for who in range(WRITERS) for n in range(EACH)]
    reader.close()


def test_wal_index_is_shared(work: Path) -> None:
    """What one process commits another reads from the -wal at once, by way of the mapped -shm."""
    path = work / "test.db"
    schema(path, "wal")
    mine = sqlite3.connect(path, isolation_level=None)
    mine.execute("pragma wal_autocheckpoint=0")
    mine.execute("insert into entry values (1, 0, 0, 'here')")
    assert (work / "test.db-shm").exists()

    def child() -> list[tuple[str]]:
        db = sqlite3.connect(path, isolation_level=None, timeout=90)
        found = db.execute("select body from entry").fetchall()
        db.execute("insert into entry values (2, 0, 0, 'there')")
        return found

    assert in_child(child) == [("here",)]
    assert mine.execute("select body from entry").fetchall() == [("here",), ("there",)]
    assert mine.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0
    mine.close()
    assert sorted(entry.name for entry in work.iterdir()) == ["test.db"]


@pytest.mark.parametrize("size", [0, 1 << 26])
def test_vacuum_backup_and_mmap(work: Path, size: int) -> None:
    path = work / "test.db"
    schema(path, "wal")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"pragma mmap_size={size}")
    db.executemany("insert into entry values (?, 0, 0, ?)", [(n, "y" * (n % 2000)) for n in range(3000)])
    db.execute("delete from entry where seq % 3")
    db.execute("vacuum")
    copy = sqlite3.connect(work / "copy.db")
    db.backup(copy)
    for each in (db, copy):
        assert each.execute("pragma integrity_check").fetchone() == ("ok",)
        assert each.execute("select count(*) from entry").fetchone() == (1000,)
        each.close()


def test_a_transaction_that_dies_is_rolled_back(work: Path) -> None:
    path = work / "test.db"
    schema(path, "delete")
    code = (
        "import os, signal, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('pragma cache_size=5'); db.execute('begin immediate');"
        "db.executemany('insert into entry values (?, 0, 0, ?)', [(n, 'z' * 3000) for n in range(200)]);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert (work / "test.db-journal").exists(), "the test wants pages spilled before the commit"
    db = sqlite3.connect(path)
    assert db.execute("select count(*) from entry").fetchone() == (0,)
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    db.close()
