"""What the kernel asks while something is done, counted by the mount itself."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Counted(Counter[str]):
    """Requests by kind, and those that pyfuse3 answered as `passed_on`."""


@contextmanager
def counting(status: Path) -> Iterator[Counted]:
    """Counts what is asked within the block, but for what asking for the status itself costs."""

    def now() -> Counted:
        found = json.loads(status.read_bytes())["fuse"]
        return Counted(found["requests"]) + Counter(passed_on=found["passed_on"])

    now()
    before = now()
    cost = now() - before
    counted = Counted()
    before = now()
    yield counted
    counted.update(now() - before - cost)


def write(path: Path, text: str) -> None:
    """As a program in Python does."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def quiet(work: Path) -> None:
    """The kernel has sent the times of all that was written, which it does within some seconds by itself."""
    for path in work.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
    for path in (work, *work.rglob("*")):
        os.lstat(path)


def second_git_status(work: Path, status_file: Path) -> Counted:
    """What a second `git status` asks, over 60 files that nobody has changed."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(work)]
    subprocess.run([*git, "init", "-q"], check=True)
    for number in range(60):
        write(work / f"file{number}", f"text {number}")
    old = time.time() - 1000
    for path in work.glob("file*"):
        os.utime(path, (old, old))  # else git looks into each file that may be younger than its index
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    quiet(work)
    status = [*git, "--no-optional-locks", "status", "--porcelain"]
    assert not subprocess.run(status, check=True, capture_output=True).stdout
    with counting(status_file) as counted:
        assert not subprocess.run(status, check=True, capture_output=True).stdout
    # An open of a file has to be seen (somebody else may hold it), and after its close the kernel asks for its blocks.
    opened = counted["open"]
    assert opened <= 20, "not each of the 60"
    assert counted["release"] == opened
    assert counted["getattr"] <= opened + 2
    assert counted["lookup"] <= 4, "names that nobody has looked for yet"
    assert not counted["passed_on"]
    return counted
