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
        blocks.pinned.add(self.pack)  # nothing is in it yet, and a collection may come first
        self._state = state
        self._blocks = blocks
        self._ledger = ledger
        self._nodes = nodes
        self._placed: list[Placed] = []

    def run(self) -> None:
        """Seals and writes. Raises `OSError`."""
        try:
            self._placed = [self._writer.add(identity, data, Kind.NODE) for identity, data in self._nodes.items()]
        except BaseException:
            self._blocks.pinned.discard(self.pack)
            raise

    def apply(self) -> None:
        """Finishes the pack, then notes where they stand; nothing follows. Raises `OSError`."""
        try:
            self._state.begin(grows=False, quiet=True)
            self._blocks.finish(self._writer)
            self._ledger.add_entries(self.pack, [(placed.number, placed.entry) for placed in self._placed])
            self._state.end()
        finally:
            self._blocks.pinned.discard(self.pack)
