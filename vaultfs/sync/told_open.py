"""Others are told when nothing is open here any more that a head of ours says is, although nothing is written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from vaultfs.sync.heads import Heads
    from vaultfs.sync.ports import Ports

_CLOSED = 3.0  # seconds; an agent opens and closes its files all the time


class ToldOpen:
    """Knows when a head is due that says so."""

    def __init__(self, ports: Ports, heads: Heads) -> None:
        self._ports = ports
        self._heads = heads
        self._closed_since = math.inf
        self._corrected = 0  # the number of the head that said so, when a newer one was made

    def due(self, *, now: bool = False) -> bool:
        """Whether to make a head now, which the caller does then. `now`: without waiting for `_CLOSED` seconds."""
        tree, own = self._ports.tree, self._ports.identity.id
        told = next((head for head in self._heads.seen if head.device == own), None)
        if told is None or not told.open or tree.handles.writers() or self._ports.follow_only:
            self._closed_since = math.inf
            return False
        self._closed_since = min(self._closed_since, trio.current_time())
        waits = not now and trio.current_time() - self._closed_since < _CLOSED
        if waits or tree.ledger.outbox() or told.number == self._corrected:
            return False
        self._corrected = told.number
        return True
