"""The SQLite workers of the crash load: acknowledged transactions are there, and never a half one."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any, ClassVar

from tests.crash.claims import Crash, Log, Worker

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = """
create table if not exists entry(id integer primary key, body text not null);
create table if not exists total(one integer primary key check (one = 1), entries integer, length integer);
insert or ignore into total values (1, 0, 0);
"""


class Database(Worker):
    """Transactions that change two tables and an index, each acknowledged when `commit` has returned."""

    mode: ClassVar[str]
    synchronous: ClassVar[str] = "full"

    @property
    def path(self) -> Path:
        """The database."""
        return self.directory / f"{self.name}.db"

    def run(self, log: Log) -> None:
        db = sqlite3.connect(self.path, isolation_level=None)
        db.execute(f"pragma journal_mode={self.mode}")
        db.execute(f"pragma synchronous={self.synchronous}")
        db.execute("pragma cache_size=20")  # pages are spilled in mid-transaction
        db.executescript(SCHEMA)
        log.say("made")
        (first,) = db.execute("select entries from total").fetchone()
        for number in range(first + 1, 1_000_000):
            body = str(number) * self.rng.choice([1, 50, 3000])
            db.execute("begin immediate")
            db.execute("insert into entry values (?, ?)", (number, body))
            if number % 5 == 0:
                db.execute("update entry set body = body || '+' where id % 7 = ?", (number % 7,))
            query = "update total set entries = entries + 1, length = (select sum(length(body)) from entry)"
            db.execute(query)
            db.execute("commit")
            self.ask()
            log.say("committed", number=number)

    def ask(self) -> None:
        """Opens the directory, as SQLite did when it removed its journal. Raises `OSError` where nobody answers.

        SQLite syncs the directory after that, but if it cannot open it, it says that all is well: so it calls a
        commit done whose last request before was answered by a daemon that was gone for the next one.
        """
        os.close(os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY))

    def verify(self, log: list[dict[str, Any]], crash: Crash) -> list[str]:
        if not any(entry["event"] == "made" for entry in log) and not self.path.exists():
            return []
        committed = [entry for entry in log if entry["event"] == "committed"]
        acknowledged = max([0] + [entry["number"] for entry in committed])
        before = crash.at - max((entry["t"] for entry in committed), default=crash.at)
        try:
            found = self.inspect(acknowledged, log)
            return [f"{self.path.name}: {line} (the last one {before:.3f} s before the crash)" for line in found]
        except sqlite3.Error as error:
            return [f"{self.path.name}: {type(error).__name__}: {error} ({acknowledged} acknowledged)"]

    def inspect(self, acknowledged: int, log: list[dict[str, Any]]) -> list[str]:
        """Open it, which recovers, and look."""
        db = sqlite3.connect(self.path)
        try:
            (verdict,) = db.execute("pragma integrity_check").fetchone()
            if verdict != "ok":
                return [f"integrity_check: {verdict}"]
            (tables,) = db.execute("select count(*) from sqlite_master").fetchone()
            if not tables and (self.synchronous == "normal" or not any(e["event"] == "made" for e in log)):
                return []
            entries, length = db.execute("select entries, length from total").fetchone()
            count, highest, total = db.execute(
                "select count(*), coalesce(max(id), 0), coalesce(sum(length(body)), 0) from entry"
            ).fetchone()
        finally:
            db.close()
        wrong = []
        if not count == highest == entries or total != length:
            wrong.append(f"half a transaction: {count} rows, highest {highest}, counted {entries}, {total}/{length}")
        if self.synchronous != "normal" and highest < acknowledged:
            wrong.append(f"{highest} transactions, {acknowledged} were acknowledged")
        return wrong


class WalDatabase(Database):
    """Write-ahead log, fsync at every commit."""

    name, mode = "wal", "wal"


class DeleteDatabase(Database):
    """Rollback journal, deleted at every commit."""

    name, mode = "delete", "delete"
    # With "full" SQLite does not sync the directory after removing its journal, so a power cut may bring it back.
    synchronous: ClassVar[str] = "extra"


class LazyDatabase(Database):
    """Write-ahead log without fsync at commit: transactions may be lost, the database may not break."""

    name, mode, synchronous = "lazy", "wal", "normal"


def leave_no_core() -> None:
    """A mapping of a dead mount ends SQLite with SIGBUS: no core file for that."""
    import resource  # noqa: PLC0415

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ.pop("PYTHONFAULTHANDLER", None)
