"""A database that is being made: its journal is there before anything says that it is a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.test_two import DB, joined, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines.computer import Computer

pytestmark = pytest.mark.trio


@pytest.mark.parametrize("first", ["s.db", "s.db-journal"])
@pytest.mark.parametrize("then", ["another", "none", "the same"])
async def test_its_journal_is_no_conflict(computer: Callable[[str], Computer], first: str, then: str) -> None:
    """SQLite makes one for each transaction, under one name."""
    a, b = await joined(computer, {"s.db": b"", "s.db-journal": b"j" * 700})
    for path in (first, "s.db" if first != "s.db" else "s.db-journal"):
        if path == "s.db":
            await a.write(path, DB)
            continue
        if then != "the same":
            await a.remove(path)
        if then != "none":
            await a.write(path, b"k" * 700)
    picture = await settle(a, b)
    assert picture == {"s.db": DB} | ({} if then == "none" else {"s.db-journal": b"k" * 700})
    assert await a.engine.decisions.list() == await b.engine.decisions.list() == []
