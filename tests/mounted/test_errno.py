"""Which error every path-taking call gives: the tables of POSIX, call by call."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.support.posix import fails, renameat2
from tests.support.users import ALICE, as_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _close(fd: int) -> None:
    os.close(fd)


# Each makes something new at `path`; `work` has a file `source` and a directory `source-dir`.
MAKERS: dict[str, Callable[[Path, Path], object]] = {
    "open": lambda p, _: _close(os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)),
    "mkdir": lambda p, _: os.mkdir(p),
    "mkfifo": lambda p, _: os.mkfifo(p),
    "mknod": lambda p, _: os.mknod(p, stat.S_IFREG | 0o644),
    "socket": lambda p, _: os.mknod(p, stat.S_IFSOCK | 0o644),
    "symlink": lambda p, _: os.symlink("anything", p),
    "link": lambda p, w: os.link(w / "source", p),
    "rename": lambda p, w: os.rename(w / "source", p),
    "renamedir": lambda p, w: os.rename(w / "source-dir", p),
    "noreplace": lambda p, w: renameat2(w / "source", p, 1),
}
# Each uses something that is there.
USERS: dict[str, Callable[[Path, Path], object]] = {
    "open": lambda p, _: _close(os.open(p, os.O_RDONLY)),
    "stat": lambda p, _: os.stat(p),
    "lstat": lambda p, _: os.lstat(p),
    "chmod": lambda p, _: os.chmod(p, 0o600),
    "chown": lambda p, _: os.chown(p, -1, -1),
    "lchown": lambda p, _: os.lchown(p, -1, -1),
    "utime": lambda p, _: os.utime(p),
    "truncate": lambda p, _: os.truncate(p, 1),
    "unlink": lambda p, _: os.unlink(p),
    "rmdir": lambda p, _: os.rmdir(p),
    "readlink": lambda p, _: os.readlink(p),
    "listdir": lambda p, _: os.listdir(p),
    "rename": lambda p, w: os.rename(p, w / "elsewhere"),
    "link": lambda p, w: os.link(p, w / "elsewhere"),
    "statvfs": lambda p, _: os.statvfs(p),
    "getxattr": lambda p, _: os.getxattr(p, "user.none"),
    "setxattr": lambda p, _: os.setxattr(p, "user.some", b"x"),
    "listxattr": lambda p, _: os.listxattr(p),
    "removexattr": lambda p, _: os.removexattr(p, "user.none"),
}
ALL = [pytest.param(call, id=f"make-{name}") for name, call in MAKERS.items()]
ALL += [pytest.param(call, id=f"use-{name}") for name, call in USERS.items()]
MAKING = [pytest.param(call, id=name) for name, call in MAKERS.items()]
USING = [pytest.param(call, id=name) for name, call in USERS.items()]


@pytest.fixture(autouse=True)
def _sources(work: Path) -> None:
    (work / "source").write_bytes(b"source")
    (work / "source-dir").mkdir()


@pytest.mark.parametrize("call", ALL)
def test_enotdir_when_a_component_is_a_file(work: Path, call: Callable[[Path, Path], object]) -> None:
    (work / "file").touch()
    with fails(errno.ENOTDIR):
        call(work / "file" / "below", work)


@pytest.mark.parametrize("call", ALL)
def test_enoent_when_a_component_is_missing(work: Path, call: Callable[[Path, Path], object]) -> None:
    with fails(errno.ENOENT):
        call(work / "missing" / "below", work)


@pytest.mark.parametrize("call", USING)
def test_enoent_when_the_name_is_missing(work: Path, call: Callable[[Path, Path], object]) -> None:
    with fails(errno.ENOENT):
        call(work / "missing", work)


@pytest.mark.parametrize("call", ALL)
def test_enametoolong_for_a_name_of_256(work: Path, call: Callable[[Path, Path], object]) -> None:
    with fails(errno.ENAMETOOLONG):
        call(work / ("x" * 256), work)


@pytest.mark.parametrize("call", ALL)
def test_enametoolong_for_a_component_of_256(work: Path, call: Callable[[Path, Path], object]) -> None:
    with fails(errno.ENAMETOOLONG):
        call(work / ("x" * 256) / "below", work)


@pytest.mark.parametrize("call", ALL)
def test_enametoolong_for_a_path_of_4096(work: Path, call: Callable[[Path, Path], object]) -> None:
    with fails(errno.ENAMETOOLONG):
        call(_long(work), work)


def _long(work: Path) -> Path:
    """A path of 4096 bytes: with the NUL, one too many."""
    path = os.fspath(work)
    while len(path) < 4096 - 201:
        path += "/" + "d" * 200
    return type(work)(path + "/" + "e" * (4096 - len(path) - 1))


@pytest.mark.parametrize("call", ALL)
def test_eloop_for_links_in_a_circle(work: Path, call: Callable[[Path, Path], object]) -> None:
    os.symlink("b", work / "a")
    os.symlink("a", work / "b")
    with fails(errno.ELOOP):
        call(work / "a" / "below", work)


@pytest.mark.parametrize("call", MAKING)
@pytest.mark.parametrize("kind", ["file", "directory", "fifo", "symlink", "dangling"])
def test_eexist_whatever_is_there(work: Path, kind: str, call: Callable[[Path, Path], object]) -> None:
    path = work / "there"
    make = {
        "file": path.touch,
        "directory": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "symlink": lambda: path.symlink_to("source"),
        "dangling": lambda: path.symlink_to("nowhere"),
    }
    make[kind]()
    if call is MAKERS["rename"]:  # rename replaces, but no directory
        if kind == "directory":
            with fails(errno.EISDIR):
                call(path, work)
        else:
            call(path, work)
            assert path.read_bytes() == b"source"
        return
    if call is MAKERS["renamedir"]:  # a directory replaces an empty directory only
        if kind == "directory":
            call(path, work)
        else:
            with fails(errno.ENOTDIR):
                call(path, work)
        return
    with fails(errno.EEXIST):
        call(path, work)


@pytest.mark.root
@pytest.mark.parametrize("call", ALL)
def test_eacces_when_search_is_denied(work: Path, call: Callable[[Path, Path], object]) -> None:
    work.chmod(0o777)
    os.mkdir(work / "closed", 0o700)
    os.chown(work / "source", ALICE.uid, ALICE.gid)
    os.chown(work / "source-dir", ALICE.uid, ALICE.gid)
    (work / "closed" / "there").touch(0o666)
    with fails(errno.EACCES):
        as_user(ALICE, lambda: call(work / "closed" / "there", work) and None)


@pytest.mark.root
@pytest.mark.parametrize("call", MAKING)
def test_eacces_when_the_directory_is_not_writable(work: Path, call: Callable[[Path, Path], object]) -> None:
    os.mkdir(work / "readonly", 0o755)
    work.chmod(0o777)
    os.chown(work / "source", ALICE.uid, ALICE.gid)
    os.chown(work / "source-dir", ALICE.uid, ALICE.gid)
    with fails(errno.EACCES):
        as_user(ALICE, lambda: call(work / "readonly" / "new", work) and None)


@pytest.mark.root
@pytest.mark.parametrize(
    ("flags", "mode"),
    [(os.O_RDONLY, 0o200), (os.O_WRONLY, 0o400), (os.O_RDWR, 0o400), (os.O_RDONLY | os.O_TRUNC, 0o400)],
)
def test_eacces_on_open_by_mode(work: Path, flags: int, mode: int) -> None:
    for uid, bits in ((ALICE.uid, mode), (0, mode >> 6)):
        path = work / f"file-{uid}"
        path.touch()
        os.chown(path, uid, 0)
        os.chmod(path, bits)
        with fails(errno.EACCES):
            as_user(ALICE, lambda path=path: _close(os.open(path, flags)))


def test_eisdir(work: Path) -> None:
    (work / "d").mkdir()
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_CREAT):
        with fails(errno.EISDIR):
            os.open(work / "d", flags)
    with fails(errno.EISDIR):
        os.unlink(work / "d")
    with fails(errno.EISDIR):
        os.truncate(work / "d", 0)
    fd = os.open(work / "d", os.O_RDONLY | os.O_DIRECTORY)
    with fails(errno.EISDIR):
        os.read(fd, 1)
    os.close(fd)


def test_enotdir(work: Path) -> None:
    with fails(errno.ENOTDIR):
        os.open(work / "source", os.O_RDONLY | os.O_DIRECTORY)
    with fails(errno.ENOTDIR):
        os.rmdir(work / "source")
    with fails(errno.ENOTDIR):
        os.listdir(work / "source")
    with fails(errno.ENOTDIR):
        os.stat(f"{work}/source/")


def test_enotempty(work: Path) -> None:
    (work / "source-dir" / "child").touch()
    (work / "other").mkdir()
    with fails(errno.ENOTEMPTY, errno.EEXIST):
        os.rmdir(work / "source-dir")
    with fails(errno.ENOTEMPTY, errno.EEXIST):
        os.rename(work / "other", work / "source-dir")
    os.unlink(work / "source-dir" / "child")
    os.rmdir(work / "source-dir")


def test_einval(work: Path) -> None:
    with fails(errno.EINVAL):
        os.rmdir(f"{work}/source-dir/.")
    with fails(errno.EINVAL):
        os.rename(work / "source-dir", work / "source-dir" / "below")
    with fails(errno.EINVAL):
        os.truncate(work / "source", -1)
    with fails(errno.EINVAL):
        os.readlink(work / "source")
    fd = os.open(work / "source", os.O_RDONLY)
    with fails(errno.EINVAL, errno.EBADF):
        os.ftruncate(fd, 0)
    with fails(errno.EBADF):
        os.write(fd, b"x")
    os.close(fd)
    for tail in ("/..", "/source-dir/.."):
        with fails(errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
            os.rmdir(f"{work}{tail}")


def test_eloop_for_nofollow(work: Path) -> None:
    os.symlink("source", work / "link")
    with fails(errno.ELOOP):
        os.open(work / "link", os.O_RDONLY | os.O_NOFOLLOW)
    os.symlink("source-dir", work / "dirlink")
    with fails(errno.ENOTDIR):
        os.open(work / "dirlink", os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)


def test_efbig_and_limits(work: Path) -> None:
    with fails(errno.EFBIG, errno.EINVAL):
        os.truncate(work / "source", (1 << 63) - 1)
    assert (work / "source").stat().st_size == 6


def test_exdev_between_file_systems(work: Path, outside: Path, target: object) -> None:
    if not target.is_vaultfs:  # type: ignore[attr-defined]
        pytest.skip("a plain directory is on the same file system")
    (outside / "f").touch()
    with fails(errno.EXDEV):
        os.rename(outside / "f", work / "f")
    with fails(errno.EXDEV):
        os.link(work / "source", outside / "l")


def test_enxio_for_a_fifo_without_reader(work: Path) -> None:
    os.mkfifo(work / "fifo")
    with fails(errno.ENXIO):
        os.open(work / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    os.mknod(work / "socket", stat.S_IFSOCK | 0o600)
    with fails(errno.ENXIO):
        os.open(work / "socket", os.O_RDONLY)


def test_etxtbsy(work: Path) -> None:
    """A program that runs cannot be opened for writing."""
    import shutil  # noqa: PLC0415
    import subprocess  # noqa: PLC0415

    program = work / "sleep"
    shutil.copy("/bin/sleep", program)
    running = subprocess.Popen([program, "60"])
    try:
        with fails(errno.ETXTBSY):
            os.open(program, os.O_WRONLY)
        with fails(errno.ETXTBSY):
            os.truncate(program, 0)
    finally:
        running.kill()
        running.wait()
