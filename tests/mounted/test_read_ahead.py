"""What the first requests ask for is read from the disk before they come."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import TYPE_CHECKING

import pytest

from tests.cli.person import wait_until
from tests.mounted.conftest import mounted
from vaultfs.durable import from_the_disk, sync_path
from vaultfs.tree import database

if TYPE_CHECKING:
    from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)


def in_memory(path: Path) -> int:
    """How many bytes of the file the kernel has in its cache."""
    size = path.stat().st_size
    pages = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as area:
        start = (ctypes.c_char * 1).from_buffer(area)
        try:
            assert _libc.mincore(ctypes.addressof(start), size, pages) == 0, os.strerror(ctypes.get_errno())
        finally:
            del start
    return sum(page & 1 for page in pages.raw) * mmap.PAGESIZE


def dropped(path: Path) -> Path:
    sync_path(path)
    from_the_disk(path)
    if in_memory(path):
        pytest.skip("this file system keeps what it has in memory")
    return path


def comes(path: Path, size: int) -> None:
    """So many bytes are in memory: the kernel reads while nobody waits."""
    wait_until(lambda: in_memory(path) >= size)


def test_the_whole_file_and_no_more_than_there_is_room_for(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, size = outside / "file", 8 << 20
    path.write_bytes(os.urandom(size))
    database.read_ahead(dropped(path))
    comes(path, size)
    monkeypatch.setattr(database, "AHEAD_MOST", size // 4)
    database.read_ahead(dropped(path))
    comes(path, size // 4)
    assert in_memory(path) < size // 2
    monkeypatch.setattr(database, "AHEAD_SHARE", 1 << 62)
    database.read_ahead(dropped(path))
    assert in_memory(path) == 0
    database.read_ahead(outside / "none")


def test_a_mount_reads_where_names_stand() -> None:
    with mounted() as machine:
        place, many = machine.mountpoint / "d", 3000
        place.mkdir()
        for number in range(many):
            (place / f"{number:0200d}").touch()
        machine.umount()
        (path,) = machine.store.rglob(database.NAME)
        dropped(path)
        assert path.stat().st_size > many * 200
        machine.mount()
        comes(path, path.stat().st_size)
