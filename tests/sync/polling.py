"""Looks at heads, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sync.vaults import Machine


async def polls(here: Machine, times: int) -> list[tuple[str, int]]:
    return [head for _ in range(times) for head in await here.poll()]
