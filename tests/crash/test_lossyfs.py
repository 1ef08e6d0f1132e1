"""The forgetful disk itself: a power cut that loses nothing would prove nothing."""

from __future__ import annotations

import errno
import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.crash.claims import sync_directory
from tests.crash.disk import ROOT, Disk
from tests.crash.lossy import Lossy
from tests.support.posix import fails

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = 0o100644


def names(disk: Disk) -> set[bytes]:
    return set(disk.node(ROOT).names)


def test_unsynced_data_goes() -> None:
    disk = Disk()
    node = disk.make(ROOT, b"f", FILE, 0, 0)
    disk.write(node.ino, 0, b"kept")
    disk.sync(node.ino)
    disk.sync_names(ROOT)
    disk.write(node.ino, 2, b"lost")
    disk.truncate(node.ino, 3)
    disk.cut(random.Random(1), drop_all=True)
    assert disk.node(node.ino).data == b"kept"
    assert names(disk) == {b"f"}


def test_a_synced_file_without_a_synced_name_goes() -> None:
    disk = Disk()
    disk.sync(disk.make(ROOT, b"f", FILE, 0, 0).ino)
    disk.cut(random.Random(1), drop_all=True)
    assert names(disk) == set()


def test_rename_is_one_change() -> None:
    """Whatever part of the names survives, the file is under one of its two names."""
    for seed in range(50):
        disk = Disk()
        other = disk.make(ROOT, b"d", 0o040755, 0, 0).ino
        disk.make(ROOT, b"old", FILE, 0, 0)
        disk.sync_names(ROOT)
        disk.rename(ROOT, b"old", other, b"new")
        disk.cut(random.Random(seed), drop_all=False)
        assert (b"old" in names(disk)) != (b"new" in disk.node(other).names)


def test_writes_are_torn_at_sectors() -> None:
    seen = set()
    for seed in range(60):
        disk = Disk()
        node = disk.make(ROOT, b"f", FILE, 0, 0)
        disk.write(node.ino, 0, bytes(2048))
        disk.sync(node.ino)
        disk.write(node.ino, 100, b"x" * 1500)
        disk.cut(random.Random(seed), drop_all=False)
        data = disk.node(node.ino).data
        sectors = tuple(b"x" in data[start : start + 512] for start in range(0, 2048, 512))
        assert all(len(set(data[s + 100 * (s == 0) : min(s + 512, 1600)])) == 1 for s in (0, 512, 1024))
        seen.add(sectors)
    assert len(seen) > 5


@pytest.fixture
def lossy(tmp_path: Path) -> Iterator[Lossy]:
    made = Lossy(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.mark.fuse
def test_mounted(lossy: Lossy) -> None:
    root = lossy.mountpoint
    (root / "d").mkdir()
    for name in ("synced", "unsynced"):
        with (root / "d" / name).open("wb") as file:
            file.write(name.encode() * 10_000)
            file.flush()
            if name == "synced":
                os.fsync(file.fileno())
    sync_directory(root / "d")
    sync_directory(root)
    with (root / "d" / "synced").open("r+b") as file:
        file.write(b"XXXX")
    saved = lossy.cut(random.Random(1), drop_all=True)
    lossy.detach()
    assert (saved / "d" / "synced").read_bytes() == b"synced" * 10_000
    assert (saved / "d" / "unsynced").read_bytes() == b""
    lossy.start()
    assert (root / "d" / "synced").read_bytes() == b"synced" * 10_000


@pytest.mark.fuse
def test_faults(lossy: Lossy) -> None:
    root = lossy.mountpoint
    fd = os.open(root / "f", os.O_CREAT | os.O_WRONLY)
    lossy.fault(errno.ENOSPC, 2)
    assert [os.write(fd, b"1234"), os.write(fd, b"1234"), os.write(fd, b"1234")] == [4, 4, 2]
    with fails(errno.ENOSPC):
        os.write(fd, b"1234")
    assert os.statvfs(root).f_bavail == 0
    assert lossy.heal()["hits"] == 2
    os.write(fd, b"more")
    lossy.fault(errno.EIO, 0)
    with fails(errno.EIO):
        os.fsync(fd)
    lossy.heal()
    os.close(fd)
