"""`gc` and `repair`: by the daemon of a mounted vault, else here, under the lock, by an engine for nothing else."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import trio

from vaultfs.daemon.asking import Told, error_of, is_mounted
from vaultfs.daemon.client import NoAnswerError, call
from vaultfs.daemon.lock import Holder, VaultLock
from vaultfs.daemon.paths import private_directory
from vaultfs.daemon.vault import read_device, read_header
from vaultfs.errors import DaemonGoneError, UsageError
from vaultfs.sync.garbage import DAY, Collected, Garbage
from vaultfs.sync.repair import Repair, Repaired

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.remote import Remote
    from vaultfs.sync.engine import Engine

Result = TypeVar("Result")

LONGEST = 7 * 24 * 3600.0  # seconds
TICK = 0.2


class GcRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Make room; `grace` in days."""

    dry_run: bool = False
    grace: float = 30.0


class RepairRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Repair; `read_data`: look at every byte."""

    dry_run: bool = False
    read_data: bool = False


class Step(msgspec.Struct, frozen=True):
    """How far it is: what it does, and `done` of `total` (None: not known)."""

    text: str = ""
    done: int = 0
    total: int | None = None


class Upkeep:
    """Does it, one at a time."""

    def __init__(self, told: Callable[[Step], None] = lambda _: None) -> None:
        self.step = Step()
        self._tell = told
        self._one = trio.Lock()

    def _told(self, text: str, done: int, total: int | None) -> None:
        self.step = Step(text, done, total)
        self._tell(self.step)

    async def gc(self, engine: Engine, wish: GcRequest) -> Collected:
        """Make room on the remote. Raises as `Garbage.collect`."""
        async with self._one:
            return await Garbage(engine, self._told).collect(int(wish.grace * DAY), dry_run=wish.dry_run)

    async def repair(self, engine: Engine, wish: RepairRequest) -> Repaired:
        """Store again what is lost. Raises as `Repair.run`."""
        async with self._one:
            return await Repair(engine, self._told).run(dry_run=wish.dry_run, read_data=wish.read_data)


class Asking:
    """For a command: has it done by the daemon of a mounted vault, else does it here.

    `unlock` is called only where it is not mounted. `run` is `trio.run`, with one error instead of a group of them.
    """

    def __init__(
        self,
        place: VaultPlaces,
        remote: str,
        unlock: Callable[[], VaultKeys],
        run: Callable[[Callable[[], Awaitable[Any]]], Any],
        told: Callable[[Step], None],
    ) -> None:
        self._place = place
        self._remote = remote
        self._unlock = unlock
        self._run = run
        self._told = told

    def gc(self, wish: GcRequest) -> Collected:
        """Make room on the remote. Raises as `Garbage.collect`."""
        if is_mounted(self._place):
            return _ask(self._place, "/gc", wish, Collected, self._told)
        return self._alone("gc", lambda engine: Upkeep(self._told).gc(engine, wish))

    def repair(self, wish: RepairRequest) -> Repaired:
        """Store again what is lost. Raises as `Repair.run`."""
        if is_mounted(self._place):
            return _ask(self._place, "/repair", wish, Repaired, self._told)
        return self._alone("repair", lambda engine: Upkeep(self._told).repair(engine, wish))

    def _alone(self, purpose: str, work: Callable[[Engine], Awaitable[Result]]) -> Result:
        from vaultfs.remote import Limits, open_remote  # noqa: PLC0415 - rarely
        from vaultfs.tree import Device, open_store  # noqa: PLC0415 - the store loads SQLite

        place = self._place
        lock = VaultLock.take(place, Holder(purpose, os.getpid(), since=time.time()))
        try:
            keys = self._unlock()
            identity = read_device(place, keys)
            runtime = private_directory(place.runtime)
            tree = open_store(place.store, keys, Device(identity.id, identity.label))

            async def opened() -> Result:
                async with open_remote(self._remote, runtime, limits=Limits(call=30.0, attempt=15.0)) as remote:
                    return await work(_engine(place, tree, remote, keys, identity))

            try:
                result: Result = self._run(opened)
            finally:
                tree.close()
        finally:
            lock.release()
        return result


def _ask(
    place: VaultPlaces, target: str, wish: msgspec.Struct, kind: type[Result], told: Callable[[Step], None]
) -> Result:
    """Have the daemon do it. Ctrl-C ends the waiting; the daemon goes on."""
    pool = ThreadPoolExecutor(1)
    try:
        body = msgspec.json.encode(wish)
        future = pool.submit(call, place.socket, "POST", target, body=body, timeout=LONGEST)
        while wait([future], TICK).not_done:
            told(_step(place))
        answer = future.result()
        failed = msgspec.json.decode(answer, type=Told)
        if failed.error:
            raise error_of(failed)
        return msgspec.json.decode(answer, type=kind)
    except (NoAnswerError, msgspec.DecodeError) as error:
        raise DaemonGoneError(name=place.name, path=place.socket) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _step(place: VaultPlaces) -> Step:
    try:
        return msgspec.json.decode(call(place.socket, "GET", "/upkeep", timeout=1.0), type=Step)
    except (NoAnswerError, msgspec.DecodeError):
        return Step()


def _engine(place: VaultPlaces, tree: Any, remote: Remote, keys: VaultKeys, identity: Any) -> Engine:
    """An engine without a mount: it brings nothing into the working tree."""
    from vaultfs.daemon.following import Mounted  # noqa: PLC0415 - rarely
    from vaultfs.fuse.housekeeping import Housekeeping  # noqa: PLC0415
    from vaultfs.sync.engine import Engine  # noqa: PLC0415
    from vaultfs.sync.ports import Ports  # noqa: PLC0415
    from vaultfs.sync.units import Known  # noqa: PLC0415

    if tree.ledger.base is None:
        raise UsageError(detail=f"The vault '{place.name}' has no commit on this machine yet: mount it once")
    ports = Ports(
        tree=tree, remote=remote, keys=keys, identity=identity, mount=Mounted(), do=Housekeeping(tree).do,
        classify=Known(), header=read_header(place),
    )  # fmt: skip
    engine = Engine(ports)
    engine.recall()
    if not tree.changes.enabled:
        tree.start_tracking()
    return engine
