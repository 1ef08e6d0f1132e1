"""Following: what other machines published is merged with what is here, and comes into the working tree."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import trio

from vaultfs.sync.merge import State, merge
from vaultfs.sync.plan import plan
from vaultfs.sync.superseded import superseded
from vaultfs.tree.inode import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultfs.format.head import Head, PackPlace
    from vaultfs.format.node import Nodes
    from vaultfs.sync.catalog import Catalog
    from vaultfs.sync.checkout import Checkout
    from vaultfs.sync.commits import Commits
    from vaultfs.sync.conflicts import Path
    from vaultfs.sync.elements import Identity
    from vaultfs.sync.heads import Heads
    from vaultfs.sync.nodes import ThreadNodes
    from vaultfs.sync.plan import Here, Plan
    from vaultfs.sync.ports import Ports

_log = logging.getLogger(__name__)

_TRIES = 8


class Follower:
    """Merges heads as they come."""

    def __init__(
        self,
        ports: Ports,
        heads: Heads,
        catalog: Catalog,
        commits: Commits,
        checkout: Checkout,
        came: Callable[[Sequence[PackPlace]], None] = lambda _: None,
    ) -> None:
        self._ports = ports
        self._tree = ports.tree
        self._heads = heads
        self._catalog = catalog
        self._commits = commits
        self._checkout = checkout
        self._came = came  # told of packs that are new to a vault which was here already
        self.strays: list[Path] = []  # see Plan
        self.superseded: list[tuple[Path, Identity]] = []  # conflicts to be given up

    def waiting(self) -> list[Head]:
        """Heads that the base does not include."""
        base = self._tree.ledger.base
        vector = {} if base is None else base.vector
        return [head for head in self._heads.seen if vector.get(head.device, 0) < head.number]

    async def merge_in(self, heads: Sequence[Head]) -> bool:
        """Merge these heads into the base and bring the result into the working tree; True: the tree changed."""
        if not heads:
            return False
        joined = self._tree.ledger.base is not None
        for head in heads:
            new = self._catalog.learn(head)
            if joined:
                self._came(new)
            self._tree.ledger.device_row(head.device, head.label)  # `who` says it
        await self._catalog.settle()
        async with self._commits.busy:
            for _ in range(_TRIES):
                if self._moved():
                    # A plan speaks of directories by the names they had at the last cut. And what has another name
                    # here may be gone from the next base, so that no commit could move it there.
                    await self._commits.commit_now()
                if await self._merge(heads):
                    break
            else:
                _log.warning("the working tree changed during %d attempts to merge: later", _TRIES)
                return False
        return True

    async def _merge(self, heads: Sequence[Head]) -> bool:
        """One attempt; False: the working tree changed in a way that needs another look."""
        base, nodes = self._commits.base(), self._commits.nodes()
        states = [State(head.root, dict(head.vector)) for head in heads]
        merged = await trio.to_thread.run_sync(partial(_merged, nodes, base, states))
        gone = [] if base is None else await trio.to_thread.run_sync(superseded, nodes, base, merged)

        def take(packs: list[int]) -> None:
            known = {head.root for head in self._heads.seen}
            self._commits.take_merge(merged, packs, publish=merged.root not in known)
            self.superseded += gone

        return await self._bring(nodes, base, merged, take)

    async def take(self, nodes: ThreadNodes, base: State, state: State, number: int, moment: int) -> bool:
        """Our own edit of the base, commit `number`: as a merge. For who holds `busy`, with nothing left to commit."""

        def take(packs: list[int]) -> None:
            self._commits.step.merged(number)
            self._commits.take(state, number, moment, packs)

        return await self._bring(nodes, base, state, take)

    async def _bring(
        self, nodes: ThreadNodes, base: State | None, state: State, take: Callable[[list[int]], None]
    ) -> bool:
        """Let a state be the base, by `take`, with the packs that its nodes are in, and note what the tree lacks of it.

        All of that is one instant, which a crash or a full disk takes back as a whole. False: look again.
        """
        old = None if base is None else base.root
        made = await trio.to_thread.run_sync(partial(plan, nodes, old, state.root, self._find))
        packs = await self._commits.adopt(nodes)
        taken = False

        def turn() -> None:
            nonlocal taken
            if self._fits(made):
                self._turn(made, partial(take, packs))
                taken = True

        if self._fits(made):
            async with self._commits.turning:
                await self._commits.checkpoint(turn)
        return taken

    def _turn(self, made: Plan, take: Callable[[], None]) -> None:
        tree = self._tree
        ledger = tree.ledger

        def note() -> None:
            for lag in made.lags:
                # What the working tree has was made from what it was made from, however far the base goes on.
                if ledger.lag_of(lag.parent, lag.name) is None:
                    ledger.set_lag(*lag)
            take()

        attributes = [
            (ino, element)
            for ino, element in made.attributes
            if tree.state.find(ino) is not None and (ino == ROOT or not tree.changes.dirty(ino))
        ]
        tree.arrivals.turner.turn(made.refolds, attributes, note)
        self.strays += made.strays

    def _moved(self) -> bool:
        """Whether something was renamed here since the last cut, or a directory removed.

        A file that another took the place of, as when it is saved, does not count: that goes on all the time.
        """
        state, record = self._tree.state, self._tree.changes.current
        for slot, old in record.names.items():
            if old in record.folders:
                return True
            node = state.find(old) if old else None
            if node is not None and node.nlink:
                entry = state.entry(*slot)
                if entry is None or entry.ino != old:
                    return True
        return False

    def _find(self, parent: int, name: bytes) -> Here | None:
        """The working tree's answer, asked from a worker thread."""
        return trio.from_thread.run_sync(self._checkout.find, parent, name)

    def _fits(self, made: Plan) -> bool:
        """Whether the working tree still is as the plan has it."""
        tree = self._tree
        if self._moved() or any(tree.state.find(lag.parent) is None for lag in made.lags):
            return False
        return tree.arrivals.turner.fits(made.refolds)


def _merged(nodes: Nodes, base: State | None, states: Sequence[State]) -> State:
    first, *rest = states if base is None else (base, *states)
    for state in rest:
        first = merge(nodes, first, state)
    return first
