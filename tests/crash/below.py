"""A disk that fails below a real file system: ext4 on a loop device over a file of `Lossy`. Needs root.

So the kernel's own caches and its way to tell errors are between the store and the fault.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.crash.claims import sync_directory
from tests.crash.lossy import Lossy
from tests.support.leftovers import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOP = Path("/dev/loop-control")
DISK_BYTES = 256 << 20
# Its own journal is not written by the clock: where that fails, ext4 ends itself, and with it all that it has cached.
OPTIONS = ("-o", "commit=300,noatime,lazytime")


def run(*arguments: str | Path) -> str:
    """A command that has to succeed; what it said."""
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout.strip()


class Below:
    """The disk, and the file systems mounted from it."""

    def __init__(self, base: Path, disk: Lossy) -> None:
        self._base = base
        self._disk = disk
        self._mounted: list[tuple[Path, str]] = []
        image = disk.mountpoint / "image"
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
        run("mkfs.ext4", "-q", "-F", "-m", "0", image)
        sync_directory(disk.mountpoint)
        self.mountpoint = self._mount(image)

    def _mount(self, image: Path) -> Path:
        mountpoint = self._base / f"ext4-{len(self._mounted)}"
        mountpoint.mkdir()
        device = run("losetup", "--find", "--show", image)
        self._mounted.append((mountpoint, device))
        run("mount", *OPTIONS, device, mountpoint)
        return mountpoint

    def fault(self, code: int) -> None:
        """Nothing is taken any more."""
        self._disk.fault(code, 0)

    def heal(self) -> None:
        """All is taken again."""
        assert self._disk.heal()["hits"], "the fault was never met"

    def cut(self) -> Path:
        """The power fails and comes back; where what is durable is mounted then."""
        image = self._disk.cut(random.Random(0), drop_all=True) / "image"
        return self._mount(image)

    def stop(self) -> None:
        """Unmounts all."""
        for mountpoint, device in self._mounted:
            subprocess.run(["umount", "--lazy", mountpoint], check=False, stderr=subprocess.DEVNULL)
            subprocess.run(["losetup", "--detach", device], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def ext4_on_such_a_disk() -> Iterator[Below]:
    """Skips where there are no loop devices."""
    if not LOOP.exists():
        pytest.skip("this machine has no loop devices")
    base = scratch()
    disk = Lossy(base)
    below = None
    try:
        disk.start()
        below = Below(base, disk)
        yield below
    finally:
        if below is not None:
            below.stop()
        disk.stop()
        shutil.rmtree(base, ignore_errors=True)
