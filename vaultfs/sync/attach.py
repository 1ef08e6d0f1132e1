"""What a machine reads of a remote before it has anything: the header first, and with its keys the newest heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.sync.header import read_headers

if TYPE_CHECKING:
    from vaultfs.format.head import Head
    from vaultfs.sync.catalog import Catalog
    from vaultfs.sync.heads import Heads

__all__ = ["attach", "read_headers"]


async def attach(heads: Heads, catalog: Catalog) -> list[Head]:
    """Look at the remote as a machine that joins, or that starts again: one listing and a get for each new head.

    The newest heads of all devices, oldest first, to be merged; none where nothing was ever published.
    The catalog has learnt what they name; nodes can be fetched. Alarms are in `heads.alarms`.
    """
    await heads.poll()
    seen = sorted(heads.seen, key=lambda head: (head.time, head.device))
    for head in seen:
        catalog.learn(head)
    return seen
