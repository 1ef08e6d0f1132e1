"""A mount of root's into which nobody else gets: the kernel looks at no modes, and asks for none."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.mounted.conftest import mounted
from tests.support.counting import counting, second_git_status
from tests.support.posix import fails
from tests.support.users import ALICE, User, as_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.driver import Machine

pytestmark = [pytest.mark.fuse, pytest.mark.root]


@pytest.fixture(scope="module")
def alone() -> Iterator[Machine]:
    """Mounted as `vaultfs mount` does it for root without options."""
    with mounted(options=()) as machine:
        machine.mountpoint.chmod(0o755)
        yield machine


@pytest.fixture
def inside(alone: Machine, request: pytest.FixtureRequest) -> Path:
    """A directory in it."""
    path = alone.mountpoint / request.node.name
    path.mkdir()
    return path


def test_nobody_else_gets_in(alone: Machine, inside: Path) -> None:
    (inside / "f").write_text("x")
    (inside / "f").chmod(0o666)
    with fails(errno.EACCES):
        as_user(ALICE, lambda: os.listdir(alone.mountpoint))
    with fails(errno.EACCES):
        as_user(ALICE, (inside / "f").read_bytes)


def test_root_whose_group_is_another_mounts_for_itself() -> None:
    prefix = ("setpriv", f"--regid={ALICE.gid}", "--clear-groups")
    with mounted(options=(), prefix=prefix) as machine:
        path = machine.mountpoint / "f"
        assert as_user(User(0, ALICE.gid), lambda: (path.write_text("x"), path.read_text())) == (1, "x")
        with fails(errno.EACCES):  # as with every mount of this kind
            path.stat()


def test_root_does_everything_and_runs_what_anybody_may(inside: Path) -> None:
    program = inside / "program"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0)
    closed = inside / "closed"
    closed.mkdir(mode=0)
    assert program.read_text().startswith("#!")
    assert [os.access(program, way) for way in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)] == [True, True, True, False]
    assert shutil.which(program) is None
    with fails(errno.EACCES):
        subprocess.run([program], check=False)
    program.chmod(0o010)
    assert shutil.which(program)
    assert subprocess.run([program], check=False).returncode == 3
    (closed / "f").write_text("x")
    assert all(os.access(closed, way) for way in (os.R_OK, os.W_OK, os.X_OK, os.R_OK | os.W_OK | os.X_OK))
    assert subprocess.run(["cat", "f"], cwd=closed, capture_output=True, check=True).stdout == b"x"
    assert not os.access(inside.parent / ".vaultfs/status", os.X_OK)


def test_access_control_lists_are_kept(inside: Path) -> None:
    if shutil.which("setfacl") is None:
        pytest.skip("no setfacl here (Debian package acl)")
    path = inside / "f"
    path.write_text("x")
    path.chmod(0o600)
    os.stat(path)  # the kernel has its mode
    subprocess.run(["setfacl", "-m", f"u:{ALICE.uid}:rw", path], check=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660, "the group's bits are the mask now"
    path.chmod(0o640)

    def shown(of: Path) -> list[str]:
        done = subprocess.run(["getfacl", "-cpEn", of], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert shown(path) == ["user::rw-", f"user:{ALICE.uid}:rw-", "group::---", "mask::r--", "other::---"]
    subprocess.run(["setfacl", "-d", "-m", f"u:{ALICE.uid}:r", inside], check=True)
    (inside / "new").write_text("x")
    assert f"user:{ALICE.uid}:r--" in shown(inside / "new")


counts = pytest.mark.skipif(os.environ.get("VAULTFS_LANE") == "pyfuse3", reason="pyfuse3 counts nothing")


@counts
def test_a_change_in_a_directory_costs_no_look_at_its_mode(alone: Machine, inside: Path) -> None:
    with counting(alone.mountpoint / ".vaultfs/status") as counted:
        for number in range(50):
            (inside / str(number)).touch()
        for number in range(50):
            os.rename(inside / str(number), inside / f"{number}.new")
        for number in range(50):
            os.unlink(inside / f"{number}.new")
        assert os.access(inside, os.W_OK)
    assert counted["getattr"] <= 2
    assert counted["access"] == 1
    assert not counted["passed_on"]


@counts
def test_a_second_git_status_asks_what_may_be_entered_and_no_more_than_elsewhere(alone: Machine, inside: Path) -> None:
    counted = second_git_status(inside, alone.mountpoint / ".vaultfs/status")
    assert counted.keys() <= {"open", "release", "getattr", "lookup", "access"}, counted
    assert counted["access"] <= 12, "chdir and access, which the kernel asks each time"
