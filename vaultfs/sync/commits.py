"""Commits of this machine: from a cut of the working tree to a head that waits to be published."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from vaultfs import clock
from vaultfs.format.head import Head, OpenPath, seal_head, vector_of
from vaultfs.format.node import Directory, Dot
from vaultfs.format.pack import PackCodec, node_key
from vaultfs.sync.commit import Committing, NotInBaseError
from vaultfs.sync.edits import empty_root
from vaultfs.sync.meeting import Meeting
from vaultfs.sync.merge import State
from vaultfs.sync.nodes import NodeCache, ThreadNodes
from vaultfs.sync.outbox import Outbox
from vaultfs.sync.publish import pack_place
from vaultfs.sync.step import Step
from vaultfs.sync.upper import LEAST_BYTES, UPPER_BYTES, upper
from vaultfs.sync.vectors import joined, stepped
from vaultfs.tree.absent import note_absent
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.nodes import NodesWork
from vaultfs.tree.packs import path_of
from vaultfs.tree.whereabouts import exact_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from vaultfs.crypto.device import DeviceIdentity
    from vaultfs.sync.catalog import Catalog
    from vaultfs.sync.conflicts import Path
    from vaultfs.sync.fetching import Fetcher
    from vaultfs.sync.ports import Ports
    from vaultfs.tree.changes import Slot
    from vaultfs.tree.cut import Cut

_PATHS = 256  # of presence in a head


class Commits:
    """Makes commits and takes over merges. One at a time: `busy` is held by whoever changes the base."""

    def __init__(self, ports: Ports, fetcher: Fetcher, catalog: Catalog) -> None:
        self._ports = ports
        self._tree = ports.tree
        self._fetcher = fetcher
        self._catalog = catalog
        self._cache = NodeCache()
        self._key = node_key(ports.keys)
        self.fetch: Callable[[NotHereError], Awaitable[None]] = fetcher.fetch  # the engine knows how to fetch more
        self._meeting = Meeting(ports.tree, self.nodes)
        self.busy = trio.Lock()
        self.outbox = Outbox(ports)
        self.turning = trio.Lock()  # held while directories that nobody looked into get other contents
        self.step = Step()

    def nodes(self) -> ThreadNodes:
        """The nodes of all commits, for one piece of work in a thread; what it makes is in `new`."""
        breathe = self._tree.state.rush.breather()
        return ThreadNodes(self._cache, self._fetcher.node, self._key, breathe=breathe)

    def base(self) -> State | None:
        """What the working tree holds, but for what lags and what was changed."""
        base = self._tree.ledger.base
        return None if base is None else State(base.root, dict(base.vector))

    async def commit(self, *, everything: bool = False) -> bool:
        """Commit what was changed since the last cut; False: nothing was.

        `everything`: the whole tree, whatever the base has: the first commit of a vault. Raises what the disk and the
        remote raise; then the changes are as before, for the next try.
        """
        async with self.busy:
            # What is written without fsync after this may not be in it: the time must not promise more.
            moment = clock.now()
            await self._ports.mount.handover()
            return await self.commit_now(everything=everything, moment=moment)

    async def commit_now(self, *, everything: bool = False, moment: int = 0) -> bool:
        """`commit` for who holds `busy`; what the kernel has not handed over stays for the next.

        `moment`: what the commit tells as its time (0: that of the cut).
        """
        while True:
            try:
                return await self._commit(everything=everything, moment=moment)
            except NotInBaseError as problem:
                if not note_absent(self._tree.state, problem.lacking):
                    raise

    async def _commit(self, *, everything: bool, moment: int) -> bool:
        tree = self._tree
        cut = await self._here(lambda: tree.cut(everything=everything))
        made_from = self.step.cut()
        try:
            base = self.base()
            lag = {} if everything else {(row.parent, row.name): row.seen for row in tree.ledger.lag()}
            held = {} if everything else self._held()
            if cut.empty and not everything:
                cut.done()
                return False
            await self._seal(cut)
            nodes = self.nodes()
            edit = partial(self._edit, nodes, cut, None if everything else base, lag, held)
            state, seen = await trio.to_thread.run_sync(edit)
            if base is not None and state.root == base.root and not seen:
                cut.done()  # what was written says nothing new
                return False
            if everything and base is not None:
                state = State(state.root, joined(base.vector, state.vector))
            await self._ports.do(partial(cut.add_nodes, nodes.new))
            head = self.head(state, cut.counter, moment or cut.time, cut.packs)
            cut.done()
        except BaseException:
            cut.failed()
            self.step.failed(made_from)
            raise
        # What was changed where something newer waits was made from what may be in no head any more.
        self.step.made(cut.counter, None if seen else made_from)
        self.put(state, cut.counter, head, cut.packs, moment or cut.time)
        for slot, record in seen.items():
            if tree.ledger.lag_of(*slot) is not None:
                tree.ledger.set_lag(*slot, record)
        await self.checkpoint()
        return True

    async def _here(self, take: Callable[[], Cut]) -> Cut:
        """The cut, as soon as all that it needs is on this machine."""
        while True:
            await self._meeting.note(self.fetch)
            try:
                return take()
            except NotHereError as missing:
                await self.fetch(missing)

    async def _seal(self, cut: Cut) -> None:
        while True:
            try:
                await self._ports.do(cut.work)
            except NotHereError as missing:
                await self.fetch(missing)
            else:
                return

    def _edit(
        self,
        nodes: ThreadNodes,
        cut: Cut,
        base: State | None,
        lag: Mapping[Slot, bytes | None],
        held: Mapping[Path, Slot],
    ) -> tuple[State, Mapping[Slot, bytes | None]]:
        """The base with the cut's edits in it; without a base, a tree of these alone. And `Committing.seen`.

        In a thread.
        """
        ports = self._ports
        dot = Dot(ports.identity.id, cut.counter)
        if base is None:
            top = Directory(bytes(16), dot, None, cut.time, 0o700, None, None, cut.time, ())
            base = State(empty_root(nodes, top), {})
        making = Committing(
            nodes, base, dot, cut.time, cut,
            owner=self._tree.owner, classify=ports.classify, lag=lag, held=held, breathe=nodes.breathe,
        )  # fmt: skip
        return making.run(cut.edits), making.seen

    def _held(self) -> dict[Path, Slot]:
        """What lags behind the base, by path: changes there were made from something older."""
        held: dict[Path, Slot] = {}
        for parent, name, _ in self._tree.ledger.lag():
            above = exact_path(self._tree.state, parent)
            if above is not None:
                held[(*above, name)] = parent, name
        return held

    def take(self, state: State, number: int, moment: int, packs: list[int]) -> None:
        """A commit that is not of the working tree (a decision, a new identity) is the base now, and waits."""
        self.put(state, number, self.head(state, number, moment, packs), packs, moment)

    def put(self, state: State, number: int, head: bytes, packs: list[int], moment: int) -> None:
        """The second half of `take`, in which nothing goes wrong that does not stop the tree."""
        ledger = self._tree.ledger
        ledger.set_base(state.root, state.vector)
        if head:
            ledger.queue(number, head, packs, moment)

    def head(
        self, state: State, number: int, moment: int, packs: list[int], identity: DeviceIdentity | None = None
    ) -> bytes:
        """The head of a commit, ready to be stored; nothing where this machine only follows.

        `identity`: whose it is, where this machine is about to be another. Raises `OSError`, `PackDamagedError` when a
        pack cannot be read: so it comes before anything is changed.
        """
        ports = self._ports
        identity = identity or ports.identity
        if ports.follow_only:
            return b""
        for pack in packs:
            self.list_pack(pack)
        head = Head(
            device=identity.id,
            public_key=identity.public_key,
            number=number,
            root=state.root,
            vector=vector_of({**state.vector, identity.id: number}),
            time=moment,
            label=identity.label,
            packs=self._catalog.unindexed,
            indexes=self._catalog.indexes,
            open=self._open(),
            held=self._paths((name, moment) for name in self._held()),
        )
        return seal_head(head, identity, ports.keys)

    def list_pack(self, number: int) -> None:
        """A finished pack of ours is to be named by heads. Raises `OSError`, `PackDamagedError`."""
        tree = self._tree
        pack = tree.ledger.pack_of(number)
        path = path_of(tree.blocks.directory, pack.id)
        self._catalog.add(*pack_place(path, PackCodec(self._ports.keys, pack.id)))

    def _open(self) -> tuple[OpenPath, ...]:
        since: dict[Path, int] = {}
        for handle in self._tree.handles.writers():
            path = exact_path(self._tree.state, handle.ino)
            if path:
                since[path] = min(handle.since, since.get(path, handle.since))
        return self._paths(since.items())

    @staticmethod
    def _paths(since: Iterable[tuple[Path, int]]) -> tuple[OpenPath, ...]:
        joined = sorted((b"/".join(path), moment) for path, moment in since)
        return tuple(OpenPath(path, moment) for path, moment in joined if len(path) <= 4096)[:_PATHS]  # noqa: PLR2004

    async def adopt(self, nodes: ThreadNodes) -> list[int]:
        """Keep the nodes that a merge made; returns the packs they are in."""
        return await self._keep(nodes.new)

    async def _keep(self, nodes: Mapping[bytes, bytes]) -> list[int]:
        if not nodes:
            return []
        work = NodesWork(self._tree.state, self._tree.blocks, self._tree.ledger, nodes)
        await self._ports.do(lambda: work)
        return [work.pack]

    async def checkpoint(self, change: Callable[[], None] = lambda: None) -> None:
        """Everything so far is durable after this, and `change`, which is made in the instant of the commit.

        Raises `OSError`.
        """
        await self.outbox.checkpoint(change)

    async def restate(self, *, upper_bytes: int = 0) -> None:
        """A commit of what was published already, for what its head has to say.

        `upper_bytes`: with so much of the upper part of the tree in a pack of its own (vaultfs.sync.upper).
        """
        async with self.busy:
            base = self.base()
            if base is None:
                return
            packs = []
            if upper_bytes >= LEAST_BYTES:
                found = await trio.to_thread.run_sync(upper, self.nodes(), base.root, min(upper_bytes, UPPER_BYTES))
                packs = await self._keep(found)
            number = self.next_number()
            vector = stepped(base.vector, self._ports.identity.id, number)
            self.step.merged(number)
            self.take(State(base.root, vector), number, clock.now(), packs)
            await self.checkpoint()

    def next_number(self) -> int:
        """The number of a commit that is none of the working tree's: a merge, a decision."""
        state = self._tree.state
        state.counter += 1
        return state.counter - 1

    def take_merge(self, state: State, packs: list[int], *, publish: bool) -> None:
        """A merge is the base now; `publish`: nobody has it yet."""
        ledger = self._tree.ledger
        if not publish or self._ports.follow_only:
            ledger.set_base(state.root, state.vector)
            return
        number = self.next_number()
        self.step.merged(number)
        vector = stepped(state.vector, self._ports.identity.id, number)
        self.take(State(state.root, vector), number, clock.now(), packs)
