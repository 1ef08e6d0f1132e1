"""Packs of tree nodes on this machine that were never published: merges whose result somebody else had published.

They are needed as long as the base is that result, else nothing could be committed without a network. Only a look at
what all commits need can tell when that is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from vaultfs.sync.commits import Commits
    from vaultfs.tree import Tree


async def let_go(tree: Tree, commits: Commits, needed: Collection[bytes]) -> int:
    """Forget unpublished nodes where none of a pack is needed; how many packs. Housekeeping removes the files.

    `needed`: all nodes of the commits on the remote and of the base. If the base has gone on, nothing is done.
    """
    ledger = tree.ledger
    async with commits.busy:  # nobody makes nodes meanwhile
        base = ledger.base
        if base is None or base.root not in needed:
            return 0
        kept = ledger.waiting_packs() | tree.blocks.pinned
        packs = [
            number
            for number in ledger.unpublished_node_packs()
            if number not in kept and not any(name in needed for name in ledger.nodes_in(number))
        ]
        for number in packs:
            ledger.drop_nodes(number)
    if packs:
        tree.keeper.collect_soon()
    return len(packs)
