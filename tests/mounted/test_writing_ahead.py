"""Where much is written the disk begins before somebody calls fsync; no request waits for that."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from tests.store.stores import StoreMaker, make_file
from vaultfs.durable import AHEAD_BYTES, begin_writing
from vaultfs.fuse.operations import Operations
from vaultfs.fuse.threads import DiskThread
from vaultfs.tree.inode import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vaultfs.tree import Tree

MUCH = 8 * AHEAD_BYTES
CACHESTAT = 451  # since Linux 6.5, by this number on all of them
_libc = ctypes.CDLL(None, use_errno=True)


def dirty(directory: Path) -> int:
    """How many bytes of its files nobody has sent on their way to the disk."""
    return sum(_dirty_pages(path) for path in directory.rglob("*") if path.is_file()) * PAGE


def _dirty_pages(path: Path) -> int:
    whole = ctypes.create_string_buffer(struct.pack("QQ", 0, 0))
    found = ctypes.create_string_buffer(5 * 8)
    with path.open("rb") as file:
        if _libc.syscall(CACHESTAT, file.fileno(), whole, found, 0):
            pytest.skip(f"the kernel does not tell what is dirty: {os.strerror(ctypes.get_errno())}")
    _, pages, *_ = struct.unpack("QQQQQ", found.raw[:40])
    return int(pages)


@pytest.fixture
def stores(outside: Path) -> Iterator[StoreMaker]:
    maker = StoreMaker(outside)
    yield maker
    maker.end()


def whole_blocks(tree: Tree) -> None:
    node = make_file(tree, b"large")
    for offset in range(0, MUCH, 1 << 20):
        tree.content.write(node.ino, offset, os.urandom(1 << 20))


def pages(tree: Tree) -> None:
    node = make_file(tree, b"pages")
    for offset in range(0, MUCH // 2, PAGE):
        tree.content.write(node.ino, offset, os.urandom(PAGE))


@pytest.mark.parametrize(("write", "where"), [(whole_blocks, "packs"), (pages, "journal")])
def test_what_is_written_in_number_is_on_its_way_before_fsync(
    stores: StoreMaker, write: Callable[[Tree], None], where: str
) -> None:
    alone = stores.new()
    write(alone)
    if dirty(alone.state.store / where) < MUCH // 4:
        pytest.skip("this file system does not keep back what is written")
    tree = stores.new()
    meaning = Operations(tree, lambda: b"{}")
    write(tree)
    meaning.syncer.close()  # lets the thread come to its end
    assert dirty(tree.state.store / where) <= AHEAD_BYTES + (1 << 20)
    assert tree.sync() is not None, "that it is on its way says nothing of its being there"


def test_a_part_of_a_file_that_is_closed_is_nobodys_error() -> None:
    begin_writing(-1, 0, AHEAD_BYTES)


def test_the_disk_s_thread_does_what_nobody_waits_for_and_nothing_once_closed() -> None:
    thread, threads = DiskThread(), []

    def note() -> None:
        threads.append(threading.current_thread())

    thread.begin(note)
    thread.begin(note)
    thread.close()
    assert len(set(threads)) == 1
    assert len(threads) == 2
    assert threads[0] is not threading.current_thread()
    thread.begin(note)
    thread.close()
    assert len(threads) == 2
