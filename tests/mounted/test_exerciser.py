"""One file, random operations of every kind, every byte verified: what fsx does, with several handles and mappings."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mounted.conftest import Target

LARGEST = 400_000
SECONDS = 8.0


class Exerciser:
    """A file and what must be in it."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.rng = random.Random(seed)
        self.expected = bytearray()
        self.history: list[str] = []
        flags = os.O_RDWR | os.O_CREAT
        self.handles = [os.open(path, flags, 0o644) for _ in range(3)]
        self.appender = os.open(path, os.O_WRONLY | os.O_APPEND)
        self.operations = (
            [self.write] * 6
            + [self.read] * 5
            + [self.map_write] * 3
            + [self.map_read] * 2
            + [self.truncate] * 2
            + [self.append, self.punch, self.fsync, self.reopen, self.copy_range, self.stat, self.hand_on]
        )

    def close(self) -> None:
        for fd in (*self.handles, self.appender):
            with contextlib.suppress(OSError):
                os.close(fd)

    @property
    def fd(self) -> int:
        return self.rng.choice(self.handles)

    def spot(self, *, inside: bool) -> tuple[int, int]:
        """A random offset and length, often at a boundary of pages or blocks."""
        limit = len(self.expected) if inside else LARGEST
        offset = self.rng.randrange(limit)
        if self.rng.random() < 0.4:
            offset -= offset % self.rng.choice([4096, 65_536])
        length = self.rng.choice([1, 7, 512, 4096, 10_000, 65_536, 100_000])
        return offset, min(length, limit - offset)

    def put(self, offset: int, data: bytes) -> None:
        if len(self.expected) < offset:
            self.expected.extend(bytes(offset - len(self.expected)))
        self.expected[offset : offset + len(data)] = data

    def write(self) -> str:
        offset, length = self.spot(inside=False)
        data = self.rng.randbytes(length)
        assert os.pwrite(self.fd, data, offset) == length
        self.put(offset, data)
        return f"write {offset} {length}"

    def append(self) -> str:
        data = self.rng.randbytes(self.rng.randrange(1, 5000))
        if len(self.expected) + len(data) > LARGEST:
            return "no room to append"
        os.write(self.appender, data)
        self.expected.extend(data)
        return f"append {len(data)}"

    def read(self) -> str:
        if not self.expected:
            return "nothing to read"
        offset, length = self.spot(inside=True)
        self.compare(os.pread(self.fd, length, offset), offset, length)
        return f"read {offset} {length}"

    def compare(self, found: bytes, offset: int, length: int) -> None:
        right = bytes(self.expected[offset : offset + length])
        if found == right:
            return
        first = next((i for i, (a, b) in enumerate(zip(found, right, strict=False)) if a != b), len(found))
        raise AssertionError(
            f"byte {offset + first} is wrong ({len(found)} read of {len(right)}); last operations:\n"
            + "\n".join(self.history[-25:])
        )

    def map_write(self) -> str:
        if not self.expected:
            return "nothing to map"
        offset, length = self.spot(inside=True)
        data = self.rng.randbytes(length)
        with mmap.mmap(self.fd, len(self.expected)) as view:
            view[offset : offset + length] = data
            if self.rng.random() < 0.5:
                view.flush()
        self.expected[offset : offset + length] = data
        return f"map write {offset} {length}"

    def map_read(self) -> str:
        if not self.expected:
            return "nothing to map"
        offset, length = self.spot(inside=True)
        with mmap.mmap(self.fd, len(self.expected), access=mmap.ACCESS_READ) as view:
            self.compare(view[offset : offset + length], offset, length)
        return f"map read {offset} {length}"

    def truncate(self) -> str:
        size = self.rng.choice([0, self.rng.randrange(LARGEST), self.rng.randrange(LARGEST) // 4096 * 4096])
        if self.rng.random() < 0.5:
            os.ftruncate(self.fd, size)
        else:
            os.truncate(self.path, size)
        del self.expected[size:]
        self.expected.extend(bytes(size - len(self.expected)))
        return f"truncate {size}"

    def punch(self) -> str:
        """There is no fallocate: a hole is made by cutting off and growing again."""
        if len(self.expected) < 2:
            return "nothing to punch"
        start = self.rng.randrange(len(self.expected))
        size = len(self.expected)
        os.ftruncate(self.fd, start)
        os.ftruncate(self.fd, size)
        self.expected[start:] = bytes(size - start)
        return f"punch {start}..{size}"

    def fsync(self) -> str:
        self.rng.choice([os.fsync, os.fdatasync])(self.fd)
        return "fsync"

    def reopen(self) -> str:
        number = self.rng.randrange(len(self.handles))
        os.close(self.handles[number])
        self.handles[number] = os.open(self.path, os.O_RDWR)
        return "reopen"

    def copy_range(self) -> str:
        if not self.expected:
            return "nothing to copy"
        offset, length = self.spot(inside=True)
        target = self.rng.randrange(LARGEST - length)
        if abs(target - offset) < length:
            return "would overlap"
        data = bytes(self.expected[offset : offset + length])
        done = os.copy_file_range(self.handles[0], self.handles[1], length, offset, target)
        self.put(target, data[:done])
        return f"copy {offset} {length} to {target}"

    def stat(self) -> str:
        assert os.fstat(self.fd).st_size == len(self.expected), "\n".join(self.history[-25:])
        return "stat"

    def hand_on(self) -> str:
        """Write back, and have the kernel forget, so that the next read asks the server."""
        os.fsync(self.fd)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return "drop the cache"

    def step(self) -> None:
        self.history.append(self.rng.choice(self.operations)())


@pytest.mark.parametrize("number", range(3))
def test_random_operations(work: Path, target: Target, seed: int, number: int) -> None:
    """Some seconds of them; at the end the whole file, through a new handle, and on vaultfs after a remount."""
    exerciser = Exerciser(work / "file", seed + number)
    deadline = time.monotonic() + SECONDS / 3
    try:
        while time.monotonic() < deadline:
            exerciser.step()
    finally:
        exerciser.close()
    assert (work / "file").read_bytes() == bytes(exerciser.expected)
    if target.machine is not None and number == 0:
        target.machine.umount()
        target.machine.mount()
        assert (work / "file").read_bytes() == bytes(exerciser.expected)
