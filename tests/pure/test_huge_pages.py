"""The daemon's memory in huge pages: which parts of it, and that Linux takes the advice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vaultfs.fuse.huge_pages import HUGE, areas

MAPS = """\
55d0c0000000-55d0c0100000 r-xp 00000000 fe:00 12 /usr/bin/python3.11
55d0c01ff000-55d0c0a01000 rw-p 00000000 00:00 0                          [heap]
7f0000001000-7f0000400fff rw-p 00000000 00:00 0
7f0000600000-7f0000800000 rw-p 00000000 00:00 0
7f0000c00000-7f0001000000 r--p 00000000 00:00 0
7f0001000000-7f0001400000 rw-s 00000000 00:05 77 /dev/shm/a name (deleted)
7f0001600000-7f0001a00000 rw-p 00000000 fe:00 99 /var/lib/x
7ffd00000000-7ffd00400000 rw-p 00000000 00:00 0                          [stack]
"""


def test_whole_huge_pages_of_what_is_anonymous() -> None:
    assert areas(MAPS) == [
        (0x55D0C0200000, 4 * HUGE),
        (0x7F0000200000, HUGE),
        (0x7F0000600000, HUGE),
    ]
    assert areas("") == []


def _can() -> bool:
    """Whether this Linux puts memory into huge pages when told to."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    numbers = Path("/proc/sys/kernel/osrelease").read_text().split(".")
    return setting.exists() and "[never]" not in setting.read_text() and (int(numbers[0]), int(numbers[1])) >= (6, 1)


@pytest.mark.skipif(not _can(), reason="this Linux has no huge pages on request (6.1, not switched off)")
def test_memory_of_a_process_becomes_huge_pages_and_keeps_what_is_in_it() -> None:
    program = """
import hashlib, os, pathlib
from vaultfs.fuse import huge_pages
kept = [os.urandom(500) for _ in range(40_000)]
before = hashlib.sha256(b"".join(kept)).digest()
def huge():
    lines = pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages:"))
first = huge()
huge_pages.take()
assert hashlib.sha256(b"".join(kept)).digest() == before
print(first, huge())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, later = map(int, done.stdout.split())
    assert later >= first + 8 * HUGE // 1024
