"""Leases and presence on two machines with real mounts."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.machines_mounted.conftest import join

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.machines_mounted.desk import Desk


def opens_for_writing(path: Path) -> int:
    """0, or the number of the error."""
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        return error.errno or -1
    return 0


def test_a_lease_is_seen_everywhere_and_stops_only_who_respects_it(desk: Callable[..., Desk]) -> None:
    a, b = desk("a"), desk("b", respect_leases="true")
    join(a, b)
    a.path("hermes").mkdir()
    a.path("hermes/note").write_text("by a")
    with sqlite3.connect(a.path("hermes/state.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t(x)")
    database.close()
    a.path("other").write_text("free")
    a.sync()
    b.until_reads("hermes/note", b"by a")
    held = b.path("hermes/held").open("w")

    taken = a.json("lease", "take", str(a.path("hermes")), "--for", "30m", "--vault", "vault")
    assert taken["published"]
    (seen,) = b.until(lambda: b.now()["leases"], say="the lease")
    assert (seen["path"], seen["label"], seen["this"]) == ("hermes", "a", False)
    assert b.json("lease", "show", str(b.path("hermes/note")), "--vault", "vault") == [seen]
    assert b.json("lease", "show", "other", "--vault", "vault") == []
    assert "hermes" in b.run("status", "--vault", "vault").stdout

    # Nothing is read differently; nothing is written but by who has it open, or elsewhere, or on the other machine.
    b.until(lambda: opens_for_writing(b.path("hermes/note")) == errno.EBUSY, say="EBUSY")
    assert b.path("hermes/note").read_text() == "by a"
    with pytest.raises(OSError, match="busy"):
        b.path("hermes/new").write_text("x")
    with pytest.raises(OSError, match="busy"):
        os.open(b.path("hermes/note"), os.O_RDONLY | os.O_TRUNC)
    held.write("what is open goes on")
    held.close()
    b.path("other").write_text("by b")
    a.path("hermes/note").write_text("by a again")
    b.until_reads("hermes/note", b"by a again")

    # A program with SQLite reads, and is told when it wants to write.
    reader = sqlite3.connect(b.path("hermes/state.db"))
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (0,)
    with pytest.raises(sqlite3.OperationalError, match="readonly database"):
        reader.execute("INSERT INTO t VALUES(1)")
    reader.close()

    # Whose it is not cannot take or give it; renewing does not change since when.
    for verb in ("take", "give"):
        refused = b.run("lease", verb, "hermes/note", "--vault", "vault", "--json", check=False)
        assert refused.returncode == 90
        error = json.loads(refused.stderr)
        assert error["error"] == "LeaseHeldError"
        assert "a has leased hermes until" in error["message"]
    again = a.json("lease", "take", "hermes", "--for", "1h", "--vault", "vault")
    assert again["since"] == taken["since"]
    assert again["until"] > taken["until"]

    a.run("lease", "give", str(a.path("hermes")), "--vault", "vault")
    b.until(lambda: opens_for_writing(b.path("hermes/note")) == 0, say="free")
    assert b.json("lease", "show", "--vault", "vault") == []

    ends_by_itself(a, b)


def ends_by_itself(a: Desk, b: Desk) -> None:
    """One that nobody gives; it is of the whole vault."""
    a.run("lease", "take", str(a.mountpoint), "--for", "5s", "--vault", "vault")
    b.until(lambda: opens_for_writing(b.path("other")) == errno.EBUSY, say="EBUSY")
    (lease,) = b.now()["leases"]
    assert lease["path"] == ""
    b.until(lambda: opens_for_writing(b.path("other")) == 0, say="free again")
    assert time.time() > datetime.fromisoformat(lease["until"]).timestamp()
    b.until(lambda: not b.now()["leases"])


def test_who_drives_is_told_in_status_and_on_the_desktop(desk: Callable[..., Desk], tmp_path: Path) -> None:
    said = tmp_path / "said"
    program = tmp_path / "bin/notify-send"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {said}; echo END >> {said}\n')
    program.chmod(0o755)
    a, b = desk("a"), desk("b")
    b.environment |= {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent",
    }
    join(a, b)
    card = "import sys, msgspec; from vaultfs.daemon.cards import write_card; write_card(sys.argv[1],\n"
    card += "    bytes.fromhex(sys.argv[2]), lambda card: msgspec.structs.replace(card, agents={'hermes': 'hermes'}))"
    a.path("hermes").mkdir()
    a.path("hermes/note").write_text("by a")
    subprocess.run([sys.executable, "-c", card, a.mountpoint, a.now()["device"]["id"]], check=True, env=a.environ())
    a.sync()
    b.until_reads("hermes/note", b"by a")

    def driving() -> dict[str, object]:
        (one,) = b.now()["driving"]
        return one  # type: ignore[no-any-return]

    found = b.until(driving, say="who wrote")
    assert (found["agent"], found["path"]) == ("hermes", "hermes")
    (driver,) = found["devices"]  # type: ignore[misc]
    assert (driver["label"], driver["open"]) == ("a", [])
    assert abs(time.time() - (os.stat(b.path("hermes/note")).st_mtime)) < 60
    assert b.now()["driving"] != []
    assert not said.exists(), "nothing was opened here yet"

    b.path("hermes/mine").write_text("by b")
    b.until(lambda: said.read_text().endswith("END\n"), say="a notification")
    words = said.read_text().splitlines()
    assert words[:3] == ["--app-name=vaultfs", "--", "hermes is in use on another machine"]
    assert words[3].startswith("a: wrote there ")

    # Open there: told as long as it is so; but the desktop only once in ten minutes.
    with a.path("hermes/note").open("r+") as file:
        file.write("b")
        file.flush()
        os.fsync(file.fileno())
        b.until(lambda: driving()["devices"][0]["open"], say="what is open there")  # type: ignore[index]
        b.path("hermes/mine").write_text("again")
        line = b.run("status", "--vault", "vault").stdout
        assert "hermes/note open for writing" in line
    assert said.read_text().count("END") == 1
