"""Names and listings: any bytes, 255 of them, paths to 4096, directories that change while they are read."""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.posix import DirStream, fails

if TYPE_CHECKING:
    from pathlib import Path


def test_every_byte_in_a_name(work: Path) -> None:
    root = os.fsencode(work)
    names = {bytes([byte]) * 3 for byte in range(1, 256) if byte != ord("/")}
    names |= {b"\xff\xfe\x80", "äöü".encode(), "a\u0308".encode(), b" ", b"-rf", b"...", b".hidden", b"a\nb"}
    for name in names:
        with open(os.path.join(root, name), "wb") as file:
            file.write(name)
    assert set(os.listdir(root)) == names
    for name in names:
        with open(os.path.join(root, name), "rb") as file:
            assert file.read() == name


def test_names_are_bytes_not_text(work: Path) -> None:
    """Neither case nor Unicode normal forms are folded."""
    for name in ("a", "A", "\u00e9", "e\u0301", "\ufb01", "fi"):
        (work / name).write_text(name)
    assert len(os.listdir(work)) == 6
    assert (work / "\u00e9").read_text() == "\u00e9"


def test_names_of_255_bytes(work: Path) -> None:
    root = os.fsencode(work)
    long = [b"x" * 255, b"\xc3\xa4" * 127 + b"z", bytes(range(1, 47)) + b"y" * 209]
    for name in long:
        path = os.path.join(root, name)
        os.mkdir(path)
        os.mkdir(os.path.join(path, name))
        os.rename(path, path[:-1])
        os.rename(path[:-1], path)
    assert set(os.listdir(root)) == set(long)
    assert os.statvfs(work).f_namemax == 255


def test_paths_up_to_4096(work: Path) -> None:
    """4095 bytes in one call; deeper trees through relative paths."""
    path = os.fspath(work)
    while (room := 4095 - len(path) - 1) > 255:
        path += "/" + "d" * min(200, room - 10)
        os.mkdir(path)
    longest = path + "/" + "f" * room
    assert len(longest) == 4095
    with open(longest, "wb") as file:
        file.write(b"deep")
    with open(longest, "rb") as file:
        assert file.read() == b"deep"
    with fails(errno.ENAMETOOLONG):
        open(longest + "x", "wb").close()
    fd = os.open(path, os.O_RDONLY)
    for _ in range(3):
        os.mkdir("g" * 255, dir_fd=fd)
        inner = os.open("g" * 255, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    assert os.listdir(fd) == ["f"]
    os.close(fd)


def test_listing_is_complete(work: Path) -> None:
    (work / "d").mkdir()
    (work / "f").touch()
    os.symlink("x", work / "l")
    os.mkfifo(work / "p")
    os.mknod(work / "s", stat.S_IFSOCK | 0o600)
    with DirStream(work) as stream:
        assert sorted(stream.rest()) == [b".", b"..", b"d", b"f", b"l", b"p", b"s"]
    kinds = {e.name: (e.is_dir(follow_symlinks=False), e.is_file(), e.is_symlink()) for e in os.scandir(work)}
    no = (False, False, False)
    file, directory, link = (False, True, False), (True, False, False), (False, False, True)
    assert kinds == {"d": directory, "f": file, "l": link, "p": no, "s": no}
    assert os.listdir(work / "d") == []


def test_dot_and_dot_dot(work: Path) -> None:
    (work / "d").mkdir()
    assert os.stat(f"{work}/d/.").st_ino == os.stat(work / "d").st_ino
    assert os.stat(f"{work}/d/..").st_ino == os.stat(work).st_ino


@pytest.mark.parametrize("count", [10, 1000])
def test_offsets_stay_valid(work: Path, count: int) -> None:
    """telldir's places hold while entries around them come and go."""
    for number in range(count):
        (work / f"f{number:05}").touch()
    with DirStream(work) as stream:
        places: list[tuple[int, bytes]] = []
        while True:
            place = stream.tell()
            name = stream.read()
            if name is None:
                break
            places.append((place, name))
        order = [name for _, name in places]
        assert len(set(order)) == count + 2
        for place, name in (places[count // 2], places[1], places[-1], places[count // 3]):
            stream.seek(place)
            assert stream.read() == name
            stream.seek(place)
            assert stream.rest() == order[order.index(name) :]
        keep, gone = order[count // 2 :], [n for n in order[2 : count // 2] if n not in (b".", b"..")]
        for name in gone:
            os.unlink(os.path.join(os.fsencode(work), name))
        stream.seek(places[count // 2][0])
        assert stream.rest() == keep
        stream.rewind()
        assert set(stream.rest()) == set(order) - set(gone)


def test_removing_while_listing(work: Path) -> None:
    """rm -r: each entry is seen once although every one seen is removed."""
    for number in range(3000):
        (work / f"f{number}").touch()
    seen = []
    for entry in os.scandir(work):
        os.unlink(entry.path)
        seen.append(entry.name)
    assert len(seen) == len(set(seen)) == 3000
    assert os.listdir(work) == []


def test_adding_while_listing(work: Path) -> None:
    """What was there before is listed exactly once, whatever is added, renamed or removed meanwhile."""
    for number in range(2000):
        (work / f"old{number}").touch()
    seen: list[bytes] = []
    with DirStream(work) as stream:
        step = 0
        while (name := stream.read()) is not None:
            seen.append(name)
            (work / f"new{step}").touch()
            if step % 7 == 0 and step > 0:
                os.unlink(work / f"new{step - 1}")
            if step > 20_000:
                pytest.fail("the listing never ends")
            step += 1
    old = [name for name in seen if name.startswith(b"old")]
    assert len(old) == len(set(old)) == 2000
    assert len(seen) == len(set(seen))


def test_rename_while_listing(work: Path) -> None:
    for number in range(1500):
        (work / f"f{number}").touch()
    seen = set()
    with DirStream(work) as stream:
        for step in range(1502):
            name = stream.read()
            assert name is not None
            seen.add(name)
            if step == 100:
                os.rename(work / "f7", work / "f7-moved")
        while (name := stream.read()) is not None:
            seen.add(name)
    assert {b"f%d" % n for n in range(1500) if n != 7} <= seen


def test_a_new_listing_sees_what_was_just_made(work: Path) -> None:
    for number in range(200):
        (work / f"f{number}").touch()
        assert len(os.listdir(work)) == number + 1
    for number in range(200):
        os.unlink(work / f"f{number}")
        assert f"f{number}" not in os.listdir(work)


def test_deep_tree(work: Path) -> None:
    fd = os.open(work, os.O_RDONLY)
    for depth in range(500):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
        del depth
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    assert os.listdir(fd) == ["bottom"]
    os.close(fd)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_a_large_directory(work: Path, count: int) -> None:
    big = work / "big"
    big.mkdir()
    directory = os.open(big, os.O_RDONLY)
    for base in range(0, count, count // 10):  # ten files, and links to them: links are quick, and ext4 allows 65,000
        (big / f"entry-{base:06}").touch()
        for number in range(base + 1, base + count // 10):
            os.link(f"entry-{base:06}", f"entry-{number:06}", src_dir_fd=directory, dst_dir_fd=directory)
    names = os.listdir(big)
    assert len(names) == len(set(names)) == count
    assert os.stat(big / "entry-017777").st_nlink == count // 10
    with fails(errno.ENOENT):
        os.stat(big / f"entry-{count:06}")

    def touch() -> float:
        start = time.monotonic()
        (big / f"one-more-{start}").touch()
        return time.monotonic() - start

    assert min(touch() for _ in range(5)) < count / 1e5, "one change in a large directory must not cost its size"
    for number in range(0, count, 100):
        os.unlink(f"entry-{number:06}", dir_fd=directory)
    assert len(os.listdir(big)) == count - count // 100 + 5
    os.close(directory)
