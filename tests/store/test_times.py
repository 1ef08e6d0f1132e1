"""When something was last written: what decides between two machines that both wrote."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.store.stores import FILE
from vaultfs.tree import ROOT

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker

SECOND = 1_000_000_000


def test_the_kernels_echo_of_a_write_is_no_later_write(stores: StoreMaker) -> None:
    tree = stores.new()
    ino = tree.names.make(ROOT, b"f", FILE, 1000, 1000).ino
    tree.content.write(ino, 0, b"x")
    written = tree.inode(ino).written
    tree.attributes.set(ino, mtime=written - SECOND, ctime=written - SECOND)
    assert tree.inode(ino).written == written
    assert tree.inode(ino).mtime == written - SECOND


def test_what_a_person_changes_is_a_write_now(stores: StoreMaker) -> None:
    tree = stores.new()
    ino = tree.names.make(ROOT, b"f", FILE, 1000, 1000).ino
    written = tree.inode(ino).written
    while time.clock_gettime_ns(5) == written:
        pass
    tree.attributes.set(ino, mtime=written - 3600 * SECOND)
    later = tree.inode(ino).written
    assert later > written, "touch -d"
    while time.clock_gettime_ns(5) == later:
        pass
    tree.attributes.set(ino, mode=0o600, mtime=later - SECOND)
    assert tree.inode(ino).written > later, "chmod"
