"""What only vaultfs has: who wrote last, the version, the scope, and the hidden status file."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.driver import find_key
from tests.support.posix import fails

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.driver import Machine

WRITER, VERSION, SCOPE = "user.vaultfs.lastWriter", "user.vaultfs.version", "user.vaultfs.scope"
pytestmark = pytest.mark.usefixtures("machine")


def writer(path: Path) -> dict[str, Any]:
    return json.loads(os.getxattr(path, WRITER))  # type: ignore[no-any-return]


def moment(path: Path) -> datetime:
    return datetime.fromisoformat(writer(path)["ts"])


@pytest.fixture(params=["file", "directory"])
def path(work: Path, request: pytest.FixtureRequest) -> Path:
    found = work / "x"
    found.touch() if request.param == "file" else found.mkdir()
    return found


def test_last_writer(path: Path, machine: Machine) -> None:
    found = writer(path)
    assert set(found) == {"device", "deviceId", "ts"}
    status = machine.status()
    assert found["device"] == find_key(status["device"], "label")
    assert found["deviceId"] == find_key(status["device"], "id")
    assert found["ts"].endswith("Z")
    assert abs((datetime.now(UTC) - moment(path)).total_seconds()) < 5


def test_listed(path: Path) -> None:
    assert {WRITER, VERSION} <= set(os.listxattr(path))


def test_not_listed_where_the_kernel_refuses_user_attributes(work: Path) -> None:
    """On links, FIFOs and sockets it answers ENODATA: a name listed there makes rsync -X fail."""
    os.symlink("nowhere", work / "symlink")
    os.mkfifo(work / "fifo")
    for name in ("symlink", "fifo"):
        for listed in os.listxattr(work / name, follow_symlinks=False):
            os.getxattr(work / name, listed, follow_symlinks=False)


def test_last_writer_moves_with_each_change(work: Path) -> None:
    path = work / "f"
    path.write_bytes(b"1")
    last = moment(path)
    fd = os.open(path, os.O_RDWR)
    for change in (
        lambda: os.write(fd, b"2") and os.fsync(fd),
        lambda: os.chmod(path, 0o600),
        lambda: os.truncate(path, 0),
        lambda: os.setxattr(path, "user.a", b"1"),
    ):
        time.sleep(0.02)
        change()
        assert moment(path) > last
        last = moment(path)
    time.sleep(0.02)
    path.read_bytes()
    os.listxattr(path)
    assert moment(path) == last
    os.close(fd)


def test_a_directory_moves_with_its_names(work: Path) -> None:
    last = moment(work)
    time.sleep(0.02)
    (work / "new").touch()
    assert moment(work) > last


@pytest.mark.parametrize("name", [WRITER, VERSION])
def test_read_only(path: Path, name: str, machine: Machine) -> None:
    before = os.getxattr(path, name)
    with fails(errno.EPERM):
        os.setxattr(path, name, b"forged")
    assert os.getxattr(path, name) == before
    # rsync -X removes what the source has not: that must not fail, and removes nothing (the kernel may move ctime)
    os.removexattr(path, name)
    assert writer(path)["deviceId"] == machine.status()["device"]["id"]
    assert os.getxattr(path, VERSION)


def test_unknown_names_of_ours_are_refused(path: Path) -> None:
    with fails(errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP):
        os.setxattr(path, "user.vaultfs.nonsense", b"1")
    with fails(errno.ENODATA):
        os.getxattr(path, "user.vaultfs.nonsense")


def test_version(path: Path) -> None:
    assert os.getxattr(path, VERSION)


def test_scope(work: Path) -> None:
    (work / "d" / "sub").mkdir(parents=True)
    (work / "d" / "old").touch()
    assert os.getxattr(work / "d", SCOPE) == b"vault"
    os.setxattr(work / "d", SCOPE, b"node")
    (work / "d" / "new").touch()
    for inside in ("", "sub", "old", "new"):
        assert os.getxattr(work / "d" / inside, SCOPE) == b"node", f"'{inside}' does not inherit"
    os.setxattr(work / "d" / "sub", SCOPE, b"vault")
    (work / "d" / "sub" / "f").touch()
    assert os.getxattr(work / "d" / "sub" / "f", SCOPE) == b"vault"
    os.setxattr(work / "d", SCOPE, b"vault")
    assert os.getxattr(work / "d" / "new", SCOPE) == b"vault"
    with fails(errno.EINVAL):
        os.setxattr(work / "d", SCOPE, b"everywhere")
    os.removexattr(work / "d" / "sub", SCOPE)
    assert os.getxattr(work / "d" / "sub", SCOPE) == b"vault"


def test_they_cost_no_room(work: Path) -> None:
    """Our own names do not count against the user's limit, and do not stop a full list."""
    (work / "f").touch()
    os.setxattr(work / "f", "user.big", b"v" * 65_536)
    assert WRITER in os.listxattr(work / "f")


def test_copies_do_not_carry_them(work: Path) -> None:
    """cp -a cannot set them, and says nothing about it; the copy has its own."""
    (work / "a").write_bytes(b"1")
    os.utime(work / "a", ns=(1, 1))
    done = subprocess.run(["cp", "-a", "a", "b"], cwd=work, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert moment(work / "b") >= moment(work / "a")


def test_status_is_hidden_but_there(machine: Machine) -> None:
    root = machine.mountpoint
    assert ".vaultfs" not in os.listdir(root)
    with os.scandir(root) as entries:
        assert all(entry.name != ".vaultfs" for entry in entries)
    status = json.loads((root / ".vaultfs" / "status").read_bytes())
    command = machine.status()
    assert set(status) == set(command)
    assert status["vault"] == command["vault"]
    assert find_key(status, "pid") == find_key(command, "pid")
    assert "status" in os.listdir(root / ".vaultfs")


def test_status_is_fresh_and_whole(machine: Machine, work: Path) -> None:
    def files() -> object:
        return find_key(json.loads((machine.mountpoint / ".vaultfs/status").read_bytes()), "files")

    before = files()
    assert isinstance(before, int)
    for number in range(5):
        (work / f"f{number}").touch()
    assert files() == before + 5


def test_status_shows_files_open_for_writing(machine: Machine, work: Path) -> None:
    fd = os.open(work / "open", os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(fd, b"1")
    text = (machine.mountpoint / ".vaultfs/status").read_text()
    assert f"{work.name}/open" in text
    assert str(os.getpid()) in text
    os.close(fd)
    deadline = time.monotonic() + 90
    while f"{work.name}/open" in (machine.mountpoint / ".vaultfs/status").read_text():
        assert time.monotonic() < deadline, "a closed file stays in the list"


def test_status_directory_cannot_be_changed(machine: Machine) -> None:
    root = machine.mountpoint
    for attempt in (
        lambda: os.unlink(root / ".vaultfs/status"),
        lambda: os.rmdir(root / ".vaultfs"),
        lambda: os.rename(root / ".vaultfs", root / "other"),
        lambda: os.mkdir(root / ".vaultfs/new"),
        lambda: os.close(os.open(root / ".vaultfs/status", os.O_WRONLY)),
        (root / ".vaultfs/new").touch,
        lambda: os.mkdir(root / ".vaultfs"),
    ):
        with fails(errno.EPERM, errno.EACCES, errno.EROFS, errno.EEXIST, errno.EBUSY):
            attempt()
    assert json.loads((root / ".vaultfs/status").read_bytes())


def test_file_system_type(machine: Machine) -> None:
    """OpenClaw reads mountinfo and trusts WAL to any FUSE type that it does not know to be remote."""
    with open("/proc/self/mountinfo") as lines:
        mine = [line for line in lines if f" {machine.mountpoint} " in line]
    assert len(mine) == 1
    assert " - fuse.vaultfs " in mine[0]


def test_who(machine: Machine, work: Path) -> None:
    (work / "f").touch()
    done = machine.run("who", str(work / "f"), "--json")
    assert writer(work / "f")["device"] in done.stdout
