"""What an agent does: a directory of 1,000 files, a transcript that grows, a database in use.

As a program it is the agent's process with the database open: `python -m benchmarks.handoff_agent DB ACKS RATE MARK`
makes RATE transactions a second until its input ends, and after each commit appends `number time` to the file ACKS.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = 1_000
TOTAL = 50_000_000
EVENTS = 2_000  # that are in a database before it is used
TRANSCRIPT = 10_000_000  # bytes; it and nine of 1 MB, the others share what is left
DATABASE = "hermes/state.db"
LOG = "sessions/transcript.jsonl"
EDITED = "memory/note-0007.md"


def line(number: int, size: int, dice: random.Random) -> bytes:
    """One line of a transcript: a third of it is random, the rest are words."""
    head = f'{{"n":{number},"id":"{dice.randbytes(size // 6).hex()}","text":"'
    text = " ".join(dice.choices(_WORDS, k=size // 4))
    return (head + text)[: size - 3].encode().ljust(size - 3, b".") + b'"}\n'


_WORDS = ["".join(random.Random(seed).choices("etaoinshrdlucmfw", k=2 + seed % 8)) for seed in range(3000)]


def make_directory(root: Path) -> int:
    """The agent's directory without its database; how many bytes. Always the same."""
    dice = random.Random(20)
    sizes = {LOG: TRANSCRIPT} | {f"sessions/old-{n}.jsonl": 1_000_000 for n in range(9)}
    left = FILES - len(sizes) - 1
    small = (TOTAL - sum(sizes.values())) // left
    kinds = ("memory/note-%04d.md", "skills/s%04d/SKILL.md", "cache/page-%04d.json")
    sizes |= {kinds[n % 3] % n: small // 2 + dice.randrange(small) for n in range(left)}
    sizes[EDITED] = 200
    for name, size in sizes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            written = 0
            while written < size:
                written += file.write(line(written, min(300, max(60, size - written)), dice))
    make_database(root / DATABASE)
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def make_database(path: Path) -> None:
    """A database in WAL mode, 2 MB: `events`, its index and `totals` change together in each transaction."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma journal_mode=wal")
        db.execute("create table events (n integer primary key, mark text, body blob)")
        db.execute("create index bodies on events (body)")
        db.execute("create table totals (mark text primary key, count integer)")
        bodies = random.Random(3)
        db.executemany(
            "insert into events (mark, body) values (?, ?)",
            (("before", bodies.randbytes(400)) for _ in range(EVENTS)),
        )
        db.execute("insert into totals values (?, ?)", ("before", EVENTS))
        db.commit()


def insert(db: sqlite3.Connection, mark: str) -> int:
    """One transaction: one event more, an old one changed; the number of the new event."""
    with db:
        db.execute("update events set body = ? where n = ?", (os.urandom(400), random.randrange(EVENTS) + 1))
        number: int = db.execute(
            "insert into events (mark, body) values (?, ?) returning n", (mark, os.urandom(400))
        ).fetchone()[0]
        db.execute(
            "insert into totals values (?, 1) on conflict (mark) do update set count = count + 1",
            (mark,),
        )
    return number


def main() -> None:
    path, acks, rate, mark = sys.argv[1:]
    os.set_blocking(0, False)
    with closing(sqlite3.connect(path, timeout=30)) as db, open(acks, "ab", buffering=0) as file:
        db.execute("pragma wal_autocheckpoint=200")  # about one checkpoint a second
        while True:
            number = insert(db, mark)
            file.write(b"%d %.6f\n" % (number, time.time()))
            time.sleep(1 / float(rate))
            if sys.stdin.buffer.read(1) is not None:
                return


class Writer:
    """That process, as the benchmark sees it."""

    def __init__(self, process: subprocess.Popen[bytes], acks: Path) -> None:
        self.process = process
        self.acks = acks

    def acknowledged(self) -> list[tuple[int, float]]:
        """(number, time) of each transaction that was acknowledged."""
        whole = self.acks.read_bytes().rpartition(b"\n")[0]
        return [(int(number), float(when)) for number, when in (row.split() for row in whole.splitlines())]

    def wait_for(self, count: int) -> None:
        """Until it has made that many transactions."""
        limit = time.monotonic() + 60
        while len(self.acknowledged()) < count:
            if self.process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError("the program with the database ended, or is stuck")
            time.sleep(0.02)

    def end(self) -> None:
        """It closes the database and ends."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def writing(database: Path, acks: Path, rate: float, mark: str) -> Iterator[Writer]:
    """A program that makes `rate` transactions a second while the block runs."""
    acks.touch()
    command = [sys.executable, "-m", "benchmarks.handoff_agent", str(database), str(acks), str(rate), mark]
    writer = Writer(subprocess.Popen(command, stdin=subprocess.PIPE), acks)
    try:
        writer.wait_for(1)
        yield writer
    finally:
        writer.end()


def state(database: Path) -> dict[str, Any]:
    """What is in a database that nobody else has open: rows per mark, the last number, and what is wrong with it."""
    found: dict[str, Any] = {"fault": "", "rows": {}, "last": 0}
    try:
        with closing(sqlite3.connect(database)) as db:
            verdict = db.execute("pragma integrity_check").fetchone()[0]
            rows = dict(db.execute("select mark, count(*) from events group by mark").fetchall())
            totals = dict(db.execute("select mark, count from totals").fetchall())
            count, last = db.execute("select count(*), max(n) from events").fetchone()
    except sqlite3.Error as error:
        found["fault"] = str(error)
        return found
    found |= {"rows": rows, "last": last}
    if verdict != "ok":
        found["fault"] = f"integrity_check: {verdict.splitlines()[0]}"
    elif count != last:
        found["fault"] = "transactions are missing in the middle"
    elif rows != totals:
        found["fault"] = f"half a transaction: {json.dumps(rows)} and {json.dumps(totals)}"
    return found


if __name__ == "__main__":
    main()
