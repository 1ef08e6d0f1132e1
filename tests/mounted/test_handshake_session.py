"""A session from mount to unmount: it says when it is ready, and ends in order however it is ended."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.users import ALICE, as_user
from vaultfs.fuse import mount
from vaultfs.fuse.threads import through_mount

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse"),
]


class Vault:
    """A store and a mount point, and the process that serves it."""

    def __init__(self, base: Path) -> None:
        self.store = base / "store"
        self.mountpoint = base / "m"
        self.mountpoint.mkdir()
        self.process: subprocess.Popen[str] | None = None

    def start(self, *words: str) -> dict[str, Any]:
        """Serve; returns what the server says of itself when it is ready."""
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.support.session_server",
                str(self.store),
                str(self.mountpoint),
                *words,
            ],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self.hear()

    def hear(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        assert line, "the server ended without a word"
        return json.loads(line)

    def ended(self) -> None:
        """It must end in order."""
        assert self.hear() == {"ended": True}
        assert self.process.wait(90) == 0
        assert not mount.is_mounted(self.mountpoint)

    def terminate(self) -> None:
        self.process.terminate()
        self.ended()

    def unmount(self) -> None:
        mount.detach(str(self.mountpoint))
        self.ended()


@pytest.fixture
def vault() -> Iterator[Vault]:
    base = Path(tempfile.mkdtemp(prefix="vaultfs-session-", dir="/var/tmp"))
    base.chmod(0o755)
    made = Vault(base)
    yield made
    if made.process is not None:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        made.process.stdout.close()
    if mount.is_mounted(made.mountpoint):
        mount.detach(str(made.mountpoint), lazy=True)
    shutil.rmtree(base)


@pytest.mark.parametrize("words", [(), ("plain",)], ids=["handshake", "plain"])
def test_what_is_written_is_there_after_a_remount(vault: Vault, words: tuple[str, ...]) -> None:
    said = vault.start(*words)
    assert said["way"] == (words[0] if words else "handshake")
    if words:
        assert said["detail"]
    (vault.mountpoint / "d").mkdir()
    (vault.mountpoint / "d" / "f").write_bytes(b"x" * 200_000)
    vault.unmount()
    assert vault.start(*words)["clean"]
    assert (vault.mountpoint / "d" / "f").read_bytes() == b"x" * 200_000
    vault.unmount()


@pytest.mark.parametrize(
    ("kernel", "way", "missing"), [("like-5.15", "handshake", []), ("like-5.4", "plain", ["HANDLE_KILLPRIV_V2"])]
)
def test_on_older_kernels_flags_that_they_do_not_offer_are_done_without(
    vault: Vault, kernel: str, way: str, missing: list[str]
) -> None:
    said = vault.start(kernel, *(["suid", "allow_other"] if os.geteuid() == 0 else []))  # nobody else may
    assert said["way"] == way
    assert [text.partition(":")[0] for text in said["missing"]] == missing
    top = vault.mountpoint
    (top / "d").mkdir()
    (top / "d" / "f").write_bytes(b"x" * 200_000)
    (top / "d" / "f").chmod(0o4777)
    (top / "d" / "link").symlink_to("f")
    (top / "d" / "f").rename(top / "d" / "g")
    (top / "d" / "g").rename(top / "d" / "f")
    assert sorted(os.listdir(top / "d")) == ["f", "link"]
    assert (top / "d" / "link").read_bytes() == b"x" * 200_000
    if os.geteuid() == 0:
        top.chmod(0o755)
        as_user(ALICE, lambda: os.close(os.open(top / "d" / "f", os.O_WRONLY | os.O_TRUNC)))
        assert (top / "d" / "f").stat().st_mode == 0o100777, "whoever has to clear it does"
    vault.unmount()


def test_ready_means_that_it_answers(vault: Vault) -> None:
    vault.start()
    assert os.listdir(vault.mountpoint) == []
    vault.terminate()


def test_sigterm_saves_what_an_open_file_has_in_the_page_cache(vault: Vault) -> None:
    vault.start()
    descriptor = os.open(vault.mountpoint / "f", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"y" * 100_000)
    vault.terminate()
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        os.close(descriptor)
    assert vault.start()["clean"]
    assert (vault.mountpoint / "f").read_bytes() == b"y" * 100_000
    vault.unmount()


def test_a_killed_daemon_gives_enotconn_and_a_remount_has_what_was_synced(vault: Vault) -> None:
    vault.start()
    descriptor = os.open(vault.mountpoint / "f", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"z" * 5000)
    os.fsync(descriptor)
    vault.process.kill()
    vault.process.wait()
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        os.close(descriptor)
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        os.statvfs(vault.mountpoint)
    said = vault.start()
    assert not said["clean"]
    assert any("dead mount" in note for note in said["notes"])
    assert (vault.mountpoint / "f").read_bytes() == b"z" * 5000
    vault.unmount()


def test_read_only(vault: Vault) -> None:
    vault.start()
    (vault.mountpoint / "f").write_bytes(b"1")
    vault.unmount()
    vault.start("ro")
    assert (vault.mountpoint / "f").read_bytes() == b"1"
    for change in (
        lambda: (vault.mountpoint / "f").write_bytes(b"2"),
        (vault.mountpoint / "g").touch,
        (vault.mountpoint / "f").unlink,
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            change()
    vault.unmount()


def test_a_mount_point_in_use_is_refused_and_the_store_closed(vault: Vault) -> None:
    (vault.mountpoint / "file").touch()
    assert vault.start() == {"error": "MountPointNotEmptyError"}
    assert vault.process.wait(90) == 0
    (vault.mountpoint / "file").unlink()
    assert vault.start()["clean"]
    vault.unmount()


def test_a_failure_right_after_the_handshake_leaves_no_mount(vault: Vault) -> None:
    assert vault.start("fails") == {"error": "MountFailedError"}
    assert vault.process.wait(90) == 0
    assert not mount.is_mounted(vault.mountpoint)
    assert vault.start()["clean"]
    vault.unmount()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a set-user-id program")
@pytest.mark.parametrize("how", ["write", "open with O_TRUNC", "truncate"])
def test_a_set_user_id_program_that_another_user_writes_no_longer_runs_as_its_owner(vault: Vault, how: str) -> None:
    """Not even where the kernel still has the old mode in its cache and nobody has asked for it."""
    vault.start("suid", "allow_other")
    vault.mountpoint.chmod(0o755)
    program = vault.mountpoint / "id"
    original = Path("/usr/bin/id").read_bytes()
    program.write_bytes(original)
    program.chmod(0o4777)

    def identity() -> str:
        return subprocess.run([program, "-u"], capture_output=True, text=True, check=True, cwd="/").stdout.strip()

    def write() -> None:
        if how == "truncate":
            os.truncate(program, len(original))
            return
        descriptor = os.open(program, os.O_WRONLY | (os.O_TRUNC if "TRUNC" in how else 0))
        os.write(descriptor, original)
        os.close(descriptor)

    assert as_user(ALICE, identity) == "0"
    as_user(ALICE, write)
    assert as_user(ALICE, identity) == str(ALICE.uid)
    assert program.stat().st_mode == 0o100777
    vault.unmount()


def test_what_goes_through_our_own_mount_holds_none_of_our_descriptors() -> None:
    """Else a daemon killed while it unmounts would leave a mount that hangs for ever."""
    seen: list[set[int]] = []

    def look() -> None:
        seen.append({int(name) for name in os.listdir("/proc/thread-self/fd")})

    async def main() -> None:
        await through_mount(look)

    with Path("/dev/null").open() as ours:
        trio.run(main)
        os.fstat(ours.fileno())
        (theirs,) = seen
        assert ours.fileno() not in theirs
        assert len(theirs) == 5, "the standard three, the pipe to wake us, the listing itself"


class TestVirtualDirectory:
    def test_it_is_found_by_name_and_listed_nowhere(self, vault: Vault) -> None:
        vault.start()
        hidden = vault.mountpoint / ".vaultfs"
        assert os.listdir(vault.mountpoint) == []
        assert sorted(os.listdir(hidden)) == ["conflicts", "status"]
        status = hidden / "status"
        assert json.loads(status.read_bytes()) == {"counted": len("handshake")}
        assert status.stat().st_mode == 0o100400
        assert status.stat().st_size == len(status.read_bytes())
        assert os.stat(hidden / "..").st_ino == os.stat(vault.mountpoint).st_ino
        vault.unmount()

    def test_nothing_in_it_or_of_it_can_be_changed(self, vault: Vault) -> None:
        vault.start()
        top, hidden = vault.mountpoint, vault.mountpoint / ".vaultfs"
        (top / "f").touch()
        (top / "d").mkdir()
        in_it = errno.EACCES if os.geteuid() else errno.EPERM  # by the kernel, which lets root do all
        for number, change in (
            (errno.EEXIST, hidden.mkdir),
            (errno.EEXIST, lambda: os.link(top / "f", hidden)),
            (errno.EEXIST, lambda: os.open(hidden, os.O_CREAT | os.O_EXCL)),
            (in_it, (hidden / "new").touch),
            (in_it, (hidden / "status").unlink),
            (errno.EACCES, lambda: (hidden / "status").write_bytes(b"")),
            (errno.EPERM, hidden.rmdir),
            (errno.EPERM, lambda: hidden.rename(top / "other")),
            (errno.EPERM, lambda: (top / "d").rename(hidden)),
            (in_it, lambda: (top / "f").rename(hidden / "f")),
            (errno.EPERM, lambda: hidden.chmod(0o777)),
            (in_it, lambda: os.setxattr(hidden / "status", "user.x", b"1")),
            (errno.ENODATA, lambda: os.getxattr(hidden / "status", "user.x")),
        ):
            with pytest.raises(OSError, match=os.strerror(number)):
                change()
        assert sorted(os.listdir(hidden)) == ["conflicts", "status"]
        vault.unmount()
