"""What a new file looks like: open, mkdir, mkfifo, mknod, symlink, link."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.posix import fails
from tests.support.users import ALICE, BOB, as_user

if TYPE_CHECKING:
    from pathlib import Path


def _file(path: Path, mode: int) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))


MAKERS = {
    "file": (_file, stat.S_IFREG),
    "directory": (os.mkdir, stat.S_IFDIR),
    "fifo": (os.mkfifo, stat.S_IFIFO),
    "mknod": (lambda p, m: os.mknod(p, stat.S_IFREG | m), stat.S_IFREG),
    "socket": (lambda p, m: os.mknod(p, stat.S_IFSOCK | m), stat.S_IFSOCK),
}
KINDS = [pytest.param(make, kind, id=name) for name, (make, kind) in MAKERS.items()]
Maker = "Callable[[Path, int], None]"


@pytest.mark.parametrize(("make", "kind"), KINDS)
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000, 0o345])
def test_mode_is_masked_by_umask(work: Path, make: Maker, kind: int, umask: int) -> None:
    for mode in (0o777, 0o755, 0o644, 0o600, 0o151, 0o000):
        path = work / f"{mode:o}"
        os.umask(umask)
        make(path, mode)
        os.umask(0o022)
        found = os.lstat(path)
        assert stat.S_IFMT(found.st_mode) == kind
        assert stat.S_IMODE(found.st_mode) == mode & ~umask


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_new_times_and_links(work: Path, make: Maker, kind: int) -> None:
    """Its three times are now; the parent's mtime and ctime move; a directory counts its dots."""
    os.utime(work, ns=(10**18, 10**18))
    links = os.stat(work).st_nlink
    before = time.time_ns() - 20_000_000  # the kernel's clock ticks coarsely
    make(work / "new", 0o755)
    after = time.time_ns() + 20_000_000
    found, parent = os.lstat(work / "new"), os.stat(work)
    for moment in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns):
        assert before <= moment <= after
    assert before <= parent.st_mtime_ns <= after
    assert before <= parent.st_ctime_ns <= after
    assert found.st_nlink == (2 if kind == stat.S_IFDIR else 1)
    assert parent.st_nlink == links + (kind == stat.S_IFDIR)
    assert found.st_size == (found.st_size if kind == stat.S_IFDIR else 0)


@pytest.mark.root
@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_owner_is_the_caller(work: Path, make: Maker, kind: int) -> None:
    work.chmod(0o777)
    as_user(ALICE, lambda: make(work / "alices", 0o755))
    found = os.lstat(work / "alices")
    assert (found.st_uid, found.st_gid) == (ALICE.uid, ALICE.gid)
    del kind


@pytest.mark.root
@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_setgid_directory_hands_on_its_group(work: Path, make: Maker, kind: int) -> None:
    os.chown(work, 0, BOB.gid)
    os.chmod(work, 0o2777)
    as_user(ALICE, lambda: make(work / "new", 0o755))
    found = os.lstat(work / "new")
    assert (found.st_uid, found.st_gid) == (ALICE.uid, BOB.gid)
    assert bool(found.st_mode & stat.S_ISGID) == (kind == stat.S_IFDIR)


@pytest.mark.root
def test_setgid_file_by_a_stranger_to_the_group(work: Path) -> None:
    """In a setgid directory, a new executable setgid file loses the bit unless its maker is in the group."""
    os.chown(work, 0, BOB.gid)
    os.chmod(work, 0o2777)
    as_user(ALICE, lambda: _file(work / "new", 0o2755))
    assert not os.stat(work / "new").st_mode & stat.S_ISGID


@pytest.mark.root
def test_device_nodes(work: Path) -> None:
    device = os.makedev(1, 3)
    os.mknod(work / "null", stat.S_IFCHR | 0o666, device)
    os.mknod(work / "loop", stat.S_IFBLK | 0o660, os.makedev(7, 300))
    found = os.stat(work / "null")
    assert stat.S_ISCHR(found.st_mode)
    assert found.st_rdev == device
    assert os.stat(work / "loop").st_rdev == os.makedev(7, 300)
    work.chmod(0o777)
    with fails(errno.EPERM):
        as_user(ALICE, lambda: os.mknod(work / "other", stat.S_IFCHR | 0o666, device))


def test_fifo_carries_data(work: Path) -> None:
    os.mkfifo(work / "fifo")
    reader = os.open(work / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(work / "fifo", os.O_WRONLY)
    os.write(writer, b"through")
    assert os.read(reader, 100) == b"through"
    os.close(writer)
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_unix_socket_carries_data(work: Path) -> None:
    os.chdir(work)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("socket")
        server.listen()
        client.connect("socket")
        other, _ = server.accept()
        with other:
            client.sendall(b"hello")
            assert other.recv(10) == b"hello"
    assert stat.S_ISSOCK(os.stat("socket").st_mode)


def test_symlink_keeps_any_target(work: Path) -> None:
    for number, target in enumerate([b"x", b"a/b/../c", b"/absolute", b"\xff\xfe\n \x01", b"t" * 4095]):
        link = os.path.join(os.fsencode(work), b"link%d" % number)
        os.symlink(target, link)
        assert os.readlink(link) == target
        found = os.lstat(link)
        assert found.st_size == len(target)
        assert stat.S_IMODE(found.st_mode) == 0o777
    with fails(errno.ENAMETOOLONG):
        os.symlink(b"t" * 4096, os.path.join(os.fsencode(work), b"long"))
    with fails(errno.ENOENT):
        os.symlink("", work / "empty")


def test_symlink_is_followed(work: Path) -> None:
    (work / "d").mkdir()
    os.symlink("d", work / "link")
    (work / "link" / "f").write_bytes(b"1")
    assert (work / "d" / "f").read_bytes() == b"1"
    os.symlink(work / "d" / "new", work / "create")
    (work / "create").write_bytes(b"made through a link")
    assert (work / "d" / "new").read_bytes() == b"made through a link"
    with fails(errno.EEXIST):
        os.open(work / "create", os.O_CREAT | os.O_EXCL)


def test_link_is_the_same_file(work: Path) -> None:
    (work / "a").write_bytes(b"one")
    (work / "d").mkdir()
    old = os.stat(work / "a")
    os.utime(work / "d", ns=(10**18, 10**18))
    time.sleep(0.02)
    os.link(work / "a", work / "d" / "b")
    a, b = os.stat(work / "a"), os.stat(work / "d" / "b")
    assert (a.st_ino, a.st_nlink) == (b.st_ino, b.st_nlink) == (old.st_ino, 2)
    assert a.st_ctime_ns > old.st_ctime_ns
    assert a.st_mtime_ns == old.st_mtime_ns
    assert os.stat(work / "d").st_mtime_ns != 10**18
    (work / "d" / "b").write_bytes(b"two!")
    assert (work / "a").read_bytes() == b"two!"
    os.chmod(work / "a", 0o640)
    assert stat.S_IMODE(os.stat(work / "d" / "b").st_mode) == 0o640
    os.unlink(work / "a")
    assert os.stat(work / "d" / "b").st_nlink == 1
    assert (work / "d" / "b").read_bytes() == b"two!"


@pytest.mark.parametrize("kind", ["fifo", "socket", "symlink"])
def test_link_to_other_kinds(work: Path, kind: str) -> None:
    make = {
        "fifo": os.mkfifo,
        "socket": lambda p: os.mknod(p, stat.S_IFSOCK | 0o600),
        "symlink": lambda p: os.symlink("nowhere", p),
    }
    make[kind](work / "a")
    os.link(work / "a", work / "b", follow_symlinks=False)
    assert os.lstat(work / "a").st_ino == os.lstat(work / "b").st_ino
    assert os.lstat(work / "a").st_nlink == 2


def test_directories_have_no_hard_links(work: Path) -> None:
    (work / "d").mkdir()
    with fails(errno.EPERM):
        os.link(work / "d", work / "e")


def test_a_thousand_links(work: Path) -> None:
    (work / "first").touch()
    for number in range(1000):
        os.link(work / "first", work / f"l{number}")
    assert os.stat(work / "first").st_nlink == 1001


def test_o_creat_on_an_existing_file_changes_nothing(work: Path) -> None:
    (work / "f").write_bytes(b"kept")
    os.chmod(work / "f", 0o600)
    before = os.stat(work / "f")
    os.close(os.open(work / "f", os.O_CREAT | os.O_WRONLY, 0o777))
    after = os.stat(work / "f")
    assert (after.st_mode, after.st_size, after.st_mtime_ns) == (before.st_mode, 4, before.st_mtime_ns)


def test_a_file_made_read_only_can_be_written_by_its_maker(work: Path) -> None:
    fd = os.open(work / "f", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o000)
    os.write(fd, b"through the handle")
    assert os.pread(fd, 100, 0) == b"through the handle"
    os.close(fd)
    assert stat.S_IMODE(os.stat(work / "f").st_mode) == 0


def test_inode_numbers_are_stable_and_unique(work: Path) -> None:
    for number in range(50):
        (work / f"f{number}").touch()
    numbers = {entry.name: entry.inode() for entry in os.scandir(work)}
    assert len(set(numbers.values())) == 50
    assert numbers == {name: os.stat(work / name).st_ino for name in numbers}
    os.rename(work / "f0", work / "moved")
    assert os.stat(work / "moved").st_ino == numbers["f0"]
    assert os.stat(work).st_dev == os.stat(work / "f1").st_dev
