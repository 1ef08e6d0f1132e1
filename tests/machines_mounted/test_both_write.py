"""Both machines write to one database at once: each version that anybody has stays whole."""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING

from tests.machines_mounted.commits import visit_commits
from tests.machines_mounted.conftest import join
from tests.machines_mounted.writing import acknowledged, judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.machines_mounted.desk import Desk
    from tests.machines_mounted.store import Store
    from vaultfs.format.head import Head


def test_one_database_written_on_both_sides(  # noqa: C901 - one story
    desk: Callable[..., Desk], store: Store, base: Path
) -> None:
    """A writes all the time and keeps it open; B writes now and then."""
    a, b = desk("a"), desk("b")
    join(a, b)
    a.path("d").mkdir()
    (base / "logs").mkdir()
    log = base / "logs/a"
    writer = a.start("writing", "database", str(a.path("d/s.db")), str(log), "full", "60")
    theirs = 0
    for number in range(6):
        b.until(lambda n=number: b.path("d/s.db").exists() and len(acknowledged(str(log))) > 30 * n)
        db = sqlite3.connect(b.path("d/s.db"), isolation_level=None, timeout=90)
        try:
            db.execute("create table if not exists other (x)")
            db.execute("insert into other values (?)", (number,))
            theirs += 1
        finally:
            db.close()
        b.sync()
    a.end(writer)
    for one in (a, b, a, b):
        one.sync()
    wrong: list[str] = []

    def look(head: Head, tree: Path, _: bool) -> None:
        path = tree / "d/s.db"
        if path.exists() and (said := judge(str(path), 0)):
            wrong.append(f"{head.label}:{head.number}: {said}")

    for label in "ab":
        visit_commits(store.vault, a.key, label, look)
    highest = acknowledged(str(log))[-1][0]
    kept = a.json("conflicts", "list", "--vault", "vault")
    assert kept == b.json("conflicts", "list", "--vault", "vault")
    whole, counts = 0, []
    for place, one in [(a.mountpoint / "d", None), *((base / entry["name"], entry) for entry in kept)]:
        if one is not None:
            a.run("conflicts", "show", one["name"], "--to", str(place), "--vault", "vault")
        copy = base / f"copy-{place.name}"
        copy.mkdir()
        for name in ("s.db", "s.db-wal"):
            if (place / name).exists():
                shutil.copy(place / name, copy / name)
        if said := judge(str(copy / "s.db"), 0):
            wrong.append(f"{one or 'in place'}: {said}")
            continue
        whole += not judge(str(copy / "s.db"), highest)
        db = sqlite3.connect(copy / "s.db")
        if db.execute("select count(*) from sqlite_master where name = 'other'").fetchone()[0]:
            counts.append(db.execute("select count(*) from other").fetchone()[0])
        db.close()
    assert not wrong, "\n".join(wrong)
    assert whole, "what A wrote last is in place or kept"
    assert counts, "what B wrote is in place or kept"
