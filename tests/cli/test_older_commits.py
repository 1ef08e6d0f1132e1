"""What was: listed, compared, restored, mounted, exported."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.desks import Desk

pytestmark = pytest.mark.fuse


# Looking back.


def test_log_diff_ls_cat_and_restore(desk: Desk, base: Path) -> None:
    desk.mount()
    os.mkdir(desk.mountpoint / "d")
    desk.write("d/x", "one")
    with sqlite3.connect(desk.mountpoint / "s.db") as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE t (x)")
    db.close()
    desk.sync()
    first = desk.json("log")[0]["commit"]
    desk.write("d/x", "two")
    os.rename(desk.mountpoint / "d", desk.mountpoint / "e")
    desk.sync()
    second = desk.json("log")[0]["commit"]
    assert first.startswith("desk:")
    assert [entry["commit"] for entry in desk.json("log", "e/x")] == [second]
    assert [entry["commit"] for entry in desk.json("log", "s.db", "--limit", "1")] == [first]
    changes = [(change["how"], change["path"], change["old"]) for change in desk.json("diff", first)]
    assert changes == [("moved", "e", "d"), ("changed", "e/x", None)]
    assert desk.json("diff", first, second, "--path", "s.db") == []
    assert "> d/ -> e/" in desk.ok("diff", first, second)

    assert [line["path"] for line in desk.json("ls", "-R", "--at", first)] == ["d", "d/x", "s.db"]
    assert desk.ok("cat", "d/x", "--at", first) == "one"
    assert desk.ok("cat", str(desk.mountpoint / "e/x")) == "two", "as the shell completes it"
    assert "not in the commit" in desk.fails(42, "cat", "d/x")
    desk.fails(42, "cat", "e")
    desk.fails(41, "cat", "e/x", "--at", "desk:999999")
    desk.fails(41, "cat", "e/x", "--at", "2001-01-01")
    desk.fails(2, "cat", "../x")

    out = base / "out"
    assert desk.json("restore", "d", "--at", first, "--to", str(out))["files"] == 1
    assert (out / "d/x").read_text() == "one"
    desk.fails(43, "restore", "d", "--at", first, "--to", str(out))
    desk.ok("restore", "s.db", "--to", str(out))
    with sqlite3.connect(out / "s.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_an_older_commit_is_mounted_beside_the_vault(desk: Desk) -> None:
    desk.mount()
    os.mkdir(desk.mountpoint / "d")
    desk.write("d/x", "old" * 1000)
    desk.sync()
    first = desk.json("log")[0]["commit"]
    desk.write("d/x", "new")
    desk.ok("handoff")
    older = desk.home / "older"
    assert f"the commit {first}" in desk.ok("mount", str(older), "--at", first)
    assert (older / "d/x").read_text() == "old" * 1000
    assert desk.read("d/x") == "new"
    with pytest.raises(OSError, match="Read-only"):
        (older / "other").touch()
    assert desk.status()["mountpoint"] == str(desk.mountpoint)
    desk.ok("umount", str(older))
    assert not list(desk.vault.parent.glob(".at-*")), "its store went with it"
    desk.fails(41, "mount", str(desk.home / "none"), "--at", "desk:999999")
    assert not (desk.home / "none").exists()
    assert desk.json("handoff")["published"] is True
    desk.ok("umount")
    desk.ok("mount", str(older), "--at", "1 s ago")
    assert (older / "d/x").read_text() == "new"
    desk.ok("umount", str(older))


def test_export_needs_no_vault_and_no_mount(desk: Desk, laptop: Desk, base: Path) -> None:
    desk.mount()
    desk.write("note", "hello")
    desk.ok("handoff")
    where = ("--remote", str(desk.remote), "--wallet", str(desk.key_file))
    assert laptop.json("export", str(base / "plain"), *where)["files"] == 1
    assert (base / "plain/note").read_text() == "hello"
    assert laptop.ok("cat", "note", *where) == "hello"
    laptop.fails(43, "export", str(base / "plain"), *where)
    laptop.fails(10, "export", str(base / "other"))
    assert not laptop.vault.exists()
