"""Programs that work in a mount until they are ended: `python -m tests.machines_mounted.writing KIND PATH LOG ...`.

A database writer says in LOG, one line each, the number of a transaction and when it was acknowledged (nanoseconds
since 1970, taken after COMMIT returned).
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import time

SCHEMA = """
create table if not exists entry(id integer primary key, body text not null);
create index if not exists by_body on entry(body);
create table if not exists total(one integer primary key check (one = 1), entries integer, length integer);
insert or ignore into total values (1, 0, 0);
"""
KEPT = 150  # rows: the database stays small, its pages are used again and again


def database(path: str, log: str, synchronous: str, checkpoint: str) -> None:
    """Transactions over two tables and an index, without a pause; a checkpoint after every so many pages."""
    db = sqlite3.connect(path, isolation_level=None, timeout=60)
    db.execute("pragma journal_mode=wal")
    db.execute(f"pragma synchronous={synchronous}")
    db.execute(f"pragma wal_autocheckpoint={checkpoint}")
    db.execute("pragma cache_size=40")  # pages are spilled in mid-transaction
    db.executescript(SCHEMA)
    out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    rng = random.Random(path)
    (number,) = db.execute("select entries from total").fetchone()
    while True:
        number += 1
        body = rng.randbytes(rng.choice([4, 200, 1500])).hex()
        db.execute("begin immediate")
        db.execute("insert into entry values (?, ?)", (number, body))
        db.execute("delete from entry where id <= ?", (number - KEPT,))
        db.execute("update total set entries = ?, length = (select sum(length(body)) from entry)", (number,))
        db.execute("commit")
        os.write(out, b"%d %d\n" % (number, time.time_ns()))


def judge(path: str, need: int) -> str:  # noqa: PLR0911 - one fault after the other
    """What is wrong with a database of which `need` transactions were acknowledged; "" if nothing."""
    db = sqlite3.connect(path)
    try:
        (verdict,) = db.execute("pragma integrity_check").fetchone()
        if verdict != "ok":
            return f"integrity_check: {verdict}"
        if not db.execute("select count(*) from sqlite_master where name = 'total'").fetchone()[0]:
            return "no tables" if need else ""
        totals = db.execute("select entries, length from total").fetchone()
        if totals is None:  # the tables have only just been made
            return "no transaction" if need else ""
        entries, length = totals
        count, highest, total = db.execute(
            "select count(*), coalesce(max(id), 0), coalesce(sum(length(body)), 0) from entry"
        ).fetchone()
    except sqlite3.Error as error:
        return f"{type(error).__name__}: {error}"
    finally:
        db.close()
    if highest != entries or count != min(KEPT, entries) or total != (length or 0):
        return f"half a transaction: {count} rows, highest {highest}, counted {entries}, {total}/{length}"
    if highest < need:
        return f"{highest} transactions, {need} were acknowledged"
    return ""


def acknowledged(log: str) -> list[tuple[int, int]]:
    """What a database writer said: numbers, and when."""
    if not os.path.exists(log):
        return []
    with open(log) as file:
        lines = file.read().split("\n")[:-1]
    return [(int(number), int(moment)) for number, moment in (line.split() for line in lines)]


def append(path: str, log: str, pause: str) -> None:
    """Lines at the end of a file that stays open."""
    out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    with open(path, "ab", buffering=0) as file:
        number = 0
        while True:
            number += 1
            file.write(b"line %06d of a session that grows\n" % number)
            os.write(out, b"%d %d\n" % (number, time.time_ns()))
            time.sleep(float(pause))


def main() -> None:
    kind, *arguments = sys.argv[1:]
    {"database": database, "append": append}[kind](*arguments)


if __name__ == "__main__":
    main()
