"""Invariant 2: with databases written to without pause, every commit is one instant."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from tests.machines_mounted.commits import visit_commits
from tests.machines_mounted.conftest import join
from tests.machines_mounted.writing import acknowledged, judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.machines_mounted.desk import Desk
    from tests.machines_mounted.store import Store
    from vaultfs.format.head import Head

#: name, synchronous, pages until a checkpoint, and whether a commit must hold what was acknowledged
WRITERS = [("full", "full", "60", True), ("normal", "normal", "150", True), ("off", "off", "90", False)]
RAPID = {
    "VAULTFS_COMMIT_AFTER": "0.05",
    "VAULTFS_COMMIT_EVERY": "0.05",
    "VAULTFS_POLL": "0.1",
    "VAULTFS_IDLE_POLL": "0.2",
}


AT_MOST_SECONDS = 45


class Judge:
    """Looks at commits; what is wrong is in `wrong`."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.said: dict[str, list[tuple[int, int]]] = {}
        self.newest = 0
        self.wrong: list[str] = []
        self.torn: list[str] = []
        self.seen = self.merges = self.read = 0
        self.transactions = 0

    def more(self, vault: Path, key: Path) -> None:
        """The commits that have come since the last time; what was said is known up to now, which is after them."""
        numbers = visit_commits(vault, key, "a", self, after=self.newest)
        self.newest = max([self.newest, *numbers])

    def __call__(self, head: Head, tree: Path, cut: bool) -> None:
        """One commit. A merge has the time when it was made, and what was cut before."""
        if not self.seen % 10 or head.time > self.read:
            self.read = time.time_ns()
            self.said = {name: acknowledged(str(self.logs / name)) for name, *_ in WRITERS}
        self.seen += 1
        self.merges += not cut
        for name, _, _, whole in WRITERS:
            path = tree / f"d/{name}.db"
            need = max([number for number, moment in self.said[name] if cut and moment < head.time], default=0)
            if not path.exists():
                if need:
                    self.wrong.append(f"commit {head.number}: no {path.name}")
                continue
            said = judge(str(path), need if whole else 0)
            if said:
                (self.wrong if whole else self.torn).append(f"commit {head.number}: {path.name}: {said}")
            self.transactions = max(self.transactions, need)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_invariant_2_every_commit_holds_what_was_acknowledged_before_it(
    request: pytest.FixtureRequest, desk: Callable[..., Desk], store: Store, base: Path
) -> None:
    """Three writers on A; B looks at them all the time; then every commit that A published is opened."""
    wanted = request.config.getoption("--commits")
    a, b = desk("a", pace=RAPID), desk("b", pace=RAPID)
    join(a, b)
    a.path("d").mkdir()
    logs = base / "logs"
    logs.mkdir()
    writers = [
        a.start("writing", "database", str(a.path(f"d/{name}.db")), str(logs / name), synchronous, pages)
        for name, synchronous, pages, _ in WRITERS
    ]
    found, looked, seen_there = Judge(logs), 0, []
    limit = time.monotonic() + max(AT_MOST_SECONDS, 0.5 * (wanted - 200))
    while found.seen < wanted and time.monotonic() < limit:
        assert all(writer.poll() is None for writer in writers), "a writer ended"
        for _ in range(5):
            for name in (name for name, *_, whole in WRITERS if whole):
                if b.path(f"d/{name}.db").exists():
                    seen_there += look(b.path(f"d/{name}.db"))
                    looked += 1
        found.more(store.vault, a.key)
    for writer in writers:
        a.end(writer)
    a.sync()
    found.more(store.vault, a.key)
    told = f"{found.seen} commits ({found.merges} merges), {found.transactions} transactions, {looked} looks on b"
    print(f"{told}; without synchronous {len(found.torn)} torn")  # noqa: T201 - what was shown, and by how much
    assert not found.wrong, f"{len(found.wrong)} of {found.seen}:\n" + "\n".join(found.wrong[:20])
    assert not seen_there, f"{len(seen_there)} of {looked} on b:\n" + "\n".join(seen_there[:20])
    assert found.seen >= min(wanted, 40), "too few commits to prove anything"
    assert looked > 20
    assert a.json("conflicts", "list", "--vault", "vault") == [], "who reads changes nothing"
    b.sync()
    assert b.now()["sync"]["conflicts"] == 0


def look(path: Path) -> list[str]:
    """A program on B that reads the database, as it comes."""
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=90)
        try:
            (verdict,) = db.execute("pragma integrity_check").fetchone()
            if verdict != "ok":
                return [f"{path.name}: {verdict}"]
            for entries, highest in db.execute("select entries, (select max(id) from entry) from total"):
                if entries != (highest or 0):
                    return [f"{path.name}: {highest} of {entries}"]
        finally:
            db.close()
    except sqlite3.Error as error:
        # Cut while it was being made: there are no tables yet, or a journal says how to undo, for who may write.
        if "no such table" in str(error) or error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK:
            return []
        return [f"{path.name}: {error.sqlite_errorname}: {error}"]
    return []
