"""The handshake gets the flag that keeps the kernel from asking about capabilities before every write."""

from __future__ import annotations

import errno
import json
import os
import pwd
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.handshake_server import OneFile
from tests.support.users import User, as_user
from vaultfs.errors import MountPointError, MountPointNotEmptyError, UsageError
from vaultfs.fuse import handshake, mount, mountinfo, protocol
from vaultfs.fuse.options import MountOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
WRITES = 200
needs_fuse = [
    pytest.mark.fuse,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse"),
]
as_root = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user"),
]


NOBODY = User(pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)


class Served:
    """A mounted OneFile in another process, of this user or another."""

    def __init__(self, mountpoint: Path, way: str, user: User | None) -> None:
        self.mountpoint = mountpoint
        self.user = user
        identity = [str(user.uid), str(user.gid)] if user else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.handshake_server", str(mountpoint), way, *identity],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        assert line, "the server did not start"
        self.agreed = json.loads(line)

    def do(self, function: Callable[[], None]) -> None:
        """Something as the server's user."""
        if self.user:
            as_user(self.user, function)
        else:
            function()

    def unmount(self) -> dict[str, int]:
        """Unmount; returns the counted requests."""
        self.do(lambda: mount.detach(str(self.mountpoint)))
        counts = json.loads(self.process.stdout.readline())
        assert self.process.wait(90) == 0
        return counts


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    made: list[Served] = []
    base = Path(tempfile.mkdtemp(prefix="vaultfs-handshake-", dir="/var/tmp"))
    base.chmod(0o755)

    def start(way: str, user: User | None = None) -> Served:
        mountpoint = base / f"m{len(made)}"
        mountpoint.mkdir()
        if user:
            os.chown(mountpoint, user.uid, user.gid)
        served = Served(mountpoint, way, user)
        made.append(served)
        return served

    yield start
    for served in made:
        if served.process.poll() is None:
            served.process.kill()
            served.process.wait()
        served.process.stdout.close()
        if mount.is_mounted(served.mountpoint):
            mount.detach(str(served.mountpoint), lazy=True)
    shutil.rmtree(base)


def write_many(served: Served) -> None:
    """WRITES calls of write(2), by the user of the mount."""

    def write() -> None:
        with (served.mountpoint / "file").open("r+b", buffering=0) as file:
            for _ in range(WRITES):
                file.write(b"0123456789")

    served.do(write)


USERS = [pytest.param(None, id="self"), pytest.param(NOBODY, id="ordinary-user", marks=as_root)]


class TestMounted:
    pytestmark = needs_fuse

    @pytest.mark.parametrize("user", USERS)
    def test_the_kernel_asks_for_no_capability_before_writes(
        self, serve: Callable[..., Served], user: User | None
    ) -> None:
        served = serve("handshake", user)
        if not served.agreed["killpriv"]:
            pytest.skip("this kernel does not offer HANDLE_KILLPRIV_V2")
        write_many(served)
        counts = served.unmount()
        # Once, to learn that the file has none; not once for each write.
        assert counts.get("getxattr security.capability", 0) <= 1
        assert counts["write"] < WRITES / 10, "the write-back cache is off"

    @pytest.mark.parametrize("way", ["plain", "unoffered"])
    def test_without_the_flag_it_asks_every_time(self, serve: Callable[..., Served], way: str) -> None:
        """Else the test above would show nothing; and these two ways of mounting work as well."""
        served = serve(way)
        write_many(served)
        assert served.unmount()["getxattr security.capability"] >= WRITES

    @pytest.mark.parametrize("user", USERS)
    def test_the_mount_is_neutral_and_ours(self, serve: Callable[..., Served], user: User | None) -> None:
        served = serve("handshake", user)
        entry = mountinfo.vault_at(str(served.mountpoint))
        assert entry is not None
        assert (entry.kind, entry.source) == ("fuse.vaultfs", b"vaultfs")
        served.unmount()
        assert not mount.is_mounted(served.mountpoint)

    def test_what_is_written_is_read(self, serve: Callable[..., Served]) -> None:
        served = serve("handshake")
        path = served.mountpoint / "file"
        path.write_bytes(b"x" * 300_000)
        assert path.read_bytes() == b"x" * 300_000
        served.unmount()

    def test_a_killed_server_gives_enotconn_and_the_next_mount_clears_it(self, serve: Callable[..., Served]) -> None:
        served = serve("handshake")
        served.process.kill()
        served.process.wait()
        with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
            (served.mountpoint / "file").read_bytes()
        notes = mount.check_mountpoint(str(served.mountpoint))
        assert len(notes) == 1
        assert not mount.is_mounted(served.mountpoint)

    def test_a_second_mount_on_top_is_refused(self, serve: Callable[..., Served]) -> None:
        served = serve("handshake")
        with pytest.raises(MountPointError, match="mounted there already"):
            mount.check_mountpoint(str(served.mountpoint))
        served.unmount()


def request(flags: int = 0xFFFF_FFFF, *, opcode: int = 26, major: int = 7, minor: int = 45) -> bytes:
    """An INIT request as a kernel sends it."""
    body = struct.pack("=IIIII", major, minor, 131072, flags, 0) + bytes(44)
    return struct.pack("=IIQQIIII", 40 + len(body), opcode, 2, 0, 0, 0, 0, 0) + body


def reply(*, unique: int = 2, error: int = 0, major: int = 7) -> bytes:
    """libfuse's answer, with the write-back flag only."""
    body = struct.pack("=IIIIHHIIHHI", major, 37, 131072, protocol.WRITEBACK_CACHE, 0, 0, 1 << 20, 1, 256, 0, 0)
    return struct.pack("=IiQ", 80, error, unique) + body + bytes(28)


ODD_REQUESTS = {
    "empty": b"",
    "short": request()[:50],
    "wrong length": request() + b"more",
    "not INIT": request(opcode=1),
    "major 8": request(major=8),
    "ancient": request(minor=8),
}


class TestRecords:
    @pytest.mark.parametrize("record", ODD_REQUESTS.values(), ids=ODD_REQUESTS)
    def test_odd_requests_are_refused(self, record: bytes) -> None:
        with pytest.raises(protocol.ProtocolError):
            protocol.decode_request(record)

    def test_every_cut_of_a_request_is_refused(self) -> None:
        whole = request()
        for length in range(len(whole)):
            with pytest.raises(protocol.ProtocolError):
                protocol.decode_request(whole[:length])

    @pytest.mark.parametrize(
        "record",
        [b"", reply()[:-1], reply() + b"x", reply(unique=3), reply(error=-71), reply(major=6)],
        ids=["empty", "short", "long", "another's", "an error", "another version"],
    )
    def test_odd_replies_are_refused(self, record: bytes) -> None:
        with pytest.raises(protocol.ProtocolError):
            protocol.amend_reply(record, protocol.decode_request(request()), handshake.WISHES)

    def test_only_what_the_kernel_offers_is_added(self) -> None:
        offered = protocol.decode_request(request(protocol.CACHE_SYMLINKS))
        _, flags = protocol.amend_reply(reply(), offered, handshake.WISHES)
        assert flags == protocol.WRITEBACK_CACHE | protocol.CACHE_SYMLINKS

    def test_nothing_but_flags_and_queue_lengths_changes(self) -> None:
        amended, _ = protocol.amend_reply(
            reply(), protocol.decode_request(request(0)), protocol.Wishes(max_background=7, congestion_threshold=5)
        )
        assert len(amended) == len(reply())
        assert [at for at in range(80) if amended[at] != reply()[at]] == [32, 34]
        assert amended[32:36] == struct.pack("=HH", 7, 5)

    @pytest.mark.fuse
    @pytest.mark.parametrize("record", [*ODD_REQUESTS.values(), None], ids=[*ODD_REQUESTS, "silence"])
    def test_a_handshake_with_an_odd_kernel_fails_cleanly(
        self, record: bytes | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(handshake, "_INIT_SECONDS", 0.2)
        kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = device.detach()
        with kernel:
            if record is not None:
                kernel.send(record)
            with pytest.raises(handshake.HandshakeError):
                trio.run(handshake.negotiate, number, OneFile())
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)

    @pytest.mark.fuse
    def test_a_kernel_that_hangs_up_during_the_reply(self) -> None:
        kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kernel.send(request())
        kernel.shutdown(socket.SHUT_RD)
        with kernel, pytest.raises(handshake.HandshakeError):
            trio.run(handshake.negotiate, device.detach(), OneFile())


class TestMountPoints:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(MountPointError, match="does not exist"):
            mount.check_mountpoint(str(tmp_path / "none"))

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "f").touch()
        with pytest.raises(MountPointError, match="not a directory"):
            mount.check_mountpoint(str(tmp_path / "f"))

    def test_not_empty(self, tmp_path: Path) -> None:
        (tmp_path / "f").touch()
        with pytest.raises(MountPointNotEmptyError):
            mount.check_mountpoint(str(tmp_path))

    def test_an_empty_directory(self, tmp_path: Path) -> None:
        assert mount.check_mountpoint(str(tmp_path)) == []

    def test_symbolic_links_are_resolved(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        assert mount.resolve(tmp_path / "link") == str(tmp_path / "real")

    def test_mountinfo_escapes(self) -> None:
        line = b"36 35 0:40 / /mnt/a\\040b\\134c\\011d rw,nosuid shared:1 - fuse.vaultfs vaultfs rw,user_id=0\n"
        (entry,) = mountinfo.parse(line + b"not a mount\n")
        assert entry.mountpoint == b"/mnt/a b\\c\td"
        assert entry.device == "0:40"
        assert entry.is_vault

    def test_options(self) -> None:
        options = MountOptions.parse(["ro,noatime", "noexec"])
        assert options.read_only
        assert {"ro", "noatime", "noexec", "nosuid", "nodev"} <= set(options.fusermount_words())
        with pytest.raises(UsageError, match="'fd=3'"):
            MountOptions.parse(["fd=3"])
