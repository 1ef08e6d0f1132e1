"""The remote of a mounted vault: opened beside the mount, followed while it is there, published to when it goes."""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING

import msgspec
import trio

from vaultfs.crypto.epochs import members
from vaultfs.daemon.exhibits import exhibit
from vaultfs.daemon.giving_way import give_way
from vaultfs.daemon.sync_status import sync_fact
from vaultfs.daemon.vault import header_update, offer_header, write_header
from vaultfs.daemon.vault import read_header as local_header
from vaultfs.errors import BusyError, RemoteDamagedError, RemoteError, VaultfsError
from vaultfs.format.head import MAX_BYTES, HeadRefusedError, head_name
from vaultfs.sync.counted import open_counted
from vaultfs.sync.facts import Kind, SyncFacts, Transfers, Trouble
from vaultfs.sync.ports import Ports
from vaultfs.sync.units import Known

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from vaultfs.crypto.records import Header
    from vaultfs.daemon.job import Job, Opened
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.format.head import Head
    from vaultfs.fuse.operations import Operations
    from vaultfs.remote import Remote
    from vaultfs.sync.engine import Engine
    from vaultfs.tree import Tree
    from vaultfs.tree.arrivals import Batch
    from vaultfs.tree.incoming import NotHereError

FIRST_LOOK = 30.0  # seconds that a mount which joins a vault waits for what is in it
PATIENCE = 5.0  # seconds that an unmount waits for a remote that does not answer
HEADER_SECONDS = 5.0  # that a command may take which is changing the header
_LOOK = 0.1

log = logging.getLogger(__name__)


class Mounted:
    """What only a mount can do, for the engine; nothing once it is gone."""

    def __init__(self) -> None:
        self._handover: Callable[[], Awaitable[None]] | None = None
        self._present: Callable[[Sequence[Batch]], Awaitable[list[bool]]] | None = None

    def attach(self, operations: Operations, mountpoint: str) -> None:
        """The mount answers."""
        from vaultfs.fuse.handover import handover  # noqa: PLC0415 - pyfuse3 is for the daemon only
        from vaultfs.fuse.presenting import Presenter  # noqa: PLC0415

        async def hand_over() -> None:
            await handover(operations, mountpoint)

        self._handover, self._present = hand_over, Presenter(operations, mountpoint).present_all

    def detach(self) -> None:
        """It is gone: the kernel has handed over all that it had."""
        self._handover = self._present = None

    async def handover(self) -> None:
        """Have the kernel hand over what was written to files that are open."""
        if self._handover is not None:
            await self._handover()

    async def present_all(self, batches: Sequence[Batch]) -> list[bool]:
        """Put prepared batches in place; False for those that cannot be now."""
        return [False] * len(batches) if self._present is None else await self._present(batches)


class Following:
    """The engine of one mount, from `beside` until `finish`. Without a remote there is none, and nothing happens."""

    def __init__(self, opened: Opened, tree: Tree) -> None:
        self._opened = opened
        self._tree = tree
        self._mount = Mounted()
        self._housekeeping: Callable[..., Awaitable[bool]] | None = None
        self._mounted = trio.Event()
        self._settled = trio.Event()  # there is an engine, or it is known that there will be none
        self._scope = trio.CancelScope()
        self._ended = trio.Event()  # nothing of it works with the tree any more
        self.failure: VaultfsError | None = None
        self.engine: Engine | None = None
        self._asked = trio.Event()
        self._transfers = Transfers()
        self.left = ""  # at the end: what could not be published, in words

    async def run(self) -> None:
        """Until `finish`, or cancelled. A remote that cannot even be opened is told in `facts`; the mount goes on."""
        try:
            await self._run(self._opened.job)
        finally:
            self._ended.set()

    async def _run(self, job: Job) -> None:
        if not job.remote:
            return
        with self._scope:
            try:
                await self._follow(job)
            except VaultfsError as error:
                self.failure = error
                log.error("the remote cannot be used: %s", type(error).__name__)  # noqa: TRY400 - names stay out
            except Exception:
                # A fault in here must not take the mount from those who work in it.
                self.failure = VaultfsError(detail="publishing has stopped by a fault; mount the vault again")
                self.engine = None
                log.exception("publishing has stopped")
            finally:
                self._settled.set()

    async def _follow(self, job: Job) -> None:
        from vaultfs.remote import open_remote  # noqa: PLC0415 - only with a remote
        from vaultfs.sync.engine import Engine  # noqa: PLC0415

        bandwidth = job.bandwidth or None
        async with open_remote(job.remote, job.vault.runtime, bandwidth=bandwidth) as remote:
            await self._mounted.wait()
            assert self._housekeeping is not None  # noqa: S101 - set before the event
            ports = Ports(
                tree=self._tree,
                remote=remote,
                keys=self._opened.keys,
                identity=self._opened.identity,
                mount=self._mount,
                do=self._housekeeping,
                classify=Known(),
                pace=job.pace,
                follow_only=job.options.read_only,
                cache_limit=job.cache_bytes,
                fetch_ahead=job.fetch_ahead,
                retention_days=job.retention_days,
                header=local_header(job.vault),
                keep_header=self._keep_header,
                offer_header=self._offer_header,
            )
            engine = self.engine = Engine(ports)
            if job.pinned is not None:
                await engine.stay(await self._head(remote, *job.pinned))
                self._settled.set()
                await trio.sleep_forever()
            self._settled.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, remote)
                if remote.brake is not None:
                    nursery.start_soon(give_way, self._tree.state.rush, remote.brake)
                await engine.run()

    async def _watch(self, remote: Remote) -> None:
        """How far transfers are, as long as somebody asks for the status now and then."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            try:
                found = await remote.progress()
            except VaultfsError:
                continue  # what is the matter with the remote is told otherwise
            self._transfers = Transfers(found.done, found.total, found.rate)
            await trio.sleep(_LOOK)

    async def _head(self, remote: Remote, device: bytes, number: int) -> Head:
        """The head of the commit that is to be shown. Raises RemoteError."""
        name = head_name(device, number)
        try:
            known = members(local_header(self._opened.job.vault))
            return open_counted(await remote.get(name, 0, MAX_BYTES + 1), name, self._opened.keys, known)
        except HeadRefusedError as error:
            raise RemoteDamagedError(remote=remote.label, object=name, detail=str(error)) from None

    async def _keep_header(self, header: Header) -> None:
        """Keys that were added or removed elsewhere count here, too. BusyError while a command changes them here."""
        with trio.move_on_after(HEADER_SECONDS):
            # That command may wait for a signature: not in the loop.
            await trio.to_thread.run_sync(_take_header, self._opened.job.vault, header, abandon_on_cancel=True)
            return
        raise BusyError(path=self._opened.job.vault.header, detail="another command changes the vault's keys")

    async def _offer_header(self, header: Header) -> None:
        """The next command that has the wallet opens it."""
        await trio.to_thread.run_sync(offer_header, self._opened.job.vault, header)

    async def beside(self, operations: Operations, mountpoint: str) -> None:
        """The mount answers. Returns when what is in a vault that was only just joined can be seen in it."""
        if not self._opened.job.remote:
            return
        self._mount.attach(operations, mountpoint)
        exhibit(operations, self._tree, lambda: self.engine)
        self._housekeeping = operations.housekeeping.do
        self._mounted.set()
        await self._settled.wait()
        if self._opened.job.pinned is not None and self.failure is not None:
            raise self.failure  # nothing of it could be seen
        if self.engine is not None and self._tree.ledger.base is None:
            with trio.move_on_after(FIRST_LOOK):
                while not self.engine.begun.is_set() and not self._in_trouble():
                    with trio.move_on_after(_LOOK):
                        await self.engine.begun.wait()

    async def fetch(self, missing: NotHereError) -> None:
        """Bring here what a request needs. Raises OSError EIO where that cannot be done."""
        with trio.move_on_after(_LOOK * 10):
            await self._settled.wait()
        if self.engine is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        try:
            await self.engine.fetch(missing)
        except RemoteError as error:
            log.warning("what a read needs could not be fetched: %s", type(error).__name__)
            raise OSError(errno.EIO, os.strerror(errno.EIO)) from error

    async def finish(self) -> None:
        """The mount is gone: publish what is left, as long as the remote takes it."""
        self._mount.detach()
        engine = self.engine
        if engine is not None and not self._opened.job.options.read_only:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._give_up, nursery.cancel_scope)
                    await engine.handoff(self._opened.job.sync_timeout)
                    nursery.cancel_scope.cancel()
            except* (VaultfsError, OSError):
                pass
        self.left = self._left()
        if self.left:
            log.warning("unmounted, and not everything is published")
        self._scope.cancel()
        # The tree is closed next: what goes on to its next checkpoint must not find it closed.
        with trio.move_on_after(PATIENCE):
            await self._ended.wait()

    def _left(self) -> str:
        if self._opened.job.options.read_only:
            return ""
        found = self.facts()
        if found is None or (self.engine is not None and sync_fact(found).all_published):
            return ""
        waits = found.trouble.text if found.trouble is not None else "there was not enough time"
        return f"what was written here is not all on {found.remote} ({waits.rstrip('.')})"

    async def _give_up(self, scope: trio.CancelScope) -> None:
        """A remote that is not there must not keep somebody from shutting down."""
        since = trio.current_time()
        while trio.current_time() - since < PATIENCE:
            await trio.sleep(_LOOK)
            if not self._in_trouble():
                since = trio.current_time()
        scope.cancel()

    def _in_trouble(self) -> bool:
        return self.failure is not None or (self.engine is not None and self.engine.facts().trouble is not None)

    async def ready(self) -> Engine | None:
        """The engine, once it is known whether there will be one."""
        if self._opened.job.remote:
            await self._settled.wait()
        return self.engine

    def facts(self) -> SyncFacts | None:
        """For `status`; None without a remote."""
        job = self._opened.job
        if not job.remote:
            return None
        if self.engine is not None:
            self._asked.set()
            return msgspec.structs.replace(self.engine.facts(), transfers=self._transfers)
        trouble = None if self.failure is None else Trouble(Kind.REFUSED, self.failure.message)
        return SyncFacts(remote=job.remote, reachable=None if trouble is None else False, trouble=trouble)


def _take_header(vault: VaultPlaces, header: Header) -> None:
    with header_update(vault):
        here = local_header(vault)
        if (header.epoch, header.number) > (here.epoch, here.number):
            write_header(vault, header)
