"""What is in a file: writes, appends, truncation both ways, holes, big files, mmap."""

from __future__ import annotations

import errno
import mmap
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.posix import fails, syncfs
from tests.support.users import in_child

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


def test_sizes_around_every_boundary(work: Path) -> None:
    """Pages are 4 KiB, blocks 64 KiB, FUSE writes at most 1 MiB: one byte less, the same, one more."""
    for boundary in (1, 512, 4096, 16_384, 65_536, 131_072, 1 << 20):
        for size in (boundary - 1, boundary, boundary + 1):
            data = random.Random(size).randbytes(size)
            (work / "f").write_bytes(data)
            assert (work / "f").read_bytes() == data
            assert os.stat(work / "f").st_size == size


@pytest.mark.parametrize("old", [0, 1, 4095, 4096, 65_535, 65_536, 65_537, 300_000])
@pytest.mark.parametrize("new", [0, 1, 4096, 4097, 65_536, 131_072, 300_001])
def test_truncate_both_ways(work: Path, old: int, new: int) -> None:
    """What is cut off never comes back: growing again reads zeros."""
    data = random.Random(old).randbytes(old)
    path = work / "f"
    path.write_bytes(data)
    os.truncate(path, new)
    assert path.read_bytes() == data[:new] + bytes(max(0, new - old))
    os.truncate(path, 0)
    os.truncate(path, max(old, new))
    assert path.read_bytes() == bytes(max(old, new))


def test_truncate_then_grow_by_write(work: Path) -> None:
    fd = os.open(work / "f", os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, b"A" * 200_000)
    os.ftruncate(fd, 100_001)
    os.pwrite(fd, b"B" * 10, 150_000)
    expected = b"A" * 100_001 + bytes(49_999) + b"B" * 10
    assert os.pread(fd, 300_000, 0) == expected
    os.fsync(fd)
    os.close(fd)
    assert (work / "f").read_bytes() == expected


def test_sparse_file_takes_no_room(work: Path) -> None:
    path = work / "sparse"
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(fd, b"end", 10 * GIB)
    os.pwrite(fd, b"middle", 5 * GIB + 123)
    os.fsync(fd)
    found = os.fstat(fd)
    assert found.st_size == 10 * GIB + 3
    assert found.st_blocks * 512 < 1 << 20
    assert os.pread(fd, 100, 10 * GIB) == b"end"
    assert os.pread(fd, 20, 5 * GIB + 118) == bytes(5) + b"middle" + bytes(9)
    assert os.pread(fd, 1 << 20, 7 * GIB) == bytes(1 << 20)
    os.ftruncate(fd, 5 * GIB + 125)
    assert os.pread(fd, 20, 5 * GIB + 118) == bytes(5) + b"mi"
    os.close(fd)


def test_past_four_gib(work: Path) -> None:
    """Every offset where a counter of 31 or 32 bits would wrap."""
    fd = os.open(work / "big", os.O_CREAT | os.O_RDWR, 0o644)
    places = [2 * GIB - 4096, 2 * GIB - 3, 4 * GIB - 5, 4 * GIB + 4096, 4 * GIB + 65_537, (1 << 40) + 1]
    for number, place in enumerate(places):
        os.pwrite(fd, b"%07d" % number, place)
    os.close(fd)
    fd = os.open(work / "big", os.O_RDONLY)
    assert [os.pread(fd, 7, place) for place in places] == [b"%07d" % n for n in range(len(places))]
    assert os.lseek(fd, 0, os.SEEK_END) == (1 << 40) + 8
    os.close(fd)


def test_st_blocks_follow_the_content(work: Path) -> None:
    (work / "f").write_bytes(os.urandom(1 << 20))
    os.sync()
    assert (1 << 20) // 512 <= os.stat(work / "f").st_blocks <= (1 << 20) // 512 + 64


def test_seek_hole_and_data(work: Path) -> None:
    """The least POSIX allows: the end is a hole, data is found where data is."""
    fd = os.open(work / "f", os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(fd, b"x" * 4096, 1 << 20)
    os.fsync(fd)
    assert os.lseek(fd, 0, os.SEEK_DATA) <= 1 << 20
    assert os.lseek(fd, 1 << 20, os.SEEK_DATA) == 1 << 20
    assert os.lseek(fd, 1 << 20, os.SEEK_HOLE) >= (1 << 20) + 4096
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        with fails(errno.ENXIO):
            os.lseek(fd, 1 << 22, whence)
    os.close(fd)


def test_append_from_several_processes(work: Path) -> None:
    """No line is lost or torn: O_APPEND finds the end anew with each write."""
    code = (
        "import os, sys\n"
        "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)\n"
        "for n in range(500): os.write(fd, (f'{sys.argv[2]}:{n}:' + 'x' * (n % 200)).encode() + b'\\n')\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, work / "log", str(n)]) for n in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    lines = (work / "log").read_text().splitlines()
    assert len(lines) == 2000
    for writer in range(4):
        mine = [line.split(":") for line in lines if line.startswith(f"{writer}:")]
        assert [(int(n), len(tail)) for _, n, tail in mine] == [(n, n % 200) for n in range(500)]


def test_append_ignores_the_offset(work: Path) -> None:
    (work / "f").write_bytes(b"start")
    one = os.open(work / "f", os.O_RDWR | os.O_APPEND)
    two = os.open(work / "f", os.O_RDWR | os.O_APPEND)
    os.write(one, b"1")
    os.write(two, b"2")
    os.lseek(one, 0, os.SEEK_SET)
    os.write(one, b"3")
    os.ftruncate(two, 2)
    os.write(one, b"4")
    assert os.pread(two, 100, 0) == b"st4"
    os.close(one)
    os.close(two)


def test_two_handles_see_each_other(work: Path) -> None:
    one = os.open(work / "f", os.O_CREAT | os.O_RDWR, 0o644)
    two = os.open(work / "f", os.O_RDWR)
    os.write(one, b"from one")
    assert os.read(two, 100) == b"from one"
    os.pwrite(two, b"TWO", 5)
    assert os.pread(one, 100, 0) == b"from TWO"
    os.ftruncate(one, 4)
    assert os.fstat(two).st_size == 4
    os.close(one)
    os.close(two)


def test_o_trunc_and_empty_reads(work: Path) -> None:
    (work / "f").write_bytes(b"x" * 100_000)
    fd = os.open(work / "f", os.O_RDWR | os.O_TRUNC)
    assert os.read(fd, 10) == b""
    assert os.fstat(fd).st_size == 0
    assert os.write(fd, b"") == 0
    assert os.pread(fd, 10, 1 << 40) == b""
    os.close(fd)


def test_random_overwrites_match_a_bytearray(work: Path) -> None:
    rng = random.Random(7)
    model = bytearray()
    fd = os.open(work / "f", os.O_CREAT | os.O_RDWR, 0o644)
    for step in range(400):
        place, data = rng.randrange(400_000), rng.randbytes(rng.choice([1, 100, 4096, 70_000]))
        if place > len(model):
            model.extend(bytes(place - len(model)))
        model[place : place + len(data)] = data
        os.pwrite(fd, data, place)
        if step % 50 == 49:
            os.fsync(fd)
    assert os.pread(fd, len(model) + 10, 0) == bytes(model)
    os.close(fd)


def test_mmap_shared_is_the_file(work: Path) -> None:
    (work / "f").write_bytes(bytes(20_000))
    with open(work / "f", "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[10_000:10_005] = b"hello"
        assert os.pread(file.fileno(), 5, 10_000) == b"hello"
        os.pwrite(file.fileno(), b"from write", 4090)
        assert view[4090:4100] == b"from write"
        view.flush()
        with open(work / "f", "rb") as other, mmap.mmap(other.fileno(), 0, access=mmap.ACCESS_READ) as second:
            assert second[10_000:10_005] == b"hello"
            view[0:1] = b"!"
            assert second[0:1] == b"!"
    assert (work / "f").read_bytes()[9_999:10_006] == b"\0hello\0"


def test_mmap_private_is_a_copy(work: Path) -> None:
    (work / "f").write_bytes(b"x" * 10_000)
    with open(work / "f", "r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as view:
        view[0:5] = b"hello"
        assert os.pread(file.fileno(), 5, 0) == b"xxxxx"
        assert view[0:5] == b"hello"
    assert (work / "f").read_bytes() == b"x" * 10_000


def test_mmap_between_processes(work: Path) -> None:
    """What one process stores another sees at once: SQLite's WAL index lives on this."""
    (work / "f").write_bytes(bytes(4096))
    fd = os.open(work / "f", os.O_RDWR)
    view = mmap.mmap(fd, 4096)

    def child() -> bytes:
        own = os.open(work / "f", os.O_RDWR)
        with mmap.mmap(own, 4096) as mine:
            seen = mine[0:6]
            mine[100:105] = b"child"
        return seen

    view[0:6] = b"parent"
    assert in_child(child) == b"parent"
    assert view[100:105] == b"child"
    view.close()
    os.close(fd)


def test_mmap_survives_close_and_unlink(work: Path) -> None:
    (work / "f").write_bytes(b"a" * 5000)
    fd = os.open(work / "f", os.O_RDWR)
    view = mmap.mmap(fd, 5000)
    os.close(fd)
    os.unlink(work / "f")
    view[4990:5000] = b"0123456789"
    view.flush()
    assert view[4988:5000] == b"aa0123456789"
    view.close()


def test_mmap_tail_is_not_written(work: Path) -> None:
    """Bytes stored behind the end of the file, in its last page, stay out of the file."""
    (work / "f").write_bytes(b"x" * 100)
    with open(work / "f", "r+b") as file, mmap.mmap(file.fileno(), 100) as view:
        view[50:51] = b"y"
        view.flush()
        os.ftruncate(file.fileno(), 8192)
        assert os.pread(file.fileno(), 8192, 100) == bytes(8092)


def test_program_can_be_executed(work: Path) -> None:
    script = work / "script"
    script.write_text("#!/bin/sh\necho ran $1\n")
    os.chmod(script, 0o755)
    assert subprocess.run([script, "here"], capture_output=True, check=True).stdout == b"ran here\n"
    os.chmod(script, 0o644)
    with fails(errno.EACCES):
        os.execv(script, ["script"])  # noqa: S606 - exactly that is asked


def test_copy_file_range_and_sendfile(work: Path) -> None:
    data = os.urandom(300_000)
    (work / "a").write_bytes(data)
    source = os.open(work / "a", os.O_RDONLY)
    for name, copy in (
        ("b", lambda out: os.copy_file_range(source, out, 400_000, offset_src=0)),
        ("c", lambda out: os.sendfile(out, source, 0, 400_000)),
    ):
        out = os.open(work / name, os.O_CREAT | os.O_RDWR, 0o644)
        done = copy(out)
        assert 0 < done <= 300_000
        os.close(out)
        assert (work / name).read_bytes() == data[:done]
    os.close(source)


def test_preadv_pwritev(work: Path) -> None:
    fd = os.open(work / "f", os.O_CREAT | os.O_RDWR, 0o644)
    assert os.pwritev(fd, [b"one", b"two", b"x" * 10_000], 4090) == 10_006
    buffers = [bytearray(3), bytearray(3), bytearray(20_000)]
    assert os.preadv(fd, buffers, 4090) == 10_006
    assert (bytes(buffers[0]), bytes(buffers[1])) == (b"one", b"two")
    os.close(fd)


def test_fsync_of_everything(work: Path) -> None:
    (work / "d").mkdir()
    fd = os.open(work / "d" / "f", os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(fd, b"x")
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    for path in (work / "d", work, work / "d" / "f"):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.fdatasync(fd)
        syncfs(fd)
        os.close(fd)
