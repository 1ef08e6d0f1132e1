"""A real mount(8), umount(8) and fstab, in a namespace where the helpers are installed."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.helpers.room import ALICE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.room import Room

pytestmark = [pytest.mark.root, pytest.mark.fuse]
BOB = ALICE + 1


@pytest.fixture
def alice(room: Room) -> Iterator[Room]:
    """Alice has a vault, published in a directory, and an empty mount point; nothing is mounted before and after."""
    if not (room.alice / ".local/share/vaultfs/default").exists():
        wallet = f"keyfile:{room.alice}/id.json"
        room.vaultfs("init", "--remote", room.base / "alice/store", "--wallet", wallet, "--yes")
        room.run("mkdir", room.alice / "v", uid=ALICE)
    room.fstab.write_text("")
    yield room
    room.run("umount", room.alice / "v", check=None)


def test_mount_by_type_as_a_user_with_an_empty_environment(alice: Room) -> None:
    place, kind = alice.alice / "v", "fuse.vaultfs"
    options = "user=vaultalice,noauto,nofail,_netdev,x-systemd.automount,nosuid,noatime"
    done = alice.run("/bin/mount", "-t", kind, "default", place, "-o", options)
    assert done.stdout + done.stderr == "", "mount(8) is silent where all is well"
    found, source, shown = alice.kinds(place)
    assert (found, source) == ("fuse.vaultfs", "default")
    assert f"user_id={ALICE}" in shown
    assert {"nosuid", "nodev", "noatime", "rw"} <= set(shown.split(","))
    alice.run("sh", "-c", f"echo {kind} > {place}/{kind}", uid=ALICE)
    assert alice.run("cat", place / kind, uid=ALICE).stdout == f"{kind}\n"
    assert alice.run("cat", place / kind, uid=BOB, check=None).returncode != 0, "it is alice's alone"
    status = json.loads(alice.vaultfs("status", "--json").stdout)
    assert (status["state"], status["mountpoint"]) == ("mounted", str(place))
    alice.run("/bin/umount", place)
    assert alice.kinds(place) == []


def test_a_line_of_fstab(alice: Room) -> None:
    place = alice.alice / "v"
    other = alice.base / "other-fstab"
    other.write_text(f"default {place} vaultfs user=vaultalice,ro,nofail,_netdev 0 0\n")
    alice.run("/bin/mount", "--all", "--fstab", other)
    assert "ro" in alice.kinds(place)[2].split(",")
    alice.run("/bin/mount", "--all", "--fstab", other)
    assert len(alice.run("findmnt", "-rn", place).stdout.splitlines()) == 1, "mount -a knows that it is mounted"
    alice.run("/bin/umount", place)
    alice.fstab.write_text(f"vaultfs {place} fuse.vaultfs user=vaultalice,noauto,vault=default 0 0\n")
    alice.run("/bin/mount", place)
    assert "rw" in alice.kinds(place)[2].split(",")


def test_umount_returns_when_all_is_on_the_remote(alice: Room) -> None:
    place = alice.alice / "v"
    alice.run("/bin/mount", "-t", "vaultfs", "default", place, "-o", "user=vaultalice")
    pid = alice.pid()
    alice.run("sh", "-c", f"head -c 300000 /dev/urandom > {place}/big && echo last words > {place}/last", uid=ALICE)
    alice.run("/bin/umount", place)
    assert json.loads(alice.vaultfs("status", "--json").stdout)["state"] == "unmounted", "the daemon has let go"
    alice.gone(pid)
    assert alice.vaultfs("cat", "last").stdout == "last words\n", "read from the remote"


def test_umount_that_goes_past_us_is_no_loss(alice: Room) -> None:
    """A kernel unmount, as by anything that does not know us: the daemon sees it, publishes, and ends."""
    place = alice.alice / "v"
    alice.run("/bin/mount", "-t", "vaultfs", "default", place, "-o", "user=vaultalice")
    pid = alice.pid()
    alice.run("sh", "-c", f"echo behind your back > {place}/behind", uid=ALICE)
    alice.run("/bin/umount", "-i", place)
    alice.gone(pid)
    assert alice.vaultfs("cat", "behind").stdout == "behind your back\n"
    assert json.loads(alice.vaultfs("status", "--json").stdout)["state"] == "unmounted"


def test_umount_of_what_is_open_or_dead(alice: Room) -> None:
    place = alice.alice / "v"
    alice.run("/bin/mount", "-t", "vaultfs", "default", place, "-o", "user=vaultalice")
    said = alice.run("sh", "-c", f"exec 3> {place}/open; umount {place}", uid=ALICE, check=32).stderr
    assert "busy" in said
    pid = alice.pid()
    os.kill(pid, signal.SIGKILL)
    alice.gone(pid)
    alice.run("/bin/umount", place)
    assert alice.kinds(place) == []
    alice.run("/bin/mount", "-t", "vaultfs", "default", place, "-o", "user=vaultalice")
    alice.run("/bin/umount", "-l", place)
    assert alice.kinds(place) == []


def test_an_ordinary_user_mounts_and_unmounts_a_line_with_user(alice: Room) -> None:
    place = alice.alice / "v"
    alice.fstab.write_text(f"default {place} vaultfs user,noauto 0 0\n")
    alice.run("/bin/mount", place, uid=ALICE)
    assert f"user_id={ALICE}" in alice.kinds(place)[2]
    alice.run("/bin/umount", place, uid=ALICE)
    assert alice.kinds(place) == []


@pytest.mark.parametrize(
    ("source", "options", "code", "said"),
    [
        ("default", "user=vaultalice,colour=blue", 1, "colour=blue"),
        ("none-such", "user=vaultalice", 32, "none-such"),
        ("default", "user=vaultalice,wallet=keyfile:/nowhere", 32, "/nowhere"),
    ],
)
def test_what_is_wrong_is_said(alice: Room, source: str, options: str, code: int, said: str) -> None:
    done = alice.run("/sbin/mount.vaultfs", source, alice.alice / "v", "-o", options, check=code)
    assert said in done.stderr, done.stderr
    assert done.stderr.count("\n") <= 3
    assert alice.kinds(alice.alice / "v") == []


def test_nobody_mounts_for_another(alice: Room) -> None:
    said = alice.run("/sbin/mount.vaultfs", "default", alice.alice / "v", "-o", "user=vaultalice", uid=BOB, check=1)
    assert "Only root" in said.stderr


def test_a_busy_place_is_32_and_nothing_is_made_by_a_mount(alice: Room) -> None:
    place = alice.alice / "v"
    alice.run("touch", place / "something", uid=ALICE)
    alice.run("/bin/mount", "-t", "vaultfs", "default", place, "-o", "user=vaultalice", check=32)
    alice.run("rm", place / "something")
    alice.run("/bin/mount", "-f", "-t", "vaultfs", "default", place, "-o", "user=vaultalice")
    assert alice.kinds(place) == [], "-f only pretends"


def test_handoff_of_all_finds_what_fstab_mounted(alice: Room) -> None:
    """As the service that runs before sleep: the daemon has no runtime directory, the one who asks has."""
    place = alice.alice / "v"
    alice.run("/bin/mount", "-t", "vaultfs", "default", place, "-o", "user=vaultalice")
    alice.run("sh", "-c", f"echo good night > {place}/sleep", uid=ALICE)
    runtime = alice.base / "run"
    runtime.mkdir(mode=0o700)
    os.chown(runtime, ALICE, ALICE)
    where = {"HOME": str(alice.alice), "XDG_RUNTIME_DIR": str(runtime)}
    done = alice.run(alice.program, "handoff", "--all", "--timeout", "20", "--json", uid=ALICE, environment=where)
    assert [fact["published"] for fact in json.loads(done.stdout)] == [True]
    assert alice.vaultfs("cat", "sleep").stdout == "good night\n"
