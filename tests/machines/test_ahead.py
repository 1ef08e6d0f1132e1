"""A working tree that is ahead of its base, as older versions left it after a full disk: commits and merges go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.test_two import DB, settle
from vaultfs.tree.inode import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines.computer import Computer

pytestmark = pytest.mark.trio

BIG = bytes(range(256)) * 2000


async def looked_away(computer: Callable[[str], Computer]) -> tuple[Computer, Computer]:
    """Two machines with one vault; on b nobody has looked into `d`."""
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.mkdir("d")
    await a.write("d/f", b"f")
    await a.sync()
    await b.begin()
    await b.sync()
    await settle_roots(a, b)
    return a, b


async def settle_roots(a: Computer, b: Computer) -> None:
    """Both have the same base, and b still has not looked."""
    for _ in range(2):
        await a.sync()
        await b.sync()
    assert a.engine.commits.base() == b.engine.commits.base()
    assert b.tree.arrivals.is_folded((await b.here(lambda: b.tree.names.lookup(ROOT, b"d"))).ino)  # type: ignore[attr-defined]


async def ahead(computer: Callable[[str], Computer]) -> tuple[Computer, Computer]:
    """B shows what a made in `d`, and its base is the one from before that."""
    a, b = await looked_away(computer)
    await a.write("d/g", BIG)
    await a.mkdir("d/e")
    await a.write("d/e/x", BIG)
    await a.write("d/e/y", b"y")
    await a.write("d/s.db", DB)
    await a.write("d/s.db-wal", b"log")
    await a.sync()
    base = b.tree.ledger.base
    assert base is not None
    await b.follow()
    b.tree.ledger.set_base(*base)
    return a, b


ALL = {"d/f": b"f", "d/g": BIG, "d/e/x": BIG, "d/e/y": b"y", "d/s.db": DB, "d/s.db-wal": b"log"}


async def files(*computers: Computer) -> dict[str, bytes]:
    """What is there in the end."""
    return {path: data for path, data in (await settle(*computers)).items() if data is not None}


@pytest.mark.parametrize(("old", "new"), [("d/g", "d/h"), ("d/e/x", "x"), ("d/s.db-wal", "log"), ("d/f", "d/e/f")])
async def test_a_file_is_moved(computer: Callable[[str], Computer], old: str, new: str) -> None:
    a, b = await ahead(computer)
    await b.rename(old, new)
    assert await b.commit()
    here = await b.listing()
    picture = await files(b, a)
    # The base had not got it, so the place that it left is nothing that b could have spoken of.
    assert picture[new] == ALL[old]
    assert picture.items() >= {(path, data) for path, data in ALL.items() if path != old}
    assert here[new] == ALL[old]
    assert await a.kept() == []
    for one in (a, b):
        assert one.tree.inode(await one.find("d/e")).mode & 0o777 == 0o755, "not one made up on the way"


async def test_a_directory_is_moved(computer: Callable[[str], Computer]) -> None:
    a, b = await ahead(computer)
    await b.rename("d/e", "e")
    await b.rename("e/x", "e/z")
    await b.commit()
    assert (await files(b, a)).items() >= {"e/z": BIG, "e/y": b"y", "d/f": b"f", "d/g": BIG}.items()


async def test_files_are_written_in_place(computer: Callable[[str], Computer]) -> None:
    a, b = await ahead(computer)
    for path in ("d/g", "d/e/x"):
        await b.patch(path, 300_000, b"patched")
    await b.commit()
    patched = BIG[:300_000] + b"patched" + BIG[300_007:]
    picture = await files(b, a)
    assert (picture["d/g"], picture["d/e/x"], picture["d/e/y"]) == (patched, patched, b"y")
    assert b.tree.inode(await b.find("d/e")).mode & 0o777 == 0o755, "not one made up on the way"
    assert a.tree.inode(await a.find("d/e")).mode & 0o777 == 0o755


async def test_things_are_removed(computer: Callable[[str], Computer]) -> None:
    a, b = await ahead(computer)
    await b.remove("d/g")
    await b.write("own", b"b")
    await b.commit()
    assert (await files(b, a)).items() >= {"own": b"b", "d/f": b"f"}.items()


async def test_names_change_places(computer: Callable[[str], Computer]) -> None:
    a, b = await ahead(computer)
    await b.rename("d/f", "t")
    await b.rename("d/g", "d/f")
    await b.rename("t", "d/g")
    await b.commit()
    here = await b.listing()
    assert (here["d/f"], here["d/g"]) == (BIG, b"f")
    picture = await files(b, a)
    assert {picture["d/f"], picture["d/g"], *await a.kept()} == {BIG, b"f"}
