"""The engine of a mounted vault: commits, publishes, follows and checks out, each when it is time.

Three loops that know of each other only by the base, the outbox and the table of what lags, all of them in the tree's
database: what one leaves undone, because the machine stopped or the remote is away, is there for the next time.
"""

from __future__ import annotations

import logging
import math
import os
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from vaultfs import clock
from vaultfs.errors import SyncTimeoutError, VaultfsError
from vaultfs.format.head import head_name, open_head
from vaultfs.sync.ahead import Ahead
from vaultfs.sync.catalog import Catalog
from vaultfs.sync.checkout import Checkout
from vaultfs.sync.commits import Commits
from vaultfs.sync.decisions import Decisions
from vaultfs.sync.fetching import Fetcher
from vaultfs.sync.follow import Follower
from vaultfs.sync.heads import Heads, Own
from vaultfs.sync.pacing import Pacing
from vaultfs.sync.publish import Publisher
from vaultfs.sync.rebirth import be_another, stored_identity
from vaultfs.sync.renewing import Renewing
from vaultfs.sync.reporting import Report
from vaultfs.sync.resealing import Resealing
from vaultfs.sync.told_open import ToldOpen
from vaultfs.sync.unfolding import Unfolder
from vaultfs.sync.upper import SHARE
from vaultfs.sync.wary import Wary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from vaultfs.format.head import Head
    from vaultfs.sync.facts import SyncFacts
    from vaultfs.sync.ports import Ports
    from vaultfs.tree.incoming import NotHereError

_log = logging.getLogger(__name__)

_LOOK = 0.1  # seconds between two looks at whether there is something to commit, at most
_RETRY = 5.0
_FEW_PACKS = 4
_SLOWER = 1.02  # each look that finds nothing makes the next pause longer: a second becomes three in two minutes
_OFFLINE = 60.0  # between commits while the one before cannot be published


class Engine:
    """One mounted vault and its remote. `run` works until it is cancelled."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._tree = ports.tree
        other = stored_identity(ports.tree.ledger, ports.keys)
        if other is not None:
            ports.identity = other
            ports.tree.be(other.id, other.label)
        ledger, remote, keys = ports.tree.ledger, ports.remote, ports.keys
        wary, cache = Wary(remote, self._damaged), ports.tree.cache
        cache.limit = ports.cache_limit
        self.catalog = Catalog(wary, keys, ledger, cache)
        self.fetcher = Fetcher(wary, self.catalog, ledger, cache, keys)
        self.heads = Heads(remote, keys, ledger, self._own())
        self.renewing = Renewing(ports, self.heads)
        self.commits = Commits(ports, self.fetcher, self.catalog)
        self._checkout = Checkout(ports, self.commits.nodes, self.commits.busy)
        self._unfolder = Unfolder(ports.tree, self.fetcher, self.commits.nodes, self.commits.turning)
        self.commits.fetch = self._unfolder.fetch
        self.ahead = Ahead(self.fetcher, min(ports.fetch_ahead, ports.cache_limit // 8))
        self.follower = Follower(ports, self.heads, self.catalog, self.commits, self._checkout, self.ahead.want)
        self.decisions = Decisions(ports, self.commits, self.follower, self.fetcher)
        self.publisher = Publisher(ports, self.heads, self.commits.outbox, self.commits.step.late)
        self.publisher.resealing = Resealing(ports, self.commits, self.catalog)
        self.report = Report(ports, self.heads, self.publisher, self._checkout)
        self.begun = trio.Event()  # the tree has what others had published, or was published itself
        self._looked = False
        self._turn = trio.Lock()  # one at a time looks at the remote and draws conclusions
        self._queued = trio.Event()
        self._settled = trio.Condition()
        self._indexing = trio.Lock()
        self._told_open = ToldOpen(ports, self.heads)

    @property
    def ports(self) -> Ports:
        """What it works with."""
        return self._ports

    def _damaged(self, name: str, detail: str) -> None:
        self.report.damaged(name, detail)

    def _own(self) -> Own:
        ledger, device = self._tree.ledger, self._ports.identity.id

        def published() -> int:
            seen = ledger.seen().get(device)
            return 0 if seen is None else seen.number

        def queued(number: int) -> bytes | None:
            return next((commit.head for commit in ledger.outbox() if commit.number == number), None)

        return Own(device, published, queued, self._ports.identity.public_key)

    async def run(self) -> None:
        """Until cancelled. Errors of the remote and of the disk are told in the facts, and tried again."""
        await self.begin()
        self.begun.set()
        await self._guarded(self._count)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._committing)
            nursery.start_soon(self._publishing)
            nursery.start_soon(self._following)
            nursery.start_soon(self.ahead.run)

    async def fetch(self, missing: NotHereError) -> None:
        """Bring here what a call of the tree needs. Raises RemoteError, `OSError`."""
        await self._unfolder.fetch(missing)

    async def sync(self, *, wait: bool) -> None:
        """Commit now, and publish; with `wait` return when it is done. Raises RemoteError."""
        with self._urgent():
            await self.renewing.look(now=True)
            await self.commits.commit()
            await self.follow()
            await self.check_out()
            await self._guarded(self._count)
            self._wake()
            if wait:
                await self._published()

    async def handoff(self, timeout: float) -> None:  # noqa: ASYNC109 - a person gives it
        """Return when everything written here is on the remote. Raises SyncTimeoutError, RemoteError."""
        with self._urgent():
            await self._hand_off(timeout)

    async def _hand_off(self, timeout: float) -> None:  # noqa: ASYNC109 - as above
        with trio.move_on_after(timeout) as patience:
            while True:
                await self.commits.commit()
                await self._published()
                if self._tree.changes.empty:
                    break
        if patience.cancelled_caught:
            raise SyncTimeoutError(seconds=f"{timeout:g}")
        # Somebody is about to look at it elsewhere, perhaps for the first time: with few requests, and not warned of
        # files that are closed by now.
        with trio.move_on_after(max(patience.deadline - trio.current_time(), _RETRY)):
            await self._guarded(partial(self._tell_open, now=True))
            if await self._guarded(partial(self._index, _FEW_PACKS)):
                await self._published()

    @contextmanager
    def _urgent(self) -> Iterator[None]:
        """Somebody waits for all of it: nothing gives way to programs that work in the mount."""
        with self._tree.state.rush.urgent(), self._ports.remote.urgent():
            yield

    async def accept(self, device: bytes) -> None:
        """After an alarm: a person takes what is there now of that device."""
        self.heads.accept(device)
        await self.commits.checkpoint()

    async def limit_bandwidth(self, rate: int | None) -> None:
        """At most so many bytes a second each way from now on; None: no limit."""
        await self._ports.remote.limit_bandwidth(rate)

    def facts(self) -> SyncFacts:
        """How things stand."""
        return self.report.facts()

    # -- the loops

    def recall(self) -> None:
        """What is known of the remote from the last time. Raises `OSError` when a pack that waits cannot be read."""
        for head in self.heads.seen:
            self.catalog.learn(head)
        for commit in self._tree.ledger.outbox():
            # What it names and did not make: an index, packs that were written anew.
            name = head_name(self._ports.identity.id, commit.number)
            self.catalog.learn(open_head(commit.head, name, self._ports.keys))
            for pack in commit.packs:
                with suppress(FileNotFoundError):  # perhaps it is on the remote; if not, publishing tells it
                    self.commits.list_pack(pack)

    async def begin(self) -> None:
        """The first commit of a vault, and what an interrupted checkout left."""
        tree = self._tree
        self.recall()
        if tree.ledger.base is None:
            await self._again(self._first)
        if not tree.changes.enabled:
            tree.start_tracking()
        await self._again(self.check_out)

    async def stay(self, head: Head) -> None:
        """Instead of `run`, for a tree with nothing in it yet: show this commit, and no other. Raises RemoteError."""
        self._tree.start_tracking()
        await self.follower.merge_in([head])
        await self._guarded(self._count)
        self.begun.set()

    async def _first(self) -> None:
        """A vault that others have published is taken over, and what is here added to it."""
        tree = self._tree
        await self.heads.poll()
        waiting = self.follower.waiting()
        if waiting and not tree.state.files and tree.state.directories <= 1:
            tree.start_tracking()
            await self.follower.merge_in(waiting)
        elif not self._ports.follow_only:
            await self.commits.commit(everything=True)
            tree.start_tracking()
            self._wake()

    async def _again(self, attempt: Callable[[], Awaitable[object]]) -> None:
        """Until it works."""
        while not await self._guarded(attempt):  # noqa: ASYNC110 - there is nobody who could tell
            await trio.sleep(_RETRY)

    async def _committing(self) -> None:
        pace, tree = self._ports.pace, self._tree
        when, handed = Pacing(pace), 0.0
        while True:
            await trio.sleep(min(_LOOK, pace.after / 2))
            await self._guarded(self.check_out)
            if self.decisions.known and not self.decisions.fresh:
                await self._guarded(self._count)
            now = trio.current_time()
            if self._ports.follow_only:
                continue
            if now - handed >= pace.after and tree.handles.writers():
                # What is written to an open file stays in the kernel for half a minute, else.
                await self._guarded(self._ports.mount.handover)
                handed = now
            if tree.changes.empty:
                when.nothing(tree.state.journal.lsn)
            elif when.due(now, tree.state.journal.lsn) and self._may_commit(when.waited(now)):
                await self._guarded(self.commits.commit)
                when.nothing(tree.state.journal.lsn)
                self._wake()

    def _may_commit(self, waited: float) -> bool:
        """While nothing can be published, commits would only pile up."""
        return self._ports.remote.trouble is None or len(self._tree.ledger.outbox()) < 2 or waited > _OFFLINE  # noqa: PLR2004

    async def check_out(self) -> None:
        """Bring in what lags, as far as it is not in use."""
        if self._tree.ledger.any_lag:
            await self._checkout.run()

    async def _publishing(self) -> None:
        while True:
            worked = await self._guarded(self.publish)
            async with self._settled:
                self._settled.notify_all()
            if worked and self._tree.ledger.outbox():
                continue
            with trio.move_on_after(math.inf if worked else _RETRY):
                await self._queued.wait()  # there is more; or somebody asks: perhaps the remote is back
            self._queued = trio.Event()

    async def publish(self) -> None:
        """Store what waits. Raises RemoteError, `OSError`."""
        if not self._looked and self._tree.ledger.outbox():
            await self.follow()  # a number of ours may have been used: before this machine was set back, or by a clone
        if self._tree.ledger.outbox():
            await self.renewing.before_publishing()
            if self._ports.identity.id in self.heads.unreadable:
                # A twin of this machine may have made it, and used the numbers that are next here.
                raise self.heads.unreadable[self._ports.identity.id]
        done = await self.publisher.publish()
        if done is not None:
            self.report.published(done.number, done.time)
            await self._tidy()

    async def _tidy(self) -> None:
        """What is not urgent: index objects, old heads, the cache."""
        await self._index(None)
        await self.publisher.thin(self._ports.retention_days)
        cache, limit = self._tree.cache, self._ports.cache_limit
        cache.evict(limit)
        if cache.bytes > limit:  # what was published just now goes only when that is known on disk
            await self.commits.checkpoint()
            cache.evict(limit)

    async def _index(self, packs: int | None) -> None:
        """Make an index if more than so many packs (None: many) are in none; a head names it at once."""
        async with self._indexing:
            due = self.catalog.due(packs) and not self._tree.ledger.outbox() and not self._ports.follow_only
            new = sum(pack.size for pack in self.catalog.unindexed)
            if due and await self.catalog.make_index() is not None:
                await self.commits.restate(upper_bytes=new // SHARE)
                self._wake()

    async def _tell_open(self, *, now: bool = False) -> None:
        """Make a head when the last one says of something that it is open, and it is not any more."""
        if self._told_open.due(now=now):
            await self.commits.restate()
            self._wake()

    async def _following(self) -> None:
        pace = self._ports.pace
        pause = pace.poll
        while True:
            root = self._root()
            if await self._guarded(self.follow):
                self.report.worked(clock.now())
                pause = pace.poll if self._root() != root else min(pause * _SLOWER, pace.idle_poll)
            else:
                pause = _RETRY
            if self._root() != root:
                self._wake()
                await self._guarded(self.check_out)
                await self._guarded(self._settle)
            await self._guarded(self._tell_open)
            await trio.sleep(pause)

    def _root(self) -> bytes:
        base = self._tree.ledger.base
        return b"" if base is None else base.root

    async def _settle(self) -> None:
        """Conflicts that need no person end; the others are counted."""
        if not self._ports.follow_only and await self.decisions.settle():
            self._wake()
        await self._count()

    async def _count(self) -> None:
        self.report.conflicts = len(await self.decisions.list())

    async def follow(self) -> bool:
        """Look what is new on the remote, and merge it; True: something was. Raises RemoteError."""
        async with self._turn:
            return await self._follow()

    async def _follow(self) -> bool:
        begun = clock.since_boot()
        await self.heads.poll()
        self._looked = True
        if await self.renewing.look():
            await self.heads.poll()  # what could not be read
        self.report.keys(self.renewing.trouble)
        if self.heads.unknown_own and not self._ports.follow_only:
            await be_another(self._ports, self.commits, self._own().published())
            self.heads.be(self._own())
        if self.heads.landed:
            self.publisher.landed(self.heads.landed)
        came = await self.follower.merge_in(self.follower.waiting())
        if not self.follower.waiting():
            changes = self._tree.changes
            self.commits.step.looked(begun, clean=changes.empty and not changes.cutting)
        if self.follower.strays and not self._ports.follow_only:
            strays, self.follower.strays = self.follower.strays, []
            await self.decisions.put_aside(strays)
        if self.follower.superseded and not self._ports.follow_only:
            gone, self.follower.superseded = self.follower.superseded, []
            await self.decisions.give_up(gone)
        return came

    async def _published(self) -> None:
        """Return when nothing waits. Raises RemoteError for what waiting does not mend, if it is so still."""
        before = self._ports.remote.trouble
        while self._tree.ledger.outbox():
            self._wake()
            async with self._settled:
                with trio.move_on_after(_LOOK):
                    await self._settled.wait()
            trouble = self._ports.remote.trouble
            if trouble is not None and trouble is not before and self.report.lasting(trouble):
                raise trouble

    def _wake(self) -> None:
        self._queued.set()

    async def _guarded(self, attempt: Callable[[], Awaitable[object]]) -> bool:
        """Whether it worked. What fails is told and tried again with the next turn; the mount goes on without it."""
        what = getattr(attempt, "__name__", "sync")
        try:
            await attempt()
        except (VaultfsError, OSError) as error:
            self.report.failed(what, error)
            number = error.errno if isinstance(error, OSError) else None
            _log.warning("sync: %s", os.strerror(number) if number else type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever it is, the person's files stay mounted
            self.report.failed(what, error)
            _log.exception("sync met something unexpected")
        else:
            self.report.mended(what)
            return True
        await trio.sleep(_LOOK)
        return False
