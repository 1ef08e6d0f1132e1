"""What the daemon asks of its own kernel for what programs do, counted: calls, waits for the disk, and bytes.

Times say little on a busy machine; these say that nobody writes twice, waits twice or reads more than was asked for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.mounted.conftest import mounted
from tests.support.strace import Calls, traced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.driver import Machine

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(os.environ.get("VAULTFS_LANE") == "pyfuse3", reason="counts are asserted for the fast lane"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a daemon lets only root look at it"),
]

TIMES = 100
MIB = 1 << 20
READ, WRITE, SYNC = {"read", "readv"}, {"write", "writev"}, {"fdatasync", "fsync"}


@pytest.fixture(scope="module")
def alone() -> Iterator[Machine]:
    """A vault in which nothing else is going on."""
    with mounted() as machine:
        yield machine


@pytest.fixture
def top(alone: Machine) -> Path:
    """Its mount point."""
    return alone.mountpoint


def journal(calls: Calls) -> list[int]:
    """The sizes of what was written of records: a thread fills new segments with zeros beforehand, a MiB at a time."""
    return [size for size in calls.of({"pwrite64", "pwritev", "pwritev2"}, "/journal/") if size != MIB]


def waits(calls: Calls) -> int:
    """How often records or blocks were waited for until they were on the disk."""
    return len(calls.of(SYNC, "/journal/segment")) + len(calls.of(SYNC, "/packs/"))


def early(calls: Calls) -> int:
    """How often records were sent on their way to the disk while nobody waited for them yet."""
    return len(calls.of({"sync_file_range"}, "/journal/"))


def test_a_small_file_is_answered_and_written_down_once(alone: Machine, top: Path) -> None:
    with traced(alone.pid()) as calls:
        for number in range(TIMES):
            with open(top / f"file-{number}", "w", encoding="utf-8") as file:
                file.write("x" * 300)
    asked = len(calls.of(READ, "/dev/fuse"))
    assert 5 * TIMES < asked <= 9 * TIMES, "one read for each request"
    assert len(calls.of(WRITE, "/dev/fuse")) <= asked, "one write for each answer"
    writes = journal(calls)
    assert TIMES <= len(writes) <= 3.2 * TIMES, "CREATE, WRITE and the times"
    assert sum(writes) <= 14_000 * TIMES, "whole pages"
    assert waits(calls) <= 4, "nobody asked for the disk"
    assert early(calls) <= 3, "nor will"


def test_a_line_that_is_synced_waits_for_the_disk_once(alone: Machine, top: Path) -> None:
    with open(top / "log", "a", encoding="utf-8") as file, traced(alone.pid()) as calls:
        for _ in range(TIMES):
            file.write("z" * 299 + "\n")
            file.flush()
            os.fsync(file.fileno())
    writes = journal(calls)
    assert TIMES <= len(writes) <= 3.2 * TIMES, "the line, its time, and what the fsync knew"
    assert sum(writes) <= 16_000 * TIMES
    assert TIMES <= waits(calls) <= TIMES + 6
    assert TIMES - 1 <= early(calls) <= TIMES + 6, "on its way to the disk before the fsync"


def test_a_save_waits_for_the_disk_once(alone: Machine, top: Path) -> None:
    with traced(alone.pid()) as calls:
        for _ in range(TIMES):
            with open(top / "state.tmp", "w", encoding="utf-8") as file:
                file.write("y" * 3000)
                file.flush()
                os.fsync(file.fileno())
            os.rename(top / "state.tmp", top / "state.json")
    assert len(calls.of(READ, "/dev/fuse")) <= 16 * TIMES
    writes = journal(calls)
    assert TIMES <= len(writes) <= 8.5 * TIMES
    assert sum(writes) <= 40_000 * TIMES
    assert TIMES <= waits(calls) <= TIMES + 6


def test_a_large_file_is_written_once_and_read_once(alone: Machine, top: Path) -> None:
    with traced(alone.pid()) as calls, open(top / "large", "wb") as file:
        file.writelines(os.urandom(MIB) for _ in range(16))
        file.flush()
        os.fsync(file.fileno())
    assert sum(calls.of(READ, "/dev/fuse")) >= 16 * MIB
    # The kernel may begin to write while a block is not whole yet: on a slow day ten of 256 went through the journal.
    packed, noted = sum(calls.of({"pwrite64", "pwritev", "pwritev2"}, "/packs/")), sum(journal(calls))
    assert 15 * MIB <= packed <= 17.2 * MIB, "sealed blocks go to their pack, not to the journal first"
    assert noted <= 3 * MIB // 2
    assert packed + noted >= 16 * MIB
    assert waits(calls) <= 12

    with open(top / "large", "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with traced(alone.pid()) as calls:
            assert len(file.read()) == 16 * MIB
    read = calls.of({"pread64", "preadv"}, "/packs/")
    assert 15 * MIB <= sum(read) <= 17.2 * MIB, "each block once"
    assert len(read) <= 280


def test_pages_anywhere_cost_a_record_each(alone: Machine, top: Path) -> None:
    pages = 200
    with open(top / "pages", "wb") as file:
        file.write(bytes(8 * MIB))
        file.flush()
        os.fsync(file.fileno())
    with open(top / "pages", "r+b", buffering=0) as file, traced(alone.pid()) as calls:
        for number in range(pages):
            file.seek(number * 37 % 512 * 16_384)
            file.write(b"r" * 4096)
        os.fsync(file.fileno())
    assert len(calls.of(READ, "/dev/fuse")) <= pages + 20
    writes = journal(calls)
    assert len(writes) <= pages + 20
    assert sum(writes) <= 2.1 * 4096 * pages, "a page and what it says about it"
    assert waits(calls) <= 3


def test_what_stands_unchanged_asks_the_disk_for_nothing(alone: Machine, top: Path) -> None:
    names = [top / f"here-{number}" for number in range(TIMES)]
    for name in names:
        name.write_text("x")
        with name.open() as file:
            os.fsync(file.fileno())  # the kernel sends the times some seconds later else
        name.read_text()
    with traced(alone.pid()) as calls:
        for name in names:
            os.stat(name)
            assert name.read_text() == "x"
    assert max(len(journal(calls)), waits(calls)) <= 2, "what the kernel still had to say of other files"
    assert calls.of({"pread64", "preadv"}, "/packs/") == []
