"""What is wrong with keys, header, device or store has its own sentence and exit code."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import msgspec
import pytest
from blake3 import blake3

from tests.cli.conftest import ROOT
from tests.support.driver import is_mounted, make_key_file
from tests.support.leftovers import ONLY_OWN_MOUNTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.person import Person

pytestmark = pytest.mark.fuse


root_only = pytest.mark.skipif(not ROOT, reason="needs root")


def test_wrong_wallet_names_those_that_open_it(owner: Person) -> None:
    make_key_file(owner.home / "wrong.json")
    right = owner.json("key", "list")[0]["address"]
    assert right in owner.fails(12, "mount", "agent-vault", "--wallet", "keyfile:wrong.json")
    assert not is_mounted(owner.mountpoint)


def test_missing_device(owner: Person, base: Path) -> None:
    """A container without /dev/fuse: an empty directory hides /dev in a mount namespace of its own."""
    if not ROOT:
        pytest.skip("needs root")
    script = ONLY_OWN_MOUNTS
    script += 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 444 /dev/urandom c 1 9 && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *owner.command("mount", str(base / "place"))],
        capture_output=True, text=True, check=False, **owner.how(),
    )  # fmt: skip
    assert done.returncode == 33, done.stderr
    assert "/dev/fuse" in done.stderr
    assert not (base / "place").exists(), "what was made for the mount goes again"
    assert owner.json("status")["state"] == "unmounted"


@pytest.mark.parametrize("content", [b"", b"[1, 2, 3", b"[1, 2, 3]", b"\xff\xfe", b"[" * 4000, b'{"a": 1}'], ids=repr)
def test_damaged_key_file(owner: Person, content: bytes) -> None:
    owner.key_file.write_bytes(content)
    said = owner.fails(15, "mount", "agent-vault")
    assert str(owner.key_file) in said
    assert "\nNothing" not in said


def test_key_file_that_is_gone_or_open_to_others(owner: Person) -> None:
    owner.key_file.chmod(0o644)
    assert "chmod 600" in owner.fails(15, "mount", "agent-vault")
    owner.key_file.unlink()
    owner.fails(15, "mount", "agent-vault")


def test_signer_that_fails(owner: Person) -> None:
    owner.fails(13, "mount", "agent-vault", "--wallet", "command:false")
    owner.fails(2, "mount", "agent-vault", "--wallet", "hardware:x")
    owner.fails(13, "mount", "agent-vault", "--wallet", "ssh-agent")


def test_newer_header(owner: Person) -> None:
    header = owner.vault / "header"
    data = bytearray(header.read_bytes()[:-16])
    data[8:10] = (7).to_bytes(2, "little")
    header.write_bytes(bytes(data) + blake3(data).digest(16))
    assert "newer vaultfs" in owner.fails(20, "mount", "agent-vault")
    assert "version 7" in owner.json("status")["health"]["problems"][0]


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_truncated_header(owner: Person, keep: int) -> None:
    header = owner.vault / "header"
    header.write_bytes(header.read_bytes()[:keep])
    assert str(header) in owner.fails(21, "mount", "agent-vault")
    assert owner.json("status")["health"]["ok"] is False


def test_missing_header_device_and_store(owner: Person) -> None:
    kept = owner.home / "kept"
    for name, code in (("header", 21), ("device", 22), ("store", 22)):
        (owner.vault / name).rename(kept)
        owner.fails(code, "mount", "agent-vault")
        assert any(name in problem for problem in owner.json("status")["health"]["problems"])
        kept.rename(owner.vault / name)
    owner.mount()
    owner.ok("umount")


def test_damaged_device_record(owner: Person) -> None:
    device = owner.vault / "device"
    data = bytearray(device.read_bytes())
    data[40] ^= 1
    device.write_bytes(data)
    assert str(device) in owner.fails(22, "mount", "agent-vault")


def test_no_vault(person: Person) -> None:
    for verb in (["status"], ["check"], ["key", "list"], ["key", "words", "--yes"], ["devices"]):
        assert "vaultfs init" in person.fails(10, *verb)
    person.fails(34, "umount")
    person.fails(34, "umount", "nowhere")
    person.fails(38, "who", str(person.home))
    person.fails(2, "who", "no-such-file")


def test_init_twice(owner: Person) -> None:
    before = (owner.vault / "header").read_bytes()
    owner.fails(11, "init", "--yes")
    assert (owner.vault / "header").read_bytes() == before


def test_last_key_cannot_be_removed(owner: Person) -> None:
    wallet, words = owner.json("key", "list")
    owner.ok("key", "remove", words["id"][:8], "--yes")
    owner.fails(16, "key", "remove", wallet["id"][:8], "--yes")
    owner.fails(2, "key", "remove", "ffffffff", "--yes")
    owner.fails(2, "key", "add", str(owner.key_file))


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a" * 65, "-x", "é", "a\nb"])
def test_names_that_cannot_be(person: Person, name: str) -> None:
    person.fails(2, "init", "--yes", "--", name)


def test_read_only_home(owner: Person) -> None:
    """As ordinary user by modes; root sees the read-only file system only."""
    if not ROOT:
        pytest.skip("needs root")
    script = ONLY_OWN_MOUNTS + 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    for arguments, code in ((["init", "second", "--yes"], 24), (["mount", "/mnt"], 24), (["status"], 0)):
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, str(owner.home), *owner.command(*arguments)],
            capture_output=True, text=True, check=False, **owner.how(),
        )  # fmt: skip
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr


@root_only
def test_full_disk(person: Person, base: Path) -> None:
    script = ONLY_OWN_MOUNTS + 'mount -t tmpfs -o size=100k none "$0" && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(person.home), *person.command("init", "--yes")],
        capture_output=True, text=True, check=False, **person.how(),
    )  # fmt: skip
    assert done.returncode == 23, done.stderr
    assert "full" in done.stderr
    assert base.exists()


def test_check_tells_by_exit_code(owner: Person) -> None:
    owner.mount()
    (owner.mountpoint / "big").write_bytes(os.urandom(1 << 20))
    owner.ok("umount")
    packs = sorted((owner.vault / "store/packs").rglob("*"), key=lambda path: path.stat().st_size)
    data = bytearray(packs[-1].read_bytes())
    data[len(data) // 2] ^= 1
    packs[-1].write_bytes(data)
    done = owner.run("check", "--read-data", "--json")
    assert done.returncode == 50, done.stdout + done.stderr
    report = msgspec.json.decode(done.stdout)
    assert not report["ok"]
    assert any("big" in problem["path"] for problem in report["problems"])
    assert "big" in owner.run("check", "--read-data").stdout
    owner.mount()
    assert owner.run("check", "--read-data").returncode == 50, "the same by the daemon"
    owner.ok("umount")


@root_only
def test_a_sandbox_that_has_the_mount_is_named(owner: Person) -> None:
    """The kernel keeps the mount for a container that was started meanwhile, though it is gone everywhere else."""
    owner.ok("mount", "agent-vault")
    script = ONLY_OWN_MOUNTS.replace("do umount", 'do [ "$point" = "$1" ] || umount')
    sandbox = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", f"{script} echo there; read line", "sh", str(owner.mountpoint)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert sandbox.stdout is not None
        assert sandbox.stdout.readline() == "there\n"
        said = owner.fails(35, "umount", "--timeout", "3")
        assert f"sh (pid {sandbox.pid})" in said
        assert "mounts of its own" in said
    finally:
        sandbox.communicate("end\n")
    assert owner.run("umount").returncode in {0, 34}, "with the sandbox it goes by itself, sooner or later"
    assert owner.json("status")["state"] == "unmounted"
