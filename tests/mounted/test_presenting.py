"""What comes from elsewhere, as programs on this machine see it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.mounted.presented import WHICH, attempt, directory, file, gone, present
from tests.support.arriving import MTIME, OTHER
from tests.support.served import Served, served
from tests.support.watching import Watch
from vaultfs.fuse import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS = 500


pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse"),
]


@pytest.fixture(scope="module")
def vault() -> Iterator[Served]:
    with served(WHICH) as running:
        yield running


READER = """
import os, sys
path, seen, last = sys.argv[1], 0, None
def once():
    global seen
    with open(path, "rb", buffering=0) as file:
        data = b"".join(iter(lambda: file.read(9000), b""))
    assert len(data) == 30000 and data == data[:1] * 30000, (len(data), set(data))
    assert os.stat(path).st_size == 30000
    seen += 1
    return data
once()
print("ready", flush=True)
os.set_blocking(0, False)
while sys.stdin.buffer.raw.read(1) is None:
    once()
print(seen, once()[:1].decode(), flush=True)
"""


@pytest.mark.slow
def test_a_reader_sees_one_whole_version_and_never_an_error(vault: Served) -> None:
    said = {"path": "version", "kind": "file", "size": 30_000, "byte": "!"}
    assert present(vault, said)
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(vault.mountpoint / "version")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for reader in readers:
            assert reader.stdout.readline() == "ready\n"
        vault.ask(versions=VERSIONS, said=said)
        for reader in readers:
            out, _ = reader.communicate("x", timeout=90)
            assert reader.returncode == 0
            seen, newest = out.split()
            assert int(seen) > 10
            assert newest == chr(ord("0") + (VERSIONS - 1) % 75)
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()


def test_watchers_are_told(vault: Served) -> None:
    root = vault.mountpoint / "watched"
    root.mkdir()
    (root / "old").write_bytes(b"old")
    (root / "dropped").write_bytes(b"dropped")
    (root / "empty").mkdir()
    with Watch(root) as watch:
        assert present(vault, file("watched/old", "new"))
        assert present(vault, file("watched/fresh", "fresh"))
        assert present(vault, directory("watched/sub"))
        assert present(vault, gone("watched/dropped"))
        assert present(vault, gone("watched/empty"))
        assert watch.seen(5) == [
            ("moved_to", "old"),
            ("moved_to", "fresh"),
            ("moved_to", "sub"),
            ("delete", "dropped"),
            ("delete", "empty"),
        ]
    assert (root / "old").read_bytes() == b"new"
    assert sorted(os.listdir(root)) == ["fresh", "old", "sub"]
    assert not (root / "dropped").exists()


def test_watchers_are_told_of_every_name_of_a_batch(vault: Served) -> None:
    root = vault.mountpoint / "unit"
    root.mkdir()
    (root / "db").write_bytes(b"1")
    (root / "db-journal").write_bytes(b"1")
    with Watch(root) as watch:
        assert present(vault, file("unit/db", "2"), file("unit/db-wal", "2"), gone("unit/db-journal"))
        assert sorted(watch.seen(3)) == [("delete", "db-journal"), ("moved_to", "db"), ("moved_to", "db-wal")]
    assert {name: (root / name).read_bytes() for name in os.listdir(root)} == {"db": b"2", "db-wal": b"2"}


def test_a_directory_goes_after_what_is_in_it(vault: Served) -> None:
    root = vault.mountpoint / "going"
    (root / "d").mkdir(parents=True)
    (root / "d" / "f").write_bytes(b"f")
    with Watch(root) as watch, Watch(root / "d") as below:
        end = time.monotonic() + 90
        while (root / "d").exists() and time.monotonic() < end:  # the close may not be here yet
            vault.ask(batches=[[gone("going/d/f")], [gone("going/d")]])
        assert below.seen(1) == [("delete", "f")]
        assert watch.seen(1) == [("delete", "d")]


def test_who_has_the_old_version_open_keeps_it(vault: Served) -> None:
    path = vault.mountpoint / "kept"
    path.write_bytes(b"old" * 50_000)
    with open(path, "rb", buffering=0) as reader:
        assert reader.read(3) == b"old"
        assert present(vault, file("kept", "new"))
        assert reader.read() == (b"old" * 50_000)[3:]
        assert os.fstat(reader.fileno()).st_nlink == 0
        assert path.read_bytes() == b"new"
    # By its descriptor: the first time the kernel is sent to look again, and there is nothing else to be found.
    assert path.read_bytes() == b"new"


def test_an_edit_does_not_go_to_what_was_replaced(vault: Served) -> None:
    """A name that was looked up before a checkout and is opened after it, as in a race."""
    path = vault.mountpoint / "looked-up"
    path.write_bytes(b"old")
    found = os.open(path, os.O_PATH)
    assert present(vault, file("looked-up", "new"))
    again = f"/proc/self/fd/{found}"
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        os.open(again, os.O_WRONLY)
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        os.truncate(again, 1)
    with open(again, "rb") as reader:
        assert reader.read() == b"old"
    os.close(found)
    assert path.read_bytes() == b"new"


def test_open_for_writing_holds_it(vault: Served) -> None:
    path = vault.mountpoint / "held"
    path.write_bytes(b"mine")
    with open(path, "ab", buffering=0) as writer:
        assert not attempt(vault, file("held", "theirs"))
        writer.write(b" too")
        assert path.read_bytes() == b"mine too"
    assert present(vault, file("held", "theirs"))
    assert path.read_bytes() == b"theirs"
    assert path.stat().st_mtime_ns == MTIME


def test_a_batch_is_held_as_one(vault: Served) -> None:
    root = vault.mountpoint / "one"
    root.mkdir()
    (root / "a").write_bytes(b"a")
    (root / "b").write_bytes(b"b")
    with open(root / "b", "ab"):
        assert not attempt(vault, file("one/a", "A"), file("one/b", "B"), file("one/c", "C"))
    assert {name: (root / name).read_bytes() for name in os.listdir(root)} == {"a": b"a", "b": b"b"}
    assert present(vault, file("one/a", "A"), file("one/b", "B"), file("one/c", "C"))
    assert {name: (root / name).read_bytes() for name in os.listdir(root)} == {"a": b"A", "b": b"B", "c": b"C"}


def test_kinds_take_each_others_place(vault: Served) -> None:
    root = vault.mountpoint / "kinds"
    (root / "full").mkdir(parents=True)
    (root / "full" / "inside").write_bytes(b"old")
    (root / "full2").mkdir()
    (root / "plain").write_bytes(b"plain")
    assert (root / "full" / "inside").read_bytes() == b"old"
    with Watch(root) as watch:
        assert present(vault, directory("kinds/full"))
        assert present(vault, file("kinds/full2", "a file now"))
        assert present(vault, directory("kinds/plain"))
        assert present(vault, {"path": "kinds/link", "kind": "link", "target": "full2"})
        assert [event for event in watch.seen(7) if event[0] == "moved_to"] == [
            ("moved_to", name) for name in ("full", "full2", "plain", "link")
        ]
    assert os.listdir(root / "full") == []
    assert (root / "full2").read_bytes() == b"a file now"
    assert os.listdir(root / "plain") == []
    assert (root / "link").read_bytes() == b"a file now"
    assert present(vault, file("kinds/full/inside", "new"))
    assert (root / "full" / "inside").read_bytes() == b"new"
    assert present(vault, gone("kinds/full", whole=True))
    assert sorted(os.listdir(root)) == ["full2", "link", "plain"]


def test_a_directory_gets_its_attributes_in_place(vault: Served) -> None:
    path = vault.mountpoint / "dressed"
    path.mkdir(mode=0o755)
    ino = path.stat().st_ino
    assert present(vault, directory("dressed", mode=0o711, in_place=True))
    found = path.stat()
    assert (found.st_mode & 0o7777, found.st_ino) == (0o711, ino)


def test_another_name_for_a_file_that_is_here(vault: Served) -> None:
    root = vault.mountpoint / "links"
    root.mkdir()
    assert present(vault, file("links/one", "same", same=1 << 40))
    assert (root / "one").stat().st_nlink == 1
    assert present(vault, file("links/two", "same", same=1 << 40))
    assert (root / "one").stat().st_nlink == 2
    assert os.path.samefile(root / "one", root / "two")
    assert present(vault, gone("links/one"))
    assert (root / "two").stat().st_nlink == 1


def test_it_is_no_edit_whatever_the_kernel_sends_later(vault: Served) -> None:
    (vault.mountpoint / "quiet").write_bytes(b"mine")
    answer = vault.ask(batches=[[file("quiet", "theirs")]])
    ino = answer["inos"][0][0][1]
    before = vault.ask(ino=ino)
    assert before["device"] == OTHER.hex().upper()
    kernel.sync_filesystem(str(vault.mountpoint))  # starts that the kernel sends the ctime of what was renamed
    os.fsync(descriptor := os.open(vault.mountpoint / "quiet", os.O_RDONLY))  # waits for it
    os.close(descriptor)
    assert vault.ask(ino=ino) == before
    (vault.mountpoint / "quiet").touch()
    assert vault.ask(ino=ino)["device"] != before["device"], "the test sees edits"


def test_nothing_of_it_is_in_the_next_commit() -> None:
    """Whatever the kernel does with what came: it looks, it sends times, it forgets."""
    with served(WHICH) as vault:
        root = vault.mountpoint
        (root / "d").mkdir()
        (root / "d" / "mine").write_bytes(b"mine")
        (root / "d" / "old").write_bytes(b"old")
        (root / "d" / "drop").write_bytes(b"drop")
        assert vault.ask(track=True) == {"names": [], "inodes": []}
        assert present(vault, file("d/old", "new"), file("d/fresh", "fresh"), gone("d/drop"))
        assert present(vault, directory("d/sub", mode=0o750))
        assert present(vault, file("d/sub/f", "f"))
        assert present(vault, directory("d", mode=0o700, in_place=True))
        names = [root / "d" / name for name in ("old", "fresh", "sub/f")]
        assert [name.read_bytes() for name in names] == [b"new", b"fresh", b"f"]
        kernel.sync_filesystem(str(root))
        for name in names:
            descriptor = os.open(name, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        assert vault.ask(track=True) == {"names": [], "inodes": []}
        mine = (root / "d" / "mine").stat().st_ino
        (root / "d" / "mine").write_bytes(b"changed")
        assert not attempt(vault, file("d/mine", "theirs")), "an edit that no commit has yet is not replaced"
        assert not attempt(vault, gone("d/mine"))
        assert vault.ask(track=True) == {"names": [], "inodes": [mine]}
        os.rename(root / "d" / "fresh", root / "d" / "renamed")
        assert not attempt(vault, file("d/fresh", "again"))
        assert vault.ask(track=True)["names"] == ["fresh", "renamed"]
