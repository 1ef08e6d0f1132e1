"""The upper part of a commit's tree: what whoever joins reads first.

The nodes of a directory that grew over many commits stand in as many packs, and to look into it costs a request or two
for each. So now and then they are stored once more, together, in a pack so small that it comes with one request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.format.node import Branch
from vaultfs.format.node_trie import Trie
from vaultfs.sync.merge import load_commit
from vaultfs.sync.objects import WHOLE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.format.node import Nodes, Ref

UPPER_BYTES = WHOLE_BYTES * 7 // 8  # there is a footer, too
LEAST_BYTES = 16 << 10  # less is not worth a pack
SHARE = 8  # a part of what is new at most, so that it costs little beside it


def upper(nodes: Nodes, root: bytes, limit: int) -> dict[bytes, bytes]:
    """Nodes of the commit `root` from the top, level by level, as many as are within `limit` bytes; their bytes by id.

    Raises what `nodes.get` raises, and `NodeDamagedError`.
    """
    trie, out = Trie(nodes), {root: nodes.get(root)}
    left = limit - len(out[root])
    below = load_commit(nodes, root).below
    level = [] if below is None else [below]
    while level:
        following: list[Ref] = []
        for ref in level:
            if ref.id in out:
                continue
            data = nodes.get(ref.id)
            left -= len(data)
            if left < 0:
                return out
            out[ref.id] = data
            following += _children(trie, ref)
        level = following
    return out


def _children(trie: Trie, ref: Ref) -> Iterator[Ref]:
    node = trie.node(ref)
    if isinstance(node, Branch):
        yield from (child for child in node.children if child is not None)
    else:
        yield from (entry.below for entry in node.entries if entry.below is not None)
