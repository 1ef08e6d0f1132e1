"""A working tree that is ahead of its base, as older versions left it after a full disk: commits and merges go on."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from tests.machines.test_two import DB, settle
from tests.remote.fake import Crash
from vaultfs.tree.housekeeping import DurableWork
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


def mode(one: Computer, ino: int) -> int:
    """Its permissions."""
    return one.tree.inode(ino).mode & 0o777


async def chmod(one: Computer, path: str, bits: int) -> None:
    """The path has these permissions now."""
    one.tree.attributes.set(await one.find(path), mode=bits)


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
        assert mode(one, await one.find("d/e")) == 0o755, "not one made up on the way"


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
    assert mode(b, await b.find("d/e")) == 0o755, "not one made up on the way"
    assert mode(a, await a.find("d/e")) == 0o755


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


# -- and now it does not get ahead any more


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("crashes", [False, True])
async def test_a_full_disk_takes_back_what_came_with_the_base(
    computer: Callable[[str], Computer], monkeypatch: pytest.MonkeyPatch, crashes: bool
) -> None:
    a, b = await looked_away(computer)
    await a.write("d/f", BIG)
    await a.write("d/g", b"g")
    await chmod(a, "d", 0o711)
    await a.sync()
    with monkeypatch.context() as patch:
        patch.setattr(b.tree.state, "commit", no_room)
        with pytest.raises(OSError, match="No space left"):
            await b.follow()
    if crashes:
        b.crash()
    assert await b.listing() == {"d": None, "d/f": b"f"}, "as the base has it"
    assert mode(b, await b.find("d")) == 0o755
    await b.rename("d/f", "d/h")
    await b.sync()
    picture = await settle(b, a)
    assert picture == {"d": None, "d/g": b"g", "d/f": BIG, "d/h": b"f"}, "both saw the old one"
    assert await a.kept() == []
    assert mode(a, await a.find("d")) == mode(b, await b.find("d")) == 0o711
    assert b.tree.health == []


@pytest.mark.parametrize("steps", range(1, 12))
async def test_a_crash_at_any_point_of_a_merge(computer: Callable[[str], Computer], steps: int) -> None:
    """What is written in place then is a change of what was there, and never of a version that the base has not got."""
    a, b = await looked_away(computer)
    await a.write("d/f", BIG)
    await a.write("d/g", BIG)
    await chmod(a, "d", 0o711)
    await a.sync()
    b.steps_left = steps
    with suppress(Crash):
        await b.follow()
    b.crash()
    base = b.engine.commits.base()
    came = base == a.engine.commits.base()
    assert mode(b, await b.find("d")) == (0o711 if came else 0o755)
    assert set(await b.listing("d")) == ({"d/f", "d/g"} if came else {"d/f"})
    await b.begin()
    await b.patch("d/f", 0, b"F")
    await b.rename("d/f", "d/h")
    here = await b.listing()
    await b.sync()
    picture = await files(b, a)
    assert picture["d/h"] == here["d/h"]
    assert picture["d/g"] == BIG


async def test_nobody_looks_while_the_base_is_not_durable(
    computer: Callable[[str], Computer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is seen then would be in the journal, and a power cut may take the base back."""
    a, b = await looked_away(computer)
    await a.write("d/g", b"g")
    await a.sync()
    seen: list[list[str]] = []
    real, turning = DurableWork.run, b.engine.commits.turning

    async def look() -> None:
        seen.append(sorted(await b.listing("d")))

    async def meanwhile() -> None:
        nursery.start_soon(look)
        while not seen and not turning.statistics().tasks_waiting:  # noqa: ASYNC110 - nothing tells of a lock
            await trio.sleep(0.001)
        assert seen == []

    def slowly(work: DurableWork) -> None:
        if turning.locked():
            trio.from_thread.run(meanwhile)
        real(work)

    monkeypatch.setattr(DurableWork, "run", slowly)
    async with trio.open_nursery() as nursery:
        await b.engine.follow()
    assert seen == [["d/f", "d/g"]]


async def test_a_folded_directory_of_which_nothing_is_known_was_empty(computer: Callable[[str], Computer]) -> None:
    _, b = await looked_away(computer)
    b.tree.state.set_folded(await b.find("d"), None)
    assert await b.listing() == {"d": None}
