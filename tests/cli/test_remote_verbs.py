"""Machines, wallets, and what is on the remote."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.driver import make_key_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.desks import Desk

pytestmark = pytest.mark.fuse


# Machines and trust.


def test_machines_and_heads(both: tuple[Desk, Desk]) -> None:
    desk, laptop = both
    laptop.write("note", "x")
    laptop.sync()
    desk.sync()
    labels = [(one["label"], one["this"]) for one in desk.json("devices")]
    assert sorted(labels) == [("desk", True), ("laptop", False)]
    status = desk.ok("status")
    assert "laptop" in status
    assert "safe to open elsewhere" in status
    laptop.sync()
    assert desk.ok("heads", "--fingerprint") == laptop.ok("heads", "--fingerprint")
    assert {head["label"] for head in desk.json("heads")["heads"]} == {"desk", "laptop"}
    assert "no alarm" in desk.ok("heads", "accept", "laptop")
    desk.fails(2, "heads", "accept", "nobody")

    assert "mounted" in laptop.fails(30, "devices", "rename", "box")
    laptop.ok("umount")
    fingerprint = laptop.ok("heads", "--fingerprint")
    assert fingerprint == desk.ok("heads", "--fingerprint"), "what the remote shows is what was seen"
    laptop.ok("devices", "rename", "box")
    assert {one["label"] for one in laptop.json("devices")} == {"desk", "box"}
    laptop.fails(2, "devices", "rename", "")
    laptop.ok("mount", str(laptop.mountpoint))
    laptop.write("note", "y")
    laptop.sync()
    desk.sync()
    assert {one["label"] for one in desk.json("devices")} == {"desk", "box"}


def test_a_wallet_that_was_added_opens_it_elsewhere(desk: Desk, laptop: Desk, base: Path) -> None:
    make_key_file(base / "spare.json", bytes(range(1, 33)))
    desk.ok("key", "add", str(base / "spare.json"), "--label", "spare")
    assert sorted(path.name for path in desk.remote.iterdir()) == ["vault.1", "vault.2"]
    laptop.join(base / "spare.json")
    laptop.ok("umount")
    # Changed here, it counts there as well, though it was another machine's last change.
    words = laptop.json("key", "words", "--yes")["recovery_words"]
    desk.ok("key", "remove", "spare", "--yes")
    assert [slot["kind"] for slot in desk.json("key", "list")] == ["wallet", "words", "words"]
    assert len(words.split()) >= 12
    desk.remote.rename(desk.remote.with_name("unplugged"))
    before = desk.json("key", "list")
    desk.fails(76, "key", "words", "--yes")
    assert desk.json("key", "list") == before


def test_check_remote(desk: Desk) -> None:
    desk.mount()
    os.mkdir(desk.mountpoint / "d")
    with open(desk.mountpoint / "d/big", "wb") as file:
        file.write(os.urandom(300_000))
    desk.ok("handoff")
    assert desk.json("check", "--remote")["ok"] is True
    assert desk.json("check", "--remote", "--read-data=50%")["ok"] is True
    desk.fails(2, "check", "--remote", "--read-data=nonsense")
    desk.fails(2, "check", "--read-data=5%")
    packs = sorted((path for path in (desk.remote / "packs").rglob("*") if path.is_file()), key=os.path.getsize)
    original = packs[-1].read_bytes()
    packs[-1].write_bytes(original[:1000] + bytes([original[1000] ^ 1]) + original[1001:])
    assert desk.json("check", "--remote")["ok"] is True, "this reads no data"
    said = desk.run("check", "--remote", "--read-data")
    assert said.returncode == 50
    assert "d/big" in said.stdout
    packs[-1].unlink()
    said = desk.run("check", "--remote")
    assert said.returncode == 50
    assert packs[-1].name in said.stdout


def test_prefetch_makes_it_readable_offline(both: tuple[Desk, Desk]) -> None:
    desk, laptop = both
    os.mkdir(desk.mountpoint / "d")
    data = os.urandom(700_000)
    (desk.mountpoint / "d/big").write_bytes(data)
    desk.sync()
    laptop.sync()
    assert laptop.json("prefetch", str(laptop.mountpoint / "d"))["bytes"] == len(data)
    desk.remote.rename(desk.remote.with_name("unplugged"))
    try:
        assert (laptop.mountpoint / "d/big").read_bytes() == data
    finally:
        desk.remote.with_name("unplugged").rename(desk.remote)
    laptop.fails(38, "prefetch", str(laptop.home))
    laptop.fails(2, "prefetch", str(laptop.mountpoint / "nothing"))


def test_the_remote_is_tried_and_limited(desk: Desk) -> None:
    assert desk.json("remote", "test")["ok"] is True
    assert not list((desk.remote / "test").iterdir())
    desk.mount()
    assert desk.json("remote", "show")["remote"] == str(desk.remote)
    desk.ok("remote", "limit", "500000")
    assert desk.json("config", "get", "bandwidth")["value"] == 500000
    desk.fails(76, "remote", "test", "--remote", str(desk.remote / "nowhere"))
    assert "It works" in desk.ok("remote", "show") or "Not asked" in desk.ok("remote", "show")
