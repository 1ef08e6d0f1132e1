"""A directory as a store: what somebody else may put in there."""

from __future__ import annotations

import os
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest

from vaultfs.remote import Entry, Remote
from vaultfs.remote.directory import DirectoryBackend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.trio

DEEP = 1500  # more than Python's functions may call each other


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A directory with directories in each other; removed by hand, because `shutil.rmtree` fails at it, too."""
    levels = list(accumulate(["a"] * DEEP, lambda above, name: f"{above}/{name}"))
    (tmp_path / "heads").mkdir()
    for level in levels:
        os.mkdir(tmp_path / "heads" / level)
    yield tmp_path
    for level in reversed(levels):
        os.rmdir(tmp_path / "heads" / level)


async def test_directories_far_below_each_other_are_listed(deep: Path) -> None:
    remote = Remote(DirectoryBackend(deep))
    await remote.put("heads/bb/1", b"head")
    await remote.put("heads/c/c/c/c/c/1", b"deeper than ours, and all the same a name")
    assert {*await remote.list("heads")} == {Entry("heads/bb/1", 4), Entry("heads/c/c/c/c/c/1", 41)}
    assert {*await remote.list()} == {*await remote.list("heads")}


async def test_what_is_below_a_name_that_is_none_is_not_looked_at(tmp_path: Path) -> None:
    remote = Remote(DirectoryBackend(tmp_path))
    await remote.put("heads/bb/1", b"head")
    (tmp_path / "heads" / "lost+found").mkdir()
    (tmp_path / "heads" / "lost+found" / "1").write_bytes(b"not ours")
    os.symlink(tmp_path / "heads", tmp_path / "heads" / "round")
    os.symlink(tmp_path / "heads" / "bb" / "1", tmp_path / "heads" / "bb" / "2")
    assert await remote.list("heads") == [Entry("heads/bb/1", 4)]
    assert await remote.list("heads/bb/1") == []
    assert await remote.list("nothing") == []
