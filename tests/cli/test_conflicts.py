"""A conflict is listed, shown, kept, dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.desks import Desk, a_tick_later

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse


def conflict(desk: Desk, laptop: Desk) -> dict[str, Any]:
    """Both write the same file without knowing of each other; the laptop is later."""
    desk.write("note", "base")
    desk.sync()
    laptop.sync()
    both_write(desk, laptop)
    listed = desk.json("conflicts", "list")
    assert listed == laptop.json("conflicts", "list")
    assert len(listed) == 1
    found: dict[str, Any] = listed[0]
    return found


def both_write(desk: Desk, laptop: Desk) -> None:
    """What they have in place, each without knowing of the other's."""
    away = desk.remote.with_name("unplugged")
    desk.remote.rename(away)
    desk.write("note", "by the desk")
    a_tick_later()
    laptop.write("note", "by the laptop")
    away.rename(desk.remote)
    desk.sync()
    laptop.sync()
    desk.sync()


def test_several_of_one_path_are_counted(both: tuple[Desk, Desk]) -> None:
    desk, laptop = both
    conflict(desk, laptop)
    assert "versions of" not in desk.ok("conflicts")
    both_write(desk, laptop)
    listed = desk.json("conflicts", "list")
    # The shell empties the file before it writes: a commit in between makes that a version, too.
    assert len(listed) >= 2
    assert {one["path"] for one in listed} == {"note"}
    assert listed == sorted(listed, key=lambda one: one["time"])
    assert f"{len(listed)} versions of 1 path, oldest first" in desk.ok("conflicts")


def test_a_conflict_is_listed_shown_and_kept(both: tuple[Desk, Desk], base: Path) -> None:
    desk, laptop = both
    found = conflict(desk, laptop)
    assert (found["path"], found["label"], found["kind"]) == ("note", "desk", "file")
    assert desk.read("note") == laptop.read("note") == "by the laptop"
    assert found["name"] in desk.ok("conflicts")
    assert desk.ok("conflicts", "show", found["name"][:6]) == "by the desk"
    desk.ok("conflicts", "show", found["name"], "--to", str(base / "theirs"))
    assert (base / "theirs/note").read_text() == "by the desk"
    desk.fails(2, "conflicts", "keep", "0000nothing")
    desk.ok("conflicts", "keep", found["name"])
    desk.sync()
    laptop.sync()
    for one in both:
        assert one.read("note") == "by the desk"
        assert one.json("conflicts", "list") == []


def test_a_conflict_is_dropped(both: tuple[Desk, Desk]) -> None:
    desk, laptop = both
    found = conflict(desk, laptop)
    laptop.ok("conflicts", "drop", found["name"])
    laptop.sync()
    desk.sync()
    for one in both:
        assert one.read("note") == "by the laptop"
        assert one.json("conflicts", "list") == []
    laptop.ok("umount")
    laptop.fails(34, "conflicts", "drop", found["name"])
    assert laptop.json("conflicts", "list") == []
