"""Since when something is known not to be needed: what this machine remembers from one `gc` to the next.

A look sees only what heads say at that moment. But what came back in between, however shortly, came back with a head
that is still there (vaultfs.sync.step, vaultfs.sync.thinning): so what two looks find that nobody needs, nobody needed
between them, if they are not further apart than such heads stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from vaultfs.sync.thinning import LATE_DAYS

if TYPE_CHECKING:
    from collections.abc import Collection

APART = (LATE_DAYS - 1) * 86_400 * 1_000_000_000


class Memory(msgspec.Struct, array_like=True):
    """What is remembered: since when (ns since 1970) each candidate is one, and when the last look was."""

    since: dict[str, int] = {}
    looked: int = 0

    def look(self, candidates: Collection[str], now: int) -> Memory:
        """What is to be remembered from now on. A clock that goes back only makes it wait longer."""
        known = self.since if now - self.looked <= APART else {}
        return Memory({name: min(known.get(name, now), now) for name in sorted(candidates)}, now)

    def without(self, gone: Collection[str]) -> Memory:
        """After these were removed."""
        return Memory({name: since for name, since in self.since.items() if name not in gone}, self.looked)
