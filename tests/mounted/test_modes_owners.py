"""chmod, chown, and the set-id bits that others' writes take away."""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.posix import fails
from tests.support.users import ALICE, BOB, CAROL, as_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def mode(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.mark.parametrize("bits", [0, 0o111, 0o400, 0o644, 0o777, 0o1777, 0o2755, 0o4755, 0o7777])
@pytest.mark.parametrize("kind", ["file", "directory", "fifo"])
def test_chmod_sets_all_twelve_bits(work: Path, bits: int, kind: str) -> None:
    path = work / "x"
    {"file": path.touch, "directory": path.mkdir, "fifo": lambda: os.mkfifo(path)}[kind]()
    before = os.lstat(path)
    time.sleep(0.011)
    os.chmod(path, bits)
    after = os.lstat(path)
    assert stat.S_IMODE(after.st_mode) == bits
    assert stat.S_IFMT(after.st_mode) == stat.S_IFMT(before.st_mode)
    assert after.st_ctime_ns > before.st_ctime_ns
    assert after.st_mtime_ns == before.st_mtime_ns


def test_fchmod_and_through_a_link(work: Path) -> None:
    (work / "f").touch()
    fd = os.open(work / "f", os.O_RDONLY)
    os.fchmod(fd, 0o640)
    os.close(fd)
    assert mode(work / "f") == 0o640
    os.symlink("f", work / "l")
    os.chmod(work / "l", 0o604)
    assert (mode(work / "f"), mode(work / "l")) == (0o604, 0o777)


@pytest.mark.root
def test_chmod_is_for_the_owner(work: Path) -> None:
    (work / "f").touch()
    os.chown(work / "f", ALICE.uid, ALICE.gid)
    as_user(ALICE, lambda: os.chmod(work / "f", 0o600))
    with fails(errno.EPERM):
        as_user(BOB, lambda: os.chmod(work / "f", 0o666))
    assert mode(work / "f") == 0o600


@pytest.mark.root
def test_chmod_drops_setgid_outside_the_group(work: Path) -> None:
    (work / "f").touch()
    os.chown(work / "f", ALICE.uid, BOB.gid)
    as_user(ALICE, lambda: os.chmod(work / "f", 0o2755))
    assert mode(work / "f") == 0o755
    os.chown(work / "f", ALICE.uid, ALICE.gid)
    as_user(ALICE, lambda: os.chmod(work / "f", 0o2755))
    assert mode(work / "f") == 0o2755


@pytest.mark.root
def test_chown_by_root(work: Path) -> None:
    (work / "f").touch()
    before = os.stat(work / "f")
    time.sleep(0.011)
    for uid, gid, expected in ((1, 2, (1, 2)), (-1, 3, (1, 3)), (4, -1, (4, 3)), (-1, -1, (4, 3))):
        os.chown(work / "f", uid, gid)
        found = os.stat(work / "f")
        assert (found.st_uid, found.st_gid) == expected
    assert found.st_ctime_ns > before.st_ctime_ns
    assert found.st_mtime_ns == before.st_mtime_ns
    os.symlink("f", work / "l")
    os.lchown(work / "l", 7, 8)
    assert (os.lstat(work / "l").st_uid, os.stat(work / "f").st_uid) == (7, 4)
    big = 2**32 - 2
    os.chown(work / "f", big, big)
    assert (os.stat(work / "f").st_uid, os.stat(work / "f").st_gid) == (big, big)


@pytest.mark.root
def test_chown_by_others(work: Path) -> None:
    """A user may give her own file to a group she is in, and nothing else."""
    (work / "f").touch()
    os.chown(work / "f", CAROL.uid, CAROL.gid)
    as_user(CAROL, lambda: os.chown(work / "f", -1, CAROL.groups[0]))
    assert os.stat(work / "f").st_gid == CAROL.groups[0]
    as_user(CAROL, lambda: os.chown(work / "f", CAROL.uid, CAROL.gid))
    for attempt in (
        lambda: os.chown(work / "f", BOB.uid, -1),
        lambda: os.chown(work / "f", -1, BOB.gid),
        lambda: os.chown(work / "f", 0, 0),
    ):
        with fails(errno.EPERM):
            as_user(CAROL, attempt)
    with fails(errno.EPERM):
        as_user(BOB, lambda: os.chown(work / "f", BOB.uid, BOB.gid))


@pytest.mark.root
@pytest.mark.parametrize(
    ("before", "after"), [(0o6755, 0o755), (0o4755, 0o755), (0o2755, 0o755), (0o2745, 0o2745), (0o644, 0o644)]
)
def test_chown_clears_set_id_bits(work: Path, before: int, after: int) -> None:
    """Also for root; set-group-id without group execution is mandatory locking, and stays."""
    (work / "f").touch()
    os.chown(work / "f", CAROL.uid, CAROL.gid)
    os.chmod(work / "f", before)
    as_user(CAROL, lambda: os.chown(work / "f", -1, CAROL.groups[0]))
    assert mode(work / "f") in ({after} if after != 0o2745 else {0o2745, 0o745})
    os.chmod(work / "f", before)
    os.chown(work / "f", BOB.uid, BOB.gid)
    assert mode(work / "f") == after


@pytest.mark.root
def test_chown_leaves_a_directory_its_bits(work: Path) -> None:
    (work / "d").mkdir()
    os.chmod(work / "d", 0o6755)
    os.chown(work / "d", 5, 5)
    assert mode(work / "d") == 0o6755


def _write(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b"x")
    os.close(fd)


def _append(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"x")
    os.close(fd)


def _ftruncate(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.ftruncate(fd, 2)
    os.close(fd)


CHANGES = {
    "write": _write,
    "append": _append,
    "truncate": lambda p: os.truncate(p, 1),
    "ftruncate": _ftruncate,
    "o_trunc": lambda p: os.close(os.open(p, os.O_WRONLY | os.O_TRUNC)),
}


@pytest.mark.root
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize(
    ("before", "after"), [(0o6777, 0o777), (0o4777, 0o777), (0o2777, 0o777), (0o2767, 0o2767), (0o666, 0o666)]
)
def test_a_write_by_another_clears_set_id_bits(
    work: Path, change: Callable[[Path], None], before: int, after: int
) -> None:
    (work / "f").write_bytes(b"program")
    os.chmod(work / "f", before)
    as_user(ALICE, lambda: change(work / "f"))
    # without group execution the kernel keeps set-group-id or drops it, depending on its age
    assert mode(work / "f") in ({after} if after != 0o2767 else {0o2767, 0o767})


@pytest.mark.root
@pytest.mark.parametrize("change", [CHANGES["write"], CHANGES["append"]], ids=["write", "append"])
def test_a_write_by_root_keeps_them(work: Path, change: Callable[[Path], None]) -> None:
    (work / "f").write_bytes(b"program")
    os.chmod(work / "f", 0o6755)
    change(work / "f")
    assert mode(work / "f") == 0o6755


@pytest.mark.root
def test_a_write_drops_capabilities(work: Path) -> None:
    """security.capability goes with the content it was given to."""
    (work / "f").write_bytes(b"program")
    os.chmod(work / "f", 0o777)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")  # v2, effective, CAP_NET_BIND_SERVICE
    os.setxattr(work / "f", "security.capability", capability)
    assert os.getxattr(work / "f", "security.capability") == capability
    as_user(ALICE, lambda: _write(work / "f"))
    with fails(errno.ENODATA):
        os.getxattr(work / "f", "security.capability")


@pytest.mark.root
@pytest.mark.parametrize("bits", range(8))
@pytest.mark.parametrize("who", ["owner", "group", "other"])
def test_access_follows_the_one_class_that_fits(work: Path, bits: int, who: str) -> None:
    path = work / "f"
    path.write_bytes(b"#!/bin/true\n")
    shift = {"owner": 6, "group": 3, "other": 0}[who]
    os.chown(path, ALICE.uid if who == "owner" else 0, ALICE.gid if who == "group" else 0)
    os.chmod(path, (0o777 & ~(7 << shift)) | bits << shift)  # everyone else may all
    found = as_user(ALICE, lambda: [os.access(path, flag) for flag in (os.R_OK, os.W_OK, os.X_OK)])
    assert found == [bool(bits & 4), bool(bits & 2), bool(bits & 1)]


@pytest.mark.root
def test_directory_bits(work: Path) -> None:
    """Read lists, execute passes through, write with execute changes."""
    shared = work / "d"
    shared.mkdir()
    (shared / "f").write_bytes(b"1")
    os.chmod(shared, 0o744)
    assert as_user(ALICE, lambda: os.listdir(shared)) == ["f"]
    with fails(errno.EACCES):
        as_user(ALICE, (shared / "f").read_bytes)
    os.chmod(shared, 0o711)
    assert as_user(ALICE, (shared / "f").read_bytes) == b"1"
    with fails(errno.EACCES):
        as_user(ALICE, lambda: os.listdir(shared))
    os.chmod(shared, 0o722)
    with fails(errno.EACCES):
        as_user(ALICE, lambda: os.unlink(shared / "f"))
    os.chmod(shared, 0o733)
    as_user(ALICE, lambda: os.unlink(shared / "f"))
