"""Two machines go on writing one file without knowing of each other: what is a conflict then, and what is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.test_two import joined, settle
from vaultfs.sync.units import SQLITE_MAGIC

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines.computer import Computer

pytestmark = pytest.mark.trio
BEFORE = {
    "file": {"d/x": b"0"},
    "database": {"d/x": SQLITE_MAGIC + b"0"},
    "unit": {"d/PG_VERSION": b"17", "d/x": b"0"},
}
KINDS = list(BEFORE)


async def edited_over(
    computer: Callable[[str], Computer], kind: str
) -> tuple[Computer, Computer, Callable[[str], bytes]]:
    """A has written a1; B has written b1, seen a1 beside it, and moved that aside with b2, which A does not know."""
    a, b = await joined(computer, BEFORE[kind])
    start = SQLITE_MAGIC if kind == "database" else b""

    def data(text: str) -> bytes:
        return start + text.encode()

    await a.write("d/x", data("a1"))
    await a.sync()
    await b.write("d/x", data("b1"))
    await b.sync()
    assert await b.read("d/x") == data("b1")
    await b.write("d/x", data("b2"))
    await b.sync()
    return a, b, data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held", [False, True])
async def test_what_was_replaced_where_it_was_written_is_none(
    computer: Callable[[str], Computer], kind: str, *, held: bool
) -> None:
    a, b, data = await edited_over(computer, kind)
    if held:
        await a.hold("d/x")
    for text in ("a2", "a3"):
        await a.write("d/x", data(text))
        await a.commit()
    await a.sync()
    await a.write("d/x", data("a4")) if held else None
    a.release("d/x")
    picture = await settle(a, b)
    newest = data("a4" if held else "a3")
    assert picture["d/x"] == newest
    (kept,) = await b.engine.decisions.list()
    await b.engine.decisions.keep(kept)
    assert (await settle(b, a))["d/x"] == data("b2"), "a1 had become a2"


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_put_aside_before_the_next_was_written_is_one(
    computer: Callable[[str], Computer], kind: str
) -> None:
    a, b, data = await edited_over(computer, kind)
    await a.follow()
    assert await a.read("d/x") == data("b2")
    await a.write("d/x", data("a2"))
    picture = await settle(a, b)
    assert picture["d/x"] == data("a2")
    (kept,) = await b.engine.decisions.list()
    await b.engine.decisions.keep(kept)
    assert (await settle(b, a))["d/x"] == data("a1"), "nothing was made from it"


async def test_what_was_removed_where_it_was_written_is_one(computer: Callable[[str], Computer]) -> None:
    """There is nothing after it that could hold what it held."""
    a, b, _ = await edited_over(computer, "file")
    await a.remove("d/x")
    picture = await settle(a, b)
    assert picture["d/x"] == b"b2"
    assert len(await a.engine.decisions.list()) == 1
