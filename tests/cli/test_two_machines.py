"""Two people's machines, one vault, a directory as the remote: what a person types, and what they see."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.cli.desks import Desk, machine
from tests.support.driver import make_key_file

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse


# Making and joining.


def test_init_publishes_the_header_and_nothing_else(desk: Desk) -> None:
    assert [path.name for path in desk.remote.iterdir()] == ["vault.1"]
    assert desk.json("config", "get", "remote")["value"] == str(desk.remote)
    assert desk.status()["remote"] == str(desk.remote)


def test_init_refuses_a_place_that_is_taken(desk: Desk, laptop: Desk, base: Path) -> None:
    assert "vaultfs mount DIRECTORY --remote" in laptop.fails(82, "init", "--remote", str(desk.remote), "--yes")
    (base / "full").mkdir()
    (base / "full/photo.jpg").touch()
    assert "not empty" in laptop.fails(82, "init", "--remote", str(base / "full"), "--yes")
    assert os.listdir(base / "full") == ["photo.jpg"]
    assert not laptop.vault.exists()


@pytest.mark.parametrize("remote", ["nosuchremote:vault", ":webdav,url='http://127.0.0.1:9':x", "/proc/nothing/vault"])
def test_init_without_the_remote_leaves_nothing_behind(laptop: Desk, remote: str) -> None:
    process = laptop.start("init", "--remote", remote, "--yes")
    said = process.communicate(timeout=120)[1]
    assert 70 <= process.returncode < 80, said
    assert "Traceback" not in said
    assert not laptop.vault.exists()
    assert not list(laptop.vault.parent.glob(".new-*"))


def test_another_machine_joins_and_has_it_all(both: tuple[Desk, Desk]) -> None:
    desk, laptop = both
    desk.write("note", "hello")
    os.makedirs(desk.mountpoint / "d/e")
    desk.write("d/e/deep", "x" * 5000)
    assert desk.sync()["published"] is True
    laptop.sync()
    assert laptop.read("note") == "hello"
    assert laptop.read("d/e/deep") == "x" * 5000
    assert laptop.json("who", str(laptop.mountpoint / "note"))[0]["device"] == "desk"

    laptop.write("back", "from the laptop")
    laptop.sync()
    desk.sync()
    assert desk.read("back") == "from the laptop"

    assert laptop.json("config", "get", "remote")["value"] == str(desk.remote)
    laptop.ok("umount")
    laptop.ok("mount", str(laptop.mountpoint))
    assert laptop.read("note") == "hello"
    assert laptop.status()["vault_id"] == desk.status()["vault_id"]
    assert laptop.status()["device"]["id"] != desk.status()["device"]["id"]


def test_what_is_there_is_seen_when_mount_returns(desk: Desk, laptop: Desk) -> None:
    desk.mount()
    desk.write("note", "hello")
    assert "everything is saved and published" in desk.ok("umount")
    made = laptop.join(desk.key_file)
    assert (made["created"]["joined"], made["sync"]["trouble"]) == (True, None)
    assert laptop.read("note") == "hello", "with nothing to wait for"
    assert "'laptop' in the vault" in laptop.ok("devices") or laptop.status()["device"]["label"] == "laptop"


def test_what_cannot_be_joined(desk: Desk, laptop: Desk, base: Path) -> None:
    (base / "empty").mkdir()
    make_key_file(base / "other.json", bytes(32))
    mount = ("mount", str(laptop.mountpoint), "--wallet")
    assert "init --remote" in laptop.fails(81, *mount, str(desk.key_file), "--remote", str(base / "empty"))
    laptop.fails(76, *mount, str(desk.key_file), "--remote", str(base / "typo"))
    laptop.fails(12, *mount, str(base / "other.json"), "--remote", str(desk.remote))
    damaged = bytearray((desk.remote / "vault.1").read_bytes())
    damaged[60] ^= 1
    (desk.remote / "vault.1").write_bytes(damaged)
    laptop.fails(21, *mount, str(desk.key_file), "--remote", str(desk.remote))
    assert not laptop.vault.exists()
    assert not laptop.mountpoint.exists()


def test_a_remote_that_never_answers_is_told_and_can_be_interrupted(laptop: Desk, desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = f":webdav,url='http://127.0.0.1:{silent.getsockname()[1]}':x"
        arguments = ("mount", str(laptop.mountpoint), "--remote", remote, "--wallet", str(desk.key_file))
        code, screen = laptop.at_terminal(*arguments, answers=[("Looking at", "\x03")])
        assert code == 130, screen
        assert "Interrupted" in screen
        process = laptop.start(*arguments)
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 71, said
    assert not laptop.vault.exists()
    assert not laptop.mountpoint.exists()


def test_a_vault_that_is_here_keeps_its_remote(desk: Desk, base: Path) -> None:
    assert "remote set" in desk.fails(2, "mount", str(desk.mountpoint), "--remote", str(base / "another"))
    desk.ok("mount", str(desk.mountpoint), "--remote", str(desk.remote))


def test_a_vault_without_a_remote_gets_one(laptop: Desk, base: Path, desk: Desk) -> None:
    laptop.ok("init", "--yes")
    for verb in (["log"], ["remote", "show"], ["export", "x"]):
        assert "remote set" in laptop.fails(44, *verb)
    laptop.fails(82, "remote", "set", str(desk.remote))
    laptop.ok("key", "words", "--yes")
    laptop.ok("remote", "set", str(base / "mine"))
    laptop.ok("remote", "set", str(base / "mine"))
    assert "rclone copy" in laptop.fails(2, "remote", "set", str(base / "elsewhere"))
    laptop.mount()
    laptop.write("note", "x")
    assert laptop.json("handoff")["published"] is True
    third = machine(base, "third")
    third.remote = base / "mine"
    try:
        third.join(laptop.key_file)
        assert third.read("note") == "x"
    finally:
        third.leave()
