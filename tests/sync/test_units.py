"""What is a unit."""

from __future__ import annotations

import sqlite3
import subprocess
from typing import TYPE_CHECKING

from vaultfs.sync.units import START_BYTES, Known

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = Known()


def test_sqlite(tmp_path: Path) -> None:
    """A real database, found by what stands in it and not by its name."""
    path = tmp_path / "no-suffix"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (x)")
    start = path.read_bytes()[:START_BYTES]
    assert KNOWN.suffixes(b"no-suffix", start) == (b"-journal", b"-wal")
    assert KNOWN.suffixes(b"state.db", b"plain text here.") == ()
    assert KNOWN.suffixes(b"state.db", b"") == ()
    assert KNOWN.suffixes(b"state.db-wal", start) == ()


def test_directories(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    names = [path.name.encode() for path in (tmp_path / ".git").iterdir()]
    assert KNOWN.is_unit(b".git", names)
    assert KNOWN.is_unit(b"bare.git", names)
    assert not KNOWN.is_unit(b".git", [b"HEAD", b"config"])
    assert not KNOWN.is_unit(b"repository", [b".git", b"README"])
    assert KNOWN.is_unit(b"pgdata", [b"PG_VERSION", b"base"])
