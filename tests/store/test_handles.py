"""The table of open files: who holds what."""

from __future__ import annotations

import os
from pathlib import Path

from vaultfs.tree.handles import Handles


def test_what_vaultfs_itself_opens_holds_nothing_and_keeps_the_inode() -> None:
    handles = Handles()
    own = handles.open(7, writable=False, pid=0)
    assert (handles.is_open(7), handles.is_used(7), handles.inos()) == (True, False, set())
    reader = handles.open(7, writable=False, pid=os.getpid())
    assert (handles.is_used(7), handles.is_open_for_writing(7), handles.inos()) == (True, False, {7})
    assert handles.release(own) == 7
    assert handles.is_used(7)
    handles.release(reader)
    assert not handles.is_open(7)


def test_writers_are_counted() -> None:
    handles = Handles()
    numbers = [handles.open(7, writable=True, pid=os.getpid()) for _ in range(2)]
    assert [handle.ino for handle in handles.writers()] == [7, 7]
    assert handles.writers()[0].comm == Path("/proc/self/comm").read_text().strip()
    handles.release(numbers[0])
    assert handles.is_open_for_writing(7)
    handles.release(numbers[1])
    assert not handles.is_open_for_writing(7)
    assert not handles.writers()
