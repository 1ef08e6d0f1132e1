"""The table of open files: who holds what."""

from __future__ import annotations

import os
import subprocess
import sys
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


def test_what_a_program_opened_for_writing_is_known_until_it_ends() -> None:
    handles = Handles()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        for ino, writable in ((5, True), (6, False), (7, True), (5, True)):
            handles.release(handles.open(ino, writable=writable, pid=program.pid))
        handles.release(handles.open(8, writable=True, pid=0))
        assert handles.wrote() == {program.pid: [7, 5]}, "the newest last, what vaultfs itself opened not at all"
        for ino in range(100, 1000):
            handles.release(handles.open(ino, writable=True, pid=program.pid))
        (newest,) = handles.wrote().values()
        assert newest[-1] == 999
        assert len(newest) < 900, "not all that it ever wrote"
        program.kill()
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        assert handles.wrote() == {}, "nobody has asked for its exit code yet, and it is gone all the same"
