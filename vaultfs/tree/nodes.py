"""Tree nodes in local packs: those that a merge made, in a pack of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.format.pack import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultfs.tree.blocks import Blocks
    from vaultfs.tree.ledger import Ledger
    from vaultfs.tree.packs import Placed
    from vaultfs.tree.state import State


class NodesWork:
    """Writes nodes into a new pack and finishes it; for Housekeeping.do, after which `pack` is its number."""

    def __init__(self, state: State, blocks: Blocks, ledger: Ledger, nodes: Mapping[bytes, bytes]) -> None:
        state.begin(grows=False, quiet=True)
        self._writer = blocks.new_writer()
        state.end()
        self.pack = self._writer.number
        self._state = state
        self._blocks = blocks
        self._ledger = ledger
        self._nodes = nodes
        self._placed: list[Placed] = []

    def run(self) -> None:
        """Seals and writes. Raises `OSError`."""
        self._placed = [self._writer.add(identity, data, Kind.NODE) for identity, data in self._nodes.items()]

    def apply(self) -> None:
        """Notes where they stand; nothing follows."""
        self._ledger.add_entries(self.pack, [(placed.number, placed.entry) for placed in self._placed])
        self._state.begin(grows=False, quiet=True)
        self._blocks.finish(self._writer)
        self._state.end()
