"""Verbs that read the remote themselves, where it shows less than this machine has seen."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.desks import Desk

pytestmark = pytest.mark.fuse


def test_what_was_seen_here_counts_without_a_mount(both: tuple[Desk, Desk], base: Path) -> None:
    desk, laptop = both
    laptop.write("note", "old")
    laptop.sync()
    shutil.copytree(desk.remote, base / "copy")
    laptop.write("note", "new")
    laptop.sync()
    desk.sync()
    laptop.ok("umount")
    desk.ok("umount")
    older = [one["commit"] for one in desk.json("log") if one["label"] == "laptop"][1]
    assert desk.ok("cat", "note") == "new"
    gone = [
        path for path in desk.remote.glob("heads/*/*") if not (base / "copy" / path.relative_to(desk.remote)).exists()
    ]
    for path in gone:
        path.unlink()
    into = str(desk.home / "out")
    verbs = [
        ("cat", "note"), ("ls",), ("log",), ("export", into), ("restore", "note", "--to", into), ("conflicts", "list"),
        ("cat", "note", "--at", "laptop"), ("ls", "--at", "1 second ago"), ("heads",),
        ("mount", str(desk.home / "old"), "--at", "laptop", "--read-only"),
    ]  # fmt: skip
    for words in verbs:
        assert "laptop" in desk.fails(80, *words), words
    assert not (desk.home / "out").exists()
    listed = desk.run("heads", "--json")
    assert listed.returncode == 80
    assert '"accepted": false' in listed.stdout, "what is known of it is shown"
    assert len(listed.stderr.splitlines()) == 1, "the error, for a program"

    # What does not depend on it goes on, and says so.
    done = desk.run("cat", "note", "--at", older)
    assert (done.returncode, done.stdout) == (0, "old"), done.stderr
    assert "may not show all" in done.stderr
    done = desk.run("cat", "note", "--remote", str(base / "copy"))
    assert (done.returncode, done.stdout) == (0, "old"), "a copy of an earlier time, which a person names"
    assert "may not show all" in done.stderr
    assert "may not show all" in desk.run("check", "--remote").stderr

    # A mount has the store open meanwhile.
    desk.mount()
    assert "laptop" in desk.fails(80, "cat", "note")
    for _ in range(4):
        desk.run("sync")
    desk.ok("heads", "accept", "laptop", "--yes")
    assert desk.ok("cat", "note") == "old", "what the remote has now"
    desk.write("other", "x")
    desk.sync()
    assert desk.ok("cat", "note") == "new", "what this machine has of it is published again"

    # Perhaps the store is damaged, and that is why.
    desk.ok("umount")
    (desk.vault / "store/meta.db").write_bytes(bytes(8192))
    done = desk.run("cat", "note")
    assert (done.returncode, done.stdout) == (0, "new"), done.stderr
    assert "cannot be compared" in done.stderr
