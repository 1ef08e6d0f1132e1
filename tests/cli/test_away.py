"""Without the remote nothing is lost, and everybody is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.desks import Desk


pytestmark = pytest.mark.fuse


# Publishing.


def test_handoff_tells_by_its_exit_code(desk: Desk) -> None:
    desk.fails(34, "handoff")
    desk.mount()
    desk.write("note", "x")
    assert "Safe to open elsewhere" in desk.ok("handoff")
    assert desk.status()["published"] is True
    with open(desk.mountpoint / "note", "w") as held:
        held.write("held")
        held.flush()
        assert desk.json("handoff")["open_for_writing"] == ["note"]
    assert desk.ok("cat", "note") == "held"


def test_without_the_remote_nothing_is_lost_and_everybody_is_told(desk: Desk) -> None:
    desk.mount()
    desk.sync()
    desk.remote.rename(desk.remote.with_name("unplugged"))
    desk.write("note", "written offline")
    desk.fails(76, "handoff", "--timeout", "5")
    desk.fails(76, "sync", "--wait")
    found = desk.status()["sync"]
    assert (found["reachable"], found["trouble"]["kind"]) == (False, "gone")
    assert found["pending"]["files"] + found["pending"]["commits"] > 0
    assert "gone" in desk.ok("status")
    said = desk.fails(40, "umount")
    assert "not all on" in said
    assert desk.ok("mount", str(desk.mountpoint))
    assert desk.read("note") == "written offline"
    desk.remote.with_name("unplugged").rename(desk.remote)
    assert desk.json("handoff")["published"] is True
    desk.ok("umount")
    assert desk.ok("cat", "note") == "written offline"


def test_mount_is_quick_to_tell_that_the_remote_is_away_and_works_without(both: tuple[Desk, Desk]) -> None:
    desk, laptop = both
    desk.write("note", "x")
    desk.sync()
    laptop.sync()
    assert laptop.read("note") == "x"
    laptop.ok("umount")
    desk.remote.rename(desk.remote.with_name("unplugged"))
    try:
        laptop.ok("mount", str(laptop.mountpoint))
        assert laptop.read("note") == "x"
    finally:
        desk.remote.with_name("unplugged").rename(desk.remote)
