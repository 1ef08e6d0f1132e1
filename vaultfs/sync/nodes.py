"""Nodes for the pure code that runs in worker threads: merging, editing, comparing (`vaultfs.format.node.Nodes`)."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

import trio

from vaultfs.format.node import NodeDamagedError
from vaultfs.format.pack import node_id as id_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CACHE_BYTES = 4 << 20  # several times what a commit reads again and again: the way down to what changed
_OVERHEAD = 200  # of a node in the dictionary, about


class NodeCache:
    """The nodes used last, up to `limit` bytes. For any number of threads."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._nodes: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = Lock()
        self.bytes = 0

    def get(self, name: bytes) -> bytes | None:
        """A node; None where it is not kept."""
        with self._lock:
            data = self._nodes.get(name)
            if data is not None:
                self._nodes.move_to_end(name)
            return data

    def put(self, name: bytes, data: bytes) -> None:
        """Keep a node for a while."""
        with self._lock:
            if name not in self._nodes:
                self.bytes += len(data) + _OVERHEAD
            self._nodes[name] = data
            self._nodes.move_to_end(name)
            while self.bytes > self._limit and len(self._nodes) > 1:
                _, old = self._nodes.popitem(last=False)
                self.bytes -= len(old) + _OVERHEAD


class ThreadNodes:
    """Nodes for one piece of work in a worker thread.

    Args:
        cache: shared by all such pieces of work.
        fetch: gives a node's authentic bytes, in the trio loop: local pack, else remote (`Fetcher.node`).
        key: `pack.node_key`.
        token: of the loop, for threads that trio did not start.
        breathe: called now and then: the thread gives way to who is in a hurry (`Rush.breather`).

    `new`: the nodes that were put, by id. What `fetch` raises comes out of `get`; so does `trio.Cancelled`.
    """

    def __init__(
        self,
        cache: NodeCache,
        fetch: Callable[[bytes], Awaitable[bytes]],
        key: bytes,
        *,
        token: trio.lowlevel.TrioToken | None = None,
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        self.new: dict[bytes, bytes] = {}
        self._cache = cache
        self._fetch = fetch
        self._key = key
        self._token = token
        self.breathe = breathe

    def get(self, node_id: bytes, /) -> bytes:
        """The bytes of a node. Raises `NodeDamagedError` where `fetch` gave another one."""
        data = self._cache.get(node_id)
        if data is None:
            data = self.new.get(node_id)
        if data is None:
            data = trio.from_thread.run(self._fetch, node_id, trio_token=self._token)
            if id_of(self._key, data) != node_id:
                raise NodeDamagedError("another node than was asked for")
            self._cache.put(node_id, data)
        return data

    def put(self, data: bytes, /) -> bytes:
        """Keep a node; its id."""
        self.breathe()
        name = id_of(self._key, data)
        self.new[name] = data
        return name
