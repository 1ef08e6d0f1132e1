"""A database is looked at on a copy in memory, which is what the live one was at one moment, and is gone afterwards."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vaultfs.agents.doctor import databases
from vaultfs.agents.doctor.databases import NotLookedAtError, memory, opened

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    place = memory()
    if place is None:
        pytest.skip("no tmpfs of this user's here")
    before = set(Path(place).glob("vaultfs-doctor-*"))
    yield
    assert set(Path(place).glob("vaultfs-doctor-*")) <= before


def make(path: Path, *, wal: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
    connection.execute("CREATE TABLE t(x)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO t VALUES(?)", [(os.urandom(200).hex(),) for _ in range(200)])
    connection.execute("COMMIT")
    return connection


def test_what_is_in_the_log_only_is_seen_and_the_live_files_are_not_touched(tmp_path: Path) -> None:
    live = make(tmp_path / "state.db", wal=True)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    with opened(str(tmp_path / "state.db")) as copy:
        assert copy.execute("SELECT count(*) FROM t").get == 200
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()} == before
    live.close()


def test_a_hot_journal_is_rolled_back_on_the_copy(tmp_path: Path) -> None:
    live = make(tmp_path / "live.db", wal=False)
    live.execute("PRAGMA cache_size=1")
    live.execute("BEGIN")
    live.execute("UPDATE t SET x='torn'")  # spills into the file
    for end in ("", "-journal"):
        shutil.copy(tmp_path / f"live.db{end}", tmp_path / f"dead.db{end}")
    live.close()
    with opened(str(tmp_path / "dead.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").get == "ok"
        assert copy.execute("SELECT count(*) FROM t WHERE x='torn'").get == 0
    assert (tmp_path / "dead.db-journal").exists()


def test_damage_is_found_and_what_is_well_is_not_damaged(tmp_path: Path) -> None:
    make(tmp_path / "good.db", wal=False).close()
    shutil.copy(tmp_path / "good.db", tmp_path / "bad.db")
    with (tmp_path / "bad.db").open("r+b") as file:
        file.seek(3 * 4096)
        file.write(os.urandom(4096))
    assert databases._examine(str(tmp_path / "good.db")) == ""
    assert databases._examine(str(tmp_path / "bad.db")) != ""


def test_one_that_is_written_to_all_the_time_is_told_so_or_whole(tmp_path: Path) -> None:
    live, stop = make(tmp_path / "busy.db", wal=True), threading.Event()

    def work() -> None:
        while not stop.is_set():
            live.execute("INSERT INTO t VALUES('x')")
            live.execute("DELETE FROM t WHERE rowid = (SELECT min(rowid) FROM t)")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(5):
            try:
                assert databases._check(str(tmp_path / "busy.db")) == ""
            except NotLookedAtError as error:
                assert "all the time" in str(error)  # noqa: PT017 - both are right
    finally:
        stop.set()
        worker.join()
        live.close()


def test_what_cannot_be_copied_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.db").write_text("not a database")
    (tmp_path / "link.db").symlink_to(tmp_path / "text.db")
    for name, why in (("text.db", "no database"), ("link.db", "cannot be read"), ("none.db", "cannot be read")):
        with pytest.raises(NotLookedAtError, match=why), opened(str(tmp_path / name)):
            pass
    make(tmp_path / "large.db", wal=False).close()
    monkeypatch.setattr(databases, "LARGEST", 1000)
    with pytest.raises(NotLookedAtError, match="larger"), opened(str(tmp_path / "large.db")):
        pass
    monkeypatch.setattr(databases, "memory", lambda: None)
    with pytest.raises(NotLookedAtError, match="private"), opened(str(tmp_path / "large.db")):
        pass


def test_what_this_sqlite_cannot_do_is_no_damage(tmp_path: Path) -> None:
    live = make(tmp_path / "own.db", wal=False)
    live.create_function("ours", 1, lambda value: value, deterministic=True)
    live.execute("CREATE TABLE checked(x CHECK(ours(x) > 0))")
    live.execute("INSERT INTO checked VALUES(1)")
    live.close()
    with pytest.raises(NotLookedAtError, match="ours"):
        databases._check(str(tmp_path / "own.db"))
