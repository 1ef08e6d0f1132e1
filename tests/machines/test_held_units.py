"""A git directory that is in use here while a newer one waits is moved meanwhile: the two stay apart, and whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.test_two import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines.computer import Computer

pytestmark = pytest.mark.trio
NEW = {"HEAD": b"B", "x": b"B", "z": b"old"}


async def held(computer: Callable[[str], Computer]) -> tuple[Computer, Computer]:
    """A has d/g open, and b's newer one waits for that."""
    a, b = computer("a"), computer("b")
    await a.begin()
    for name in ("d", "d/g", "d/g/objects", "d/g/refs"):
        await a.mkdir(name)
    for name in NEW:
        await a.write(f"d/g/{name}", b"old")
    await a.sync()
    await b.begin()
    await settle(a, b)
    await a.hold("d/g/HEAD")
    for name in ("HEAD", "x"):
        await b.write(f"d/g/{name}", b"B")
    await b.sync()
    await a.follow()
    assert await a.read("d/g/x") == b"old"
    return a, b


async def end(a: Computer, b: Computer) -> dict[str, bytes | None]:
    handle = a.handles.pop("d/g/HEAD")
    a.tree.handles.release(handle)
    return await settle(a, b)


async def test_it_is_renamed(computer: Callable[[str], Computer]) -> None:
    a, b = await held(computer)
    await a.rename("d/g", "h")
    await a.write("h/x", b"A")
    picture = await end(a, b)
    assert {name: picture[f"d/g/{name}"] for name in NEW} == NEW
    assert {name: picture[f"h/{name}"] for name in NEW} == {"HEAD": b"old", "x": b"A", "z": b"old"}


async def test_it_is_written_again_and_again(computer: Callable[[str], Computer]) -> None:
    """What is written here is the newest soon: each commit goes on from the one before it, which is in place now."""
    a, b = await held(computer)
    for number in range(3):
        await a.write("d/g/x", b"A%d" % number)
        await a.commit()
    await a.remove("d/g/z")
    await a.commit()
    picture = await end(a, b)
    assert {name: picture.get(f"d/g/{name}") for name in NEW} == {"HEAD": b"old", "x": b"A2", "z": None}
    (kept,) = await b.engine.decisions.list()
    await b.engine.decisions.keep(kept)
    picture = await settle(b, a)
    assert {name: picture[f"d/g/{name}"] for name in NEW} == NEW


@pytest.mark.parametrize("first", [True, False])
async def test_the_directory_above_it_is_renamed(computer: Callable[[str], Computer], *, first: bool) -> None:
    a, b = await held(computer)
    if first:
        await a.remove("d/g/z")
    await a.rename("d", "e")
    if not first:
        await a.remove("e/g/z")
    await a.write("e/g/x", b"A")
    picture = await end(a, b)
    assert {name: data for name, data in picture.items() if data is not None} == {"e/g/HEAD": b"old", "e/g/x": b"A"}
    (kept,) = await b.engine.decisions.list()
    await b.engine.decisions.keep(kept)
    picture = await settle(b, a)
    assert {name: picture[f"e/g/{name}"] for name in NEW} == NEW, "nothing of what was done here got into it"
