"""Tree nodes in memory: the plainest store of nodes that there can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.format.node import NodeDamagedError
from vaultfs.format.pack import node_id as id_of

if TYPE_CHECKING:
    from vaultfs.format.node import Nodes


class MemoryNodes:
    """Nodes in a dict: new ones over those of `below`, so that a commit knows what it has to write."""

    def __init__(self, key: bytes, below: Nodes | None = None) -> None:
        self._key = key
        self._below = below
        self.new: dict[bytes, bytes] = {}
        self.reads = 0

    def get(self, node_id: bytes, /) -> bytes:
        """The bytes of a node. Raises KeyError where there is none, `NodeDamagedError` for one that is not it."""
        self.reads += 1
        data = self.new.get(node_id)
        if data is None:
            if self._below is None:
                raise KeyError(node_id)
            data = self._below.get(node_id)
            if id_of(self._key, data) != node_id:
                raise NodeDamagedError("another node than was asked for")
        return data

    def put(self, data: bytes, /) -> bytes:
        """Keep a node; its id."""
        name = id_of(self._key, data)
        self.new[name] = data
        return name
