"""flock and POSIX byte-range locks between processes, and what inotify tells."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.posix import LIBC, fails
from tests.support.users import in_child

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNTER = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for _ in range(200):
    LOCK
    value = int(os.pread(fd, 20, 0))
    os.pwrite(fd, b"%020d" % (value + 1), 0)
    UNLOCK
"""


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_locks_keep_a_counter_right(work: Path, kind: str) -> None:
    """Four processes read, add one and write; without mutual exclusion the sum is wrong."""
    code = COUNTER.replace("UNLOCK", f"fcntl.{kind}(fd, fcntl.LOCK_UN)")
    code = code.replace("LOCK\n", f"fcntl.{kind}(fd, fcntl.LOCK_EX)\n", 1)
    (work / "counter").write_bytes(b"%020d" % 0)
    running = [subprocess.Popen([sys.executable, "-c", code, work / "counter"]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert int((work / "counter").read_bytes()) == 800


def test_flock_belongs_to_the_open_file(work: Path) -> None:
    path = work / "f"
    path.touch()
    one, two = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    fcntl.flock(one, fcntl.LOCK_EX)
    with fails(errno.EWOULDBLOCK):
        fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    copy = os.dup(one)
    os.close(one)
    with fails(errno.EWOULDBLOCK):
        fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(copy)
    fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(two)


def _try(path: Path, kind: int, start: int, length: int) -> str:
    """Whether another process gets the range."""

    def child() -> str:
        fd = os.open(path, os.O_RDWR)
        try:
            fcntl.lockf(fd, kind | fcntl.LOCK_NB, length, start)
        except OSError as error:
            return "busy" if error.errno in (errno.EAGAIN, errno.EACCES) else str(error)
        return "free"

    return in_child(child)


def test_byte_ranges(work: Path) -> None:
    path = work / "f"
    path.touch()
    fd = os.open(path, os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 10, 100)
    fcntl.lockf(fd, fcntl.LOCK_SH, 10, 200)
    assert _try(path, fcntl.LOCK_EX, 105, 1) == "busy"
    assert _try(path, fcntl.LOCK_SH, 100, 1) == "busy"
    assert _try(path, fcntl.LOCK_EX, 110, 90) == "free"
    assert _try(path, fcntl.LOCK_SH, 200, 10) == "free"
    assert _try(path, fcntl.LOCK_EX, 200, 10) == "busy"
    fcntl.lockf(fd, fcntl.LOCK_UN, 5, 100)
    assert _try(path, fcntl.LOCK_EX, 100, 5) == "free"
    assert _try(path, fcntl.LOCK_EX, 104, 2) == "busy"
    # the peculiarity of POSIX locks: closing any handle of the file drops them all
    os.close(os.open(path, os.O_RDONLY))
    assert _try(path, fcntl.LOCK_EX, 0, 0) == "free"
    os.close(fd)


def test_getlk_names_the_holder(work: Path) -> None:
    path = work / "f"
    path.touch()
    fd = os.open(path, os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 7, 3)

    def child() -> tuple[int, int, int, int]:
        own = os.open(path, os.O_RDWR)
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, start, length, pid = struct.unpack("hhqqi4x", fcntl.fcntl(own, fcntl.F_GETLK, asked))
        return kind, start, length, pid

    assert in_child(child) == (fcntl.F_WRLCK, 3, 7, os.getpid())
    os.close(fd)


def test_open_file_description_locks(work: Path) -> None:
    set_lock = 37  # F_OFD_SETLK
    (work / "f").touch()
    one, two = os.open(work / "f", os.O_RDWR), os.open(work / "f", os.O_RDWR)
    whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(one, set_lock, whole)
    with fails(errno.EAGAIN):
        fcntl.fcntl(two, set_lock, whole)
    os.close(one)
    fcntl.fcntl(two, set_lock, whole)
    os.close(two)


def test_deadlock_is_noticed(work: Path) -> None:
    path = work / "f"
    path.touch()
    here, there = os.pipe(), os.pipe()

    def child() -> int:
        fd = os.open(path, os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1)
        os.write(there[1], b"x")
        os.read(here[0], 1)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)  # waits for us, while we wait for it
        except OSError as error:
            return error.errno or 0
        return 0

    fd = os.open(path, os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
    pid = os.fork()
    if pid == 0:
        os._exit(99 if child() not in (0, errno.EDEADLK) else 0)
    os.read(there[0], 1)
    os.write(here[1], b"x")
    mine = 0
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1)
    except OSError as error:
        mine = error.errno or 0
    os.close(fd)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert mine in (0, errno.EDEADLK)


def test_locks_go_with_their_process(work: Path) -> None:
    path = work / "f"
    path.touch()
    code = (
        "import fcntl, os, sys, time; fd = os.open(sys.argv[1], os.O_RDWR); "
        "fcntl.lockf(fd, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    assert _try(path, fcntl.LOCK_EX, 0, 0) == "busy"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert _try(path, fcntl.LOCK_EX, 0, 0) == "free"


class Watch:
    """inotify on one directory."""

    def __init__(self, path: Path) -> None:
        self.fd = LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        assert LIBC.inotify_add_watch(self.fd, os.fsencode(path), ctypes.c_uint32(0xFFF)) >= 0

    def events(self) -> list[tuple[int, bytes]]:
        """What has happened since the last call: (mask, name)."""
        found = []
        while select.select([self.fd], [], [], 0.2)[0]:
            data = os.read(self.fd, 65_536)
            while data:
                _, mask, _, length = struct.unpack_from("iIII", data)
                found.append((mask, data[16 : 16 + length].rstrip(b"\0")))
                data = data[16 + length :]
        return found


@contextlib.contextmanager
def watching(path: Path) -> Iterator[Watch]:
    watch = Watch(path)
    yield watch
    os.close(watch.fd)


def test_inotify(work: Path) -> None:
    modify, attrib, close_write, moved_from, moved_to = 0x2, 0x4, 0x8, 0x40, 0x80
    create, delete, is_dir = 0x100, 0x200, 0x40000000
    with watching(work) as watch:
        (work / "f").write_bytes(b"x")
        events = watch.events()
        assert (create, b"f") in events
        assert (modify, b"f") in events
        assert (close_write, b"f") in events
        os.chmod(work / "f", 0o600)
        assert (attrib, b"f") in watch.events()
        os.rename(work / "f", work / "g")
        assert watch.events() == [(moved_from, b"f"), (moved_to, b"g")]
        os.unlink(work / "g")
        assert (delete, b"g") in watch.events()
        os.mkdir(work / "d")
        os.rmdir(work / "d")
        events = watch.events()
        assert (create | is_dir, b"d") in events
        assert (delete | is_dir, b"d") in events
