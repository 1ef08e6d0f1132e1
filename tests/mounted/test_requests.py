"""What the kernel asks for what programs do, counted: neither more requests than need be, nor any by the slow lane."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.counting import counting, quiet, second_git_status, write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mounted.conftest import Target
    from tests.support.driver import Machine

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(os.environ.get("VAULTFS_LANE") == "pyfuse3", reason="pyfuse3 counts nothing"),
]


@pytest.fixture
def fuse(machine: Machine) -> Path:
    """The status file of a mount that has both lanes."""
    return machine.mountpoint / ".vaultfs/status"


def test_a_small_file_costs_what_the_kernel_cannot_do_without(work: Path, fuse: Path) -> None:
    write(work / "first", "x")
    with counting(fuse) as counted:
        for number in range(100):
            write(work / str(number), "something\n" * 50)
    allowed = {"lookup", "create", "getattr", "getxattr", "write", "setattr", "release", "ioctl"}
    assert counted.keys() <= allowed, "Python's open asks each file whether it is a terminal, by ioctl"
    assert max(counted.values()) <= 102
    assert not counted["passed_on"]


def test_what_was_listed_once_is_listed_again_without_a_question(work: Path, fuse: Path) -> None:
    for directory in ("a", "a/b", "c"):
        (work / directory).mkdir()
        for number in range(30):
            write(work / directory / str(number), "x")
    quiet(work)
    command = ["ls", "-lR", str(work)]
    first = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with counting(fuse) as counted:
        again = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert again == first
    del counted["getxattr"]  # ls asks each file for the attribute of SELinux, which no kernel remembers the lack of
    assert not +counted, counted


def test_a_listing_that_the_kernel_keeps_follows_what_changes(work: Path, fuse: Path) -> None:
    names = {str(number) for number in range(300)}
    for name in names:
        (work / name).touch()
    assert set(os.listdir(work)) == names
    os.stat(work)  # its time has changed
    with counting(fuse) as counted:
        assert set(os.listdir(work)) == names
    assert not +counted, counted
    (work / "new").touch()
    (work / "7").unlink()
    (work / "8").rename(work / "eight")
    assert set(os.listdir(work)) == names - {"7", "8"} | {"new", "eight"}


def test_a_second_git_status_asks_only_what_has_to_be_seen(work: Path, fuse: Path, target: Target) -> None:
    assert target.is_vaultfs
    counted = second_git_status(work, fuse)
    assert counted.keys() - {"open", "release", "getattr", "lookup"} == set(), counted


def test_what_git_does_to_keep_an_object_is_all_answered_at_once(work: Path, fuse: Path, target: Target) -> None:
    assert target.is_vaultfs
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    for number in range(20):
        write(work / f"file{number}", f"text {number}")
    with counting(fuse) as counted:
        subprocess.run(["git", "-C", str(work), "add", "-A"], check=True)
        (work / "here").symlink_to("file1")
        assert (work / "here").readlink().name == "file1"
    assert counted["link"] == 20
    assert counted["symlink"] == 1
    assert not counted["passed_on"], counted


def test_a_page_written_again_and_again_is_sent_once_for_each_fsync(work: Path, fuse: Path) -> None:
    descriptor = os.open(work / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"x")
    os.fsync(descriptor)
    with counting(fuse) as counted:
        for _ in range(50):
            os.write(descriptor, b"line\n")
            os.fsync(descriptor)
    os.close(descriptor)
    assert counted["fsync"] == 50
    assert counted["write"] == 50
    assert counted["setattr"] <= 50
    assert counted.keys() <= {"fsync", "write", "setattr"}
