"""`vaultfs gc` and `vaultfs repair`: what a person types, mounted and not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.cli.desks import Desk, machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.fuse


@pytest.fixture
def desk(base: Path) -> Iterator[Desk]:
    """A machine whose published vault, mounted, has had much that is not in it any more."""
    desk = machine(base, "desk")
    desk.ok("init", "--remote", str(desk.remote), "--device-label", "desk", "--yes")
    desk.mount()
    (desk.mountpoint / "big").write_bytes(os.urandom(500_000))
    desk.write("note", "hello " * 1000)
    desk.sync()
    (desk.mountpoint / "big").unlink()
    desk.ok("handoff")
    forget_history(desk)
    yield desk
    desk.leave()


def forget_history(desk: Desk) -> None:
    """All heads but the newest go, as they do in the course of months."""
    (device,) = (desk.remote / "heads").iterdir()
    for head in sorted(device.iterdir())[:-1]:
        head.unlink()


def bytes_of(desk: Desk) -> int:
    return sum(path.stat().st_size for path in (desk.remote / "packs").glob("*/*"))


@pytest.mark.parametrize("mounted", [True, False])
def test_gc_waits_for_the_grace_and_then_makes_room(desk: Desk, mounted: bool) -> None:
    if not mounted:
        desk.ok("umount")
    before = bytes_of(desk)
    planned = desk.json("gc", "--dry-run")
    assert (planned["dry_run"], planned["removed"]) == (True, 0)
    assert planned["waiting_bytes"] > 500_000
    assert bytes_of(desk) == before
    assert "run this again after" in desk.ok("gc", "--yes")
    assert bytes_of(desk) < before + 100_000
    assert desk.json("gc", "--yes")["removed"] == 0
    desk.environment = {"VAULTFS_GC_GRACE_DAYS": "0"}
    done = desk.json("gc", "--yes")
    assert done["removed_bytes"] > 500_000
    assert bytes_of(desk) < 100_000
    assert "No problems" in desk.ok("check", "--remote", "--read-data")
    assert desk.ok("cat", "note") == "hello " * 1000


def test_gc_and_repair_say_what_they_need(base: Path) -> None:
    desk = machine(base, "alone")
    desk.fails(10, "gc")
    desk.ok("init", "--yes")
    desk.fails(44, "gc", "--yes")
    desk.fails(44, "repair")


@pytest.mark.parametrize("mounted", [True, False])
def test_repair_brings_back_what_the_remote_lost(desk: Desk, mounted: bool) -> None:
    if not mounted:
        desk.ok("umount")
    assert "Nothing to repair" in desk.ok("repair", "--read-data")
    packs = sorted((desk.remote / "packs").glob("*/*"), key=lambda path: path.stat().st_size)
    data = packs[-1].read_bytes()
    packs[-1].unlink()
    said = desk.fails(50, "check", "--remote")
    assert "Traceback" not in said
    desk.fails(50, "repair", "--dry-run")
    assert not packs[-1].exists()
    done = desk.json("repair")
    assert (done["stored"], done["gone"]) == (1, 0)
    assert packs[-1].read_bytes() == data
    packs[-1].write_bytes(data[:-1])
    assert desk.json("repair")["stored"] == 1
    assert packs[-1].read_bytes() == data
    assert "No problems" in desk.ok("check", "--remote", "--read-data")
    assert desk.json("repair", "--read-data")["lost"] == []


def test_repair_says_what_is_gone(desk: Desk, base: Path) -> None:
    (desk.mountpoint / "large").write_bytes(os.urandom(400_000))
    desk.ok("handoff")
    packs = sorted((desk.remote / "packs").glob("*/*"), key=lambda path: path.stat().st_mtime_ns)
    laptop = machine(base, "laptop")
    laptop.environment = {"VAULTFS_DEVICE_LABEL": "laptop"}
    try:
        laptop.join(desk.key_file)
        assert sorted(os.listdir(laptop.mountpoint)) == ["large", "note"]
        os.stat(laptop.mountpoint / "large")
        packs[-1].unlink()
        laptop.fails(51, "repair", "--dry-run")
        assert "Gone: large in " in laptop.run("repair").stdout
        desk.ok("repair")
        assert "Nothing to repair" in laptop.ok("repair")
        assert len((laptop.mountpoint / "large").read_bytes()) == 400_000
    finally:
        laptop.leave()
