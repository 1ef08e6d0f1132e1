"""rename with its flags, unlink, rmdir: what goes, what stays, who may."""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.posix import RENAME_EXCHANGE, RENAME_NOREPLACE, fails, renameat2
from tests.support.users import ALICE, BOB, as_user

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ["file", "directory", "fifo", "symlink", "socket"]
OLD = 10**18


def make(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_bytes(path.name.encode())
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "symlink":
        os.symlink("nowhere", path)
    else:
        os.mknod(path, stat.S_IFSOCK | 0o644)


@pytest.mark.parametrize("kind", KINDS)
def test_rename_keeps_the_file_and_marks_both_parents(work: Path, kind: str) -> None:
    (work / "x").mkdir()
    (work / "y").mkdir()
    make(work / "x" / "a", kind)
    before = os.lstat(work / "x" / "a")
    os.utime(work / "x", ns=(OLD, OLD))
    os.utime(work / "y", ns=(OLD, OLD))
    time.sleep(0.02)
    os.rename(work / "x" / "a", work / "y" / "b")
    after = os.lstat(work / "y" / "b")
    assert (after.st_ino, after.st_mode, after.st_nlink) == (before.st_ino, before.st_mode, before.st_nlink)
    assert after.st_mtime_ns == before.st_mtime_ns
    assert os.stat(work / "x").st_mtime_ns > OLD
    assert os.stat(work / "y").st_mtime_ns > OLD
    assert not os.path.lexists(work / "x" / "a")
    expected = (2, 3) if kind == "directory" else (2, 2)
    assert (os.stat(work / "x").st_nlink, os.stat(work / "y").st_nlink) == expected


def test_rename_replaces_and_frees_the_old(work: Path) -> None:
    (work / "a").write_bytes(b"new")
    (work / "b").write_bytes(b"old")
    os.link(work / "b", work / "b2")
    fd = os.open(work / "b", os.O_RDONLY)
    os.rename(work / "a", work / "b")
    assert (work / "b").read_bytes() == b"new"
    assert os.read(fd, 10) == b"old"
    assert os.fstat(fd).st_nlink == 1
    assert (work / "b2").read_bytes() == b"old"
    os.close(fd)


def test_rename_of_a_directory_takes_its_tree(work: Path) -> None:
    (work / "a" / "deep" / "deeper").mkdir(parents=True)
    (work / "a" / "deep" / "f").write_bytes(b"1")
    (work / "target").mkdir()
    os.rename(work / "a", work / "target")
    assert (work / "target" / "deep" / "f").read_bytes() == b"1"
    assert os.stat(work / "target" / "deep" / "deeper" / ".." / "..").st_ino == os.stat(work / "target").st_ino
    (work / "b").mkdir()
    os.rename(work / "target", work / "b" / "inside")
    assert os.stat(work / "b" / "inside" / "..").st_ino == os.stat(work / "b").st_ino


def test_rename_between_two_links_of_one_file_does_nothing(work: Path) -> None:
    (work / "a").write_bytes(b"1")
    os.link(work / "a", work / "b")
    os.rename(work / "a", work / "b")
    assert sorted(os.listdir(work)) == ["a", "b"]
    os.rename(work / "a", work / "a")
    assert (work / "a").read_bytes() == b"1"


@pytest.mark.parametrize("old", ["file", "directory", "symlink"])
@pytest.mark.parametrize("new", ["file", "directory", "full", "symlink"])
def test_rename_over(work: Path, old: str, new: str) -> None:
    make(work / "old", old)
    make(work / "new", "directory" if new == "full" else new)
    if new == "full":
        (work / "new" / "child").touch()
    wrong = None
    if old == "directory" and new in ("file", "symlink"):
        wrong = errno.ENOTDIR
    elif old != "directory" and new in ("directory", "full"):
        wrong = errno.EISDIR
    elif new == "full":
        wrong = errno.ENOTEMPTY
    inode = os.lstat(work / "old").st_ino
    if wrong:
        with fails(wrong):
            os.rename(work / "old", work / "new")
        assert os.lstat(work / "old").st_ino == inode
    else:
        os.rename(work / "old", work / "new")
        assert os.lstat(work / "new").st_ino == inode
        assert not os.path.lexists(work / "old")


@pytest.mark.parametrize("kind", KINDS)
def test_noreplace(work: Path, kind: str) -> None:
    make(work / "a", "file")
    renameat2(work / "a", work / "b", RENAME_NOREPLACE)
    make(work / "there", kind)
    with fails(errno.EEXIST):
        renameat2(work / "b", work / "there", RENAME_NOREPLACE)
    assert (work / "b").read_bytes() == b"a"


@pytest.mark.parametrize("one", KINDS)
@pytest.mark.parametrize("other", ["file", "directory"])
def test_exchange(work: Path, one: str, other: str) -> None:
    (work / "p").mkdir()
    (work / "q").mkdir()
    make(work / "p" / "a", one)
    make(work / "q" / "b", other)
    a, b = os.lstat(work / "p" / "a"), os.lstat(work / "q" / "b")
    renameat2(work / "p" / "a", work / "q" / "b", RENAME_EXCHANGE)
    assert os.lstat(work / "p" / "a").st_ino == b.st_ino
    assert os.lstat(work / "q" / "b").st_ino == a.st_ino
    assert os.stat(work / "p").st_nlink == 2 + (other == "directory")
    assert os.stat(work / "q").st_nlink == 2 + (one == "directory")


def test_exchange_errors(work: Path) -> None:
    make(work / "a", "file")
    with fails(errno.ENOENT):
        renameat2(work / "a", work / "missing", RENAME_EXCHANGE)
    with fails(errno.EINVAL):
        renameat2(work / "a", work / "b", RENAME_EXCHANGE | RENAME_NOREPLACE)
    (work / "d" / "e").mkdir(parents=True)
    with fails(errno.EINVAL):
        renameat2(work / "d", work / "d" / "e", RENAME_EXCHANGE)
    with fails(errno.EINVAL, errno.ENOTEMPTY):
        renameat2(work / "d" / "e", work / "d", RENAME_EXCHANGE)
    with fails(errno.EINVAL):
        renameat2(work / "a", work / "b", 1 << 10)


def test_exchange_of_full_directories(work: Path) -> None:
    for name in ("one", "two"):
        (work / name / "sub").mkdir(parents=True)
        (work / name / "sub" / name).write_bytes(name.encode())
    renameat2(work / "one", work / "two", RENAME_EXCHANGE)
    assert (work / "one" / "sub" / "two").read_bytes() == b"two"
    assert (work / "two" / "sub" / "one").read_bytes() == b"one"


def test_unlink_moves_times(work: Path) -> None:
    (work / "a").touch()
    os.link(work / "a", work / "b")
    before = os.stat(work / "b")
    os.utime(work, ns=(OLD, OLD))
    time.sleep(0.02)
    os.unlink(work / "a")
    after = os.stat(work / "b")
    assert after.st_nlink == 1
    assert after.st_ctime_ns > before.st_ctime_ns
    assert after.st_mtime_ns == before.st_mtime_ns
    assert os.stat(work).st_mtime_ns > OLD


def test_rmdir_counts_down(work: Path) -> None:
    (work / "a").mkdir()
    (work / "b").mkdir()
    assert os.stat(work).st_nlink == 4
    os.utime(work, ns=(OLD, OLD))
    os.rmdir(work / "a")
    assert os.stat(work).st_nlink == 3
    assert os.stat(work).st_mtime_ns > OLD


def test_unlinked_but_open(work: Path) -> None:
    fd = os.open(work / "f", os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, b"x" * 10_000)
    os.unlink(work / "f")
    assert os.listdir(work) == []
    assert os.fstat(fd).st_nlink == 0
    os.pwrite(fd, b"yy", 9_999)
    os.ftruncate(fd, 20_000)
    os.fchmod(fd, 0o600)
    os.fsync(fd)
    (work / "f").write_bytes(b"another")
    assert os.pread(fd, 3, 9_998) == b"xyy"
    assert os.fstat(fd).st_size == 20_000
    assert (work / "f").read_bytes() == b"another"
    os.close(fd)


def test_a_removed_directory_that_is_held(work: Path) -> None:
    (work / "d").mkdir()
    fd = os.open(work / "d", os.O_RDONLY)
    os.rmdir(work / "d")
    assert os.fstat(fd).st_nlink == 0
    assert os.listdir(fd) == []
    with fails(errno.ENOENT):
        os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    with fails(errno.ENOENT):
        os.mkdir("new", dir_fd=fd)
    os.close(fd)


def test_dot_names(work: Path) -> None:
    (work / "d").mkdir()
    with fails(errno.EINVAL):
        os.rmdir(f"{work}/d/.")
    with fails(errno.EBUSY, errno.EINVAL, errno.EEXIST):
        os.rename(f"{work}/d/.", work / "e")
    with fails(errno.EBUSY, errno.EINVAL, errno.EEXIST):
        os.rename(work / "d", f"{work}/d/..")


@pytest.mark.root
def test_sticky_directory(work: Path) -> None:
    """In a sticky directory only the owner of the entry or of the directory removes or renames."""
    shared = work / "shared"
    shared.mkdir()
    os.chmod(shared, 0o1777)
    as_user(ALICE, lambda: (shared / "alices").write_bytes(b"1"))
    as_user(ALICE, (shared / "alices-dir").mkdir)
    for attempt in (
        lambda: os.unlink(shared / "alices"),
        lambda: os.rename(shared / "alices", shared / "bobs"),
        lambda: os.rmdir(shared / "alices-dir"),
        lambda: os.rename(shared / "alices-dir", shared / "bobs"),
    ):
        with fails(errno.EPERM, errno.EACCES):
            as_user(BOB, attempt)
    as_user(BOB, lambda: (shared / "bobs").write_bytes(b"2"))
    with fails(errno.EPERM, errno.EACCES):
        as_user(BOB, lambda: os.rename(shared / "bobs", shared / "alices"))
    as_user(ALICE, lambda: os.rename(shared / "alices", shared / "again"))
    as_user(ALICE, lambda: os.unlink(shared / "again"))
    os.chown(shared, BOB.uid, BOB.gid)
    as_user(BOB, lambda: os.rmdir(shared / "alices-dir"))


@pytest.mark.root
def test_a_directory_of_another_is_not_moved_out(work: Path) -> None:
    """Renaming a directory to a new parent rewrites its `..`: that takes write permission on it."""
    work.chmod(0o777)
    as_user(ALICE, (work / "a").mkdir)
    (work / "a" / "roots").mkdir(0o755)
    as_user(ALICE, (work / "b").mkdir)
    with fails(errno.EACCES):
        as_user(ALICE, lambda: os.rename(work / "a" / "roots", work / "b" / "roots"))
    as_user(ALICE, lambda: os.rename(work / "a" / "roots", work / "a" / "renamed"))
