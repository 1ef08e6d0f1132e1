"""A disk that is really full: nothing acknowledged is lost, all stays readable, and room can be made.

The store is on a tmpfs of its own that a filler file fills to the last byte.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.store.stores import DEVICE, KEYS, StoreMaker, content, make_file, work_off
from vaultfs.errors import VaultfsError
from vaultfs.tree import ROOT, create_store
from vaultfs.tree.collect import CollectWork
from vaultfs.tree.housekeeping import ROOM_NS, SyncWork

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vaultfs.tree import Tree

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")]

DATA = bytes(range(256)) * 40


class Disk:
    """A small disk."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.filler = place / "filler"

    def fill(self) -> None:
        """Takes the last byte."""
        with contextlib.suppress(OSError), self.filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def leave(self, room: int) -> None:
        """Takes all but so many bytes."""
        disk = os.statvfs(self.place)
        with self.filler.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_bsize - room)

    def empty(self) -> None:
        self.filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", place], check=True)
    yield Disk(place)
    gc.collect()  # packs are closed when nothing refers to them any more
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def maker(disk: Disk) -> Iterator[StoreMaker]:
    stores = StoreMaker(disk.place)
    yield stores
    stores.end()


def test_everything_stays_readable_and_room_can_be_made(disk: Disk, maker: StoreMaker) -> None:
    tree = maker.new()
    files = {b"f%d" % number: DATA + b"%d" % number for number in range(300)}
    for name, data in files.items():
        make_file(tree, name, data)
    disk.fill()
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            work_off(SyncWork(tree.keeper))
    assert {name: content(tree, tree.names.lookup(ROOT, name).ino) for name in files} == files
    tree.state._space_checked = 0
    with pytest.raises(OSError, match="No space left") as raised:
        make_file(tree, b"one more", DATA)
    assert raised.value.errno == errno.ENOSPC
    tree.names.unlink(ROOT, b"f0")
    del files[b"f0"]
    disk.empty()
    work_off(SyncWork(tree.keeper))
    make_file(tree, b"one more", DATA)
    files[b"one more"] = DATA
    tree = maker.crash(tree)
    assert tree.health == []
    assert {name: content(tree, tree.names.lookup(ROOT, name).ino) for name in files} == files


def keep_house(tree: Tree) -> list[str]:
    """What is due, until nothing is; what of it failed."""
    failed = []
    for _ in range(20):
        work = tree.tick()
        if work is None:
            break
        try:
            work_off(work)
        except OSError:
            failed.append(type(work).__name__)
    return failed


@pytest.mark.parametrize("spare", [True, False])
def test_deleting_makes_room(disk: Disk, maker: StoreMaker, *, spare: bool) -> None:
    """Also where not even a spare piece of the journal can be made."""
    tree = maker.new()
    node = make_file(tree, b"big", os.urandom(40 << 20))
    make_file(tree, b"f", DATA)
    work_off(SyncWork(tree.keeper))
    assert keep_house(tree) == []
    if not spare:
        tree.state.journal.shrink(1)
        assert not tree.state.journal.free
    disk.leave(12 << 20)
    assert tree.state.disk_full()
    tree.names.unlink(ROOT, b"big")
    tree.forget(node.ino)
    work_off(SyncWork(tree.keeper))
    assert keep_house(tree) == []
    assert tree.stats().pack_bytes < 16 << 20
    assert content(tree, tree.names.lookup(ROOT, b"f").ino) == DATA


def test_a_full_disk_is_not_searched_at_each_turn(disk: Disk, maker: StoreMaker) -> None:
    tree = maker.new()
    make_file(tree, b"f", DATA)
    work_off(SyncWork(tree.keeper))
    disk.leave(12 << 20)
    assert isinstance(tree.tick(), CollectWork)
    assert not isinstance(tree.tick(), CollectWork)
    tree.keeper._made_room -= ROOM_NS
    assert not isinstance(tree.tick(), CollectWork), "no checkpoint since"
    tree.names.unlink(ROOT, b"f")
    work_off(SyncWork(tree.keeper))
    assert not isinstance(tree.tick(), CollectWork), "too soon"
    tree.keeper._made_room -= ROOM_NS
    assert isinstance(tree.tick(), CollectWork)


def test_a_crash_on_a_full_disk_loses_nothing(disk: Disk, maker: StoreMaker) -> None:
    tree = maker.new()
    make_file(tree, b"f", DATA)
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        work_off(SyncWork(tree.keeper))
    store = tree.state.store
    tree.state.journal.close()
    tree.state.db.close()
    maker.trees.remove(tree)
    with pytest.raises(VaultfsError, match="full"):
        maker.open(store)
    disk.empty()
    tree = maker.open(store)
    assert content(tree, tree.names.lookup(ROOT, b"f").ino) == DATA


def test_closing_on_a_full_disk_keeps_the_journal(disk: Disk, maker: StoreMaker) -> None:
    tree = maker.new()
    make_file(tree, b"f", DATA)
    disk.fill()
    store = tree.state.store
    with pytest.raises(OSError, match="No space left"):
        tree.close()
    maker.trees.remove(tree)
    disk.empty()
    tree = maker.open(store)
    assert not tree.startup.clean
    assert content(tree, tree.names.lookup(ROOT, b"f").ino) == DATA


def test_making_a_store_on_a_full_disk_says_so(disk: Disk) -> None:
    disk.fill()
    with pytest.raises(VaultfsError, match="full"):
        create_store(disk.place / "store", KEYS, DEVICE, uid=0, gid=0)
    assert not (disk.place / "store").exists()
