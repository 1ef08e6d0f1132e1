"""What a call of the tree turned out to need: what is in a directory, where a file's blocks are, or their bytes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from vaultfs.format.node import Blocks, Branch, Indirect, Ref
from vaultfs.format.node_blocks import blocks_of
from vaultfs.format.node_trie import Trie
from vaultfs.sync.depth import allow_depth
from vaultfs.sync.walking import chosen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from vaultfs.format.node import Block, Nodes
    from vaultfs.sync.fetching import Fetcher
    from vaultfs.tree import Tree
    from vaultfs.tree.incoming import Incoming, NotHereError

    Bring = Callable[[Collection[bytes]], Awaitable[object]]

_AT_ONCE = 500  # entries, about 15 ms, before others get their turn


class Unfolder:
    """Fetches it. `turning`: held while what is in directories changes together with the base."""

    def __init__(self, tree: Tree, fetcher: Fetcher, nodes: Callable[[], Nodes], turning: trio.Lock) -> None:
        self._tree = tree
        self._turning = turning
        self._fetcher = fetcher
        self._nodes = nodes

    async def fetch(self, missing: NotHereError) -> None:
        """Afterwards the call gets on, or needs something else. Raises RemoteError, `OSError`."""
        if missing.directory:
            await self._expand(missing.directory)
        elif missing.content:
            await self._unfold(missing.content)
        else:
            await self._fetcher.fetch(missing)

    async def _expand(self, ino: int) -> None:
        arrivals = self._tree.arrivals
        ref = arrivals.folded(ino)
        if ref is None:
            # Folded with a base that a power cut took back, while an edit of its attributes was kept: it was empty.
            arrivals.expand(ino, [])
        if isinstance(ref, Ref):
            entries = await trio.to_thread.run_sync(partial(_listed, self._nodes(), ref, self._fetcher.nodes))
            for start in range(0, max(len(entries), 1), _AT_ONCE):
                # Not while a newer base is not durable: the journal would keep what came of it, and the base be lost.
                async with self._turning:
                    # Somebody else may have been quicker, or a newer version may have come.
                    if not arrivals.is_folded(ino) or arrivals.folded(ino) != ref:
                        break
                    arrivals.expand(ino, entries[start : start + _AT_ONCE], last=start + _AT_ONCE >= len(entries))

    async def _unfold(self, ino: int) -> None:
        arrivals = self._tree.arrivals
        content = arrivals.folded(ino)
        if isinstance(content, Blocks | Indirect):
            blocks = await trio.to_thread.run_sync(partial(_blocks, self._nodes(), content))
            if arrivals.folded(ino) == content:
                arrivals.unfold(ino, blocks)


def _listed(nodes: Nodes, ref: Ref, bring: Bring) -> list[Incoming]:
    allow_depth()
    trie = Trie(nodes)
    _bring_all(trie, ref, bring)
    return [item for item, _ in chosen(trie.entries(ref), ())]


def _bring_all(trie: Trie, ref: Ref, bring: Bring) -> None:
    """The parts of a directory, all of one level at once: they stand together, and come in few requests."""
    level = [ref]
    while level:
        branches = [node for part in level if isinstance(node := trie.node(part), Branch)]
        level = [child for node in branches for child in node.children if child is not None]
        if len(level) > 1:
            trio.from_thread.run(bring, [child.id for child in level])


def _blocks(nodes: Nodes, content: Blocks | Indirect) -> list[Block]:
    return list(blocks_of(nodes, content))
