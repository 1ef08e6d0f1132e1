"""utimensat at nanoseconds, and which call moves which time."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.posix import UTIME_NOW, UTIME_OMIT, fails, utimensat
from tests.support.users import ALICE, BOB, as_user

if TYPE_CHECKING:
    from pathlib import Path

OLD = 1_000_000_000_123_456_789


def times(path: Path) -> tuple[int, int, int]:
    found = os.lstat(path)
    return found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns


@pytest.mark.parametrize(
    "moment", [0, 1, 999_999_999, OLD, 4_102_444_800_000_000_001, (2**31 + 5) * 10**9 + 7, -1, -(10**9) - 1]
)
@pytest.mark.parametrize("kind", ["file", "directory", "fifo"])
def test_utimens_keeps_nanoseconds(work: Path, moment: int, kind: str) -> None:
    path = work / "x"
    {"file": path.touch, "directory": path.mkdir, "fifo": lambda: os.mkfifo(path)}[kind]()
    os.utime(path, ns=(moment, moment + 1))
    assert times(path)[:2] == (moment, moment + 1)


def test_utimens_on_a_symlink_itself(work: Path) -> None:
    (work / "f").touch()
    os.symlink("f", work / "l")
    before = times(work / "f")
    os.utime(work / "l", ns=(OLD, OLD + 1), follow_symlinks=False)
    assert times(work / "l")[:2] == (OLD, OLD + 1)
    assert times(work / "f") == before
    os.utime(work / "l", ns=(OLD + 2, OLD + 3))
    assert times(work / "f")[:2] == (OLD + 2, OLD + 3)


def test_now_and_omit(work: Path) -> None:
    path = work / "f"
    path.touch()
    os.utime(path, ns=(OLD, OLD))
    before = time.time_ns() - 20_000_000
    utimensat(path, UTIME_OMIT, UTIME_NOW)
    assert times(path)[0] == OLD
    assert times(path)[1] >= before
    os.utime(path, ns=(OLD, OLD))
    utimensat(path, UTIME_NOW, UTIME_OMIT)
    assert times(path)[0] >= before
    assert times(path)[1] == OLD
    changed = times(path)
    time.sleep(0.011)
    utimensat(path, UTIME_OMIT, UTIME_OMIT)
    assert times(path)[:2] == changed[:2]


def test_futimens_on_a_written_handle(work: Path) -> None:
    """The time set by hand stays, though the kernel still holds dirty pages (cp -p, tar, rsync)."""
    fd = os.open(work / "f", os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, b"x" * 100_000)
    os.utime(fd, ns=(OLD, OLD))
    assert os.fstat(fd).st_mtime_ns == OLD
    os.close(fd)
    assert times(work / "f")[1] == OLD
    os.sync()
    assert times(work / "f")[1] == OLD
    assert os.stat(work / "f").st_size == 100_000


@pytest.mark.root
def test_who_may_set_times(work: Path) -> None:
    path = work / "f"
    path.touch()
    os.chown(path, ALICE.uid, ALICE.gid)
    os.chmod(path, 0o644)
    as_user(ALICE, lambda: os.utime(path, ns=(1, 1)))
    with fails(errno.EPERM):
        as_user(BOB, lambda: os.utime(path, ns=(1, 1)))
    with fails(errno.EACCES):
        as_user(BOB, lambda: os.utime(path))
    os.chmod(path, 0o666)
    as_user(BOB, lambda: os.utime(path))
    with fails(errno.EPERM):
        as_user(BOB, lambda: os.utime(path, ns=(1, 1)))
    with fails(errno.EPERM):
        as_user(BOB, lambda: utimensat(path, UTIME_NOW, UTIME_OMIT))


def _moved(path: Path, change: object) -> tuple[bool, bool]:
    """Whether mtime and ctime moved by the change."""
    os.utime(path, ns=(OLD, OLD), follow_symlinks=False)
    _, modified, changed = times(path)
    time.sleep(0.011)
    change()  # type: ignore[operator]
    _, modified_after, changed_after = times(path)
    return modified_after != modified, changed_after != changed


def test_write_moves_both(work: Path) -> None:
    path = work / "f"
    path.write_bytes(b"12345")
    fd = os.open(path, os.O_RDWR)
    assert _moved(path, lambda: os.write(fd, b"x")) == (True, True)
    assert _moved(path, lambda: os.pwrite(fd, b"y", 100)) == (True, True)
    assert _moved(path, lambda: os.fsync(fd)) == (False, False)
    os.close(fd)
    assert os.stat(path).st_size == 101


def test_truncate_moves_both(work: Path) -> None:
    path = work / "f"
    path.write_bytes(b"12345")
    assert _moved(path, lambda: os.truncate(path, 2)) == (True, True)
    assert _moved(path, lambda: os.truncate(path, 200)) == (True, True)
    fd = os.open(path, os.O_RDWR)
    assert _moved(path, lambda: os.ftruncate(fd, 1)) == (True, True)
    assert _moved(path, lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))) == (True, True)
    os.close(fd)


def test_attributes_move_ctime_only(work: Path) -> None:
    path = work / "f"
    path.write_bytes(b"12345")
    assert _moved(path, lambda: os.chmod(path, 0o600)) == (False, True)
    assert _moved(path, lambda: os.link(path, work / "g")) == (False, True)
    assert _moved(path, lambda: os.unlink(work / "g")) == (False, True)
    assert _moved(path, lambda: os.setxattr(path, "user.a", b"b")) == (False, True)
    assert _moved(path, lambda: os.removexattr(path, "user.a")) == (False, True)
    assert _moved(path, lambda: os.rename(path, work / "h") or os.rename(work / "h", path))[0] is False


def test_reading_moves_neither(work: Path) -> None:
    path = work / "f"
    path.write_bytes(b"12345")
    assert _moved(path, path.read_bytes) == (False, False)
    assert _moved(path, lambda: os.close(os.open(path, os.O_RDWR))) == (False, False)
    assert _moved(work, lambda: os.listdir(work)) == (False, False)
    assert _moved(path, lambda: os.truncate(path, 5))[1] in (True, False)  # same size: either is POSIX


def test_changing_a_directory_moves_its_times(work: Path) -> None:
    (work / "d").mkdir()
    for change in (
        (work / "d" / "f").touch,
        lambda: os.mkdir(work / "d" / "sub"),
        lambda: os.symlink("x", work / "d" / "l"),
        lambda: os.mkfifo(work / "d" / "p"),
        lambda: os.rename(work / "d" / "f", work / "d" / "g"),
        lambda: os.link(work / "d" / "g", work / "d" / "h"),
        lambda: os.unlink(work / "d" / "g"),
        lambda: os.rmdir(work / "d" / "sub"),
    ):
        assert _moved(work / "d", change) == (True, True)
    assert _moved(work / "d", lambda: (work / "d" / "h").write_bytes(b"1")) == (False, False)


def test_failed_calls_move_nothing(work: Path) -> None:
    (work / "d").mkdir()
    (work / "d" / "f").touch()

    def attempt() -> None:
        for call in (
            lambda: os.mkdir(work / "d" / "f"),
            lambda: os.rmdir(work / "d" / "f"),
            lambda: os.unlink(work / "d" / "none"),
            lambda: os.rename(work / "d" / "none", work / "d" / "f"),
            lambda: os.link(work / "d" / "f", work / "d" / "f"),
            lambda: os.symlink("x", work / "d" / "f"),
            lambda: os.mkfifo(work / "d" / "f"),
        ):
            with fails(errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
                call()

    assert _moved(work / "d", attempt) == (False, False)


def test_times_do_not_run_backwards(work: Path) -> None:
    """Some times are the server's, some the kernel's (write-back, utime): they must come from one clock."""
    for number in range(50):
        path = work / f"f{number}"
        last = (0, 0)
        for change in (
            path.touch,
            path.touch,
            lambda path=path: path.write_bytes(b"1"),
            lambda path=path: os.truncate(path, 0),
            lambda path=path: os.utime(path),
            lambda path=path: os.chmod(path, 0o600),
            lambda path=path: os.link(path, f"{path}-link"),
        ):
            change()
            found = os.stat(path)
            assert found.st_mtime_ns >= last[0]
            assert found.st_ctime_ns >= last[1]
            last = found.st_mtime_ns, found.st_ctime_ns
    assert abs(time.time_ns() - last[0]) < 5_000_000_000
