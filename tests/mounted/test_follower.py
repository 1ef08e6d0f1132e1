"""A read-only mount, as its readers see what comes."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.mounted.presented import WHICH, directory, file, gone, present
from tests.support.served import Served, served

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse"),
]


@pytest.fixture(scope="module")
def vault() -> Iterator[Served]:
    with served(WHICH) as running:
        yield running


class TestFollower:
    def test_an_open_reader_sees_growth(self) -> None:
        with served(WHICH, "-oro") as vault:
            path = vault.mountpoint / "log"
            assert present(vault, file("log", "one\n"))
            with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
                path.write_bytes(b"")
            tail = subprocess.Popen(
                ["tail", "-f", "-s", "0.1", "-n", "+1", str(path)], stdout=subprocess.PIPE, text=True
            )
            try:
                with open(path, "rb", buffering=0) as reader:
                    assert reader.read(100) == b"one\n"
                    assert reader.read(100) == b""
                    assert tail.stdout.readline() == "one\n"
                    text = "one\n"
                    for line in ("two\n", "three\n"):
                        text += line
                        assert present(vault, file("log", text))
                        assert reader.read(100) == line.encode()
                        assert tail.stdout.readline() == line
            finally:
                tail.kill()
                tail.wait()
                tail.stdout.close()

    def test_names_come_and_go(self) -> None:
        with served(WHICH, "-oro") as vault:
            root = vault.mountpoint
            assert present(vault, directory("d"))
            assert os.listdir(root / "d") == []
            assert not (root / "d" / "f").exists()
            assert present(vault, file("d/f", "1"))
            assert (root / "d" / "f").read_bytes() == b"1"
            assert present(vault, file("d/f", "2"))
            assert (root / "d" / "f").read_bytes() == b"2"
            assert os.listdir(root / "d") == ["f"]
            assert present(vault, gone("d/f"))
            assert os.listdir(root / "d") == []
            assert not (root / "d" / "f").exists()

    def test_a_list_of_names_that_the_kernel_keeps_gets_those_that_nobody_looked_for(self) -> None:
        with served(WHICH, "-oro") as vault:
            root = vault.mountpoint
            assert present(vault, directory("d"))
            assert present(vault, file("d/a", "1"))
            for _ in range(2):
                assert os.listdir(root / "d") == ["a"]
            assert present(vault, file("d/b", "1"))
            assert sorted(os.listdir(root / "d")) == ["a", "b"]
            assert present(vault, gone("d/a"))
            assert os.listdir(root / "d") == ["b"]

    def test_a_database_is_not_changed_under_who_reads_it(self) -> None:
        with served(WHICH, "-oro") as vault:
            path = vault.mountpoint / "db"
            old, new = "SQLite format 3\0 old", "SQLite format 3\0 newer"
            assert present(vault, file("db", old))
            with open(path, "rb", buffering=0) as reader:
                assert present(vault, file("db", new))
                assert reader.read(100) == old.encode()
            assert path.read_bytes() == new.encode()
