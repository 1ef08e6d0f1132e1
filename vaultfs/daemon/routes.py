"""What the control socket answers (docs/cli-contract.md, "Control socket")."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
import trio
import trio.lowlevel

from vaultfs.daemon.asking import (
    AcceptRequest,
    BandwidthRequest,
    ConflictFact,
    DecisionRequest,
    HandoffRequest,
    HeadsFact,
    PublishRequest,
    encode_error,
)
from vaultfs.daemon.checking import MOST, CheckRequest, ProblemFact
from vaultfs.daemon.elements import conflict_fact, heads_fact
from vaultfs.daemon.server import Answer
from vaultfs.daemon.upkeep import GcRequest, RepairRequest, Upkeep
from vaultfs.errors import NoRemoteError, SyncTimeoutError, UsageError, VaultfsError
from vaultfs.tree.check import check_tree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vaultfs.daemon.following import Following
    from vaultfs.daemon.job import Opened
    from vaultfs.daemon.live import LiveStatus
    from vaultfs.daemon.neighbors import Neighbors
    from vaultfs.daemon.server import Routes
    from vaultfs.sync.engine import Engine
    from vaultfs.tree import Tree

Wish = TypeVar("Wish", bound=msgspec.Struct)


class Empty(msgspec.Struct):
    """A request that says nothing."""


class Control:
    """The routes of one mount. Setting `stop` ends it, without patience for open files if `hurry` is set, too."""

    def __init__(
        self,
        opened: Opened,
        tree: Tree,
        status: LiveStatus,
        following: Following,
        neighbors: Neighbors,
        stop: trio.Event,
        hurry: trio.Event,
    ) -> None:
        self._opened = opened
        self._tree = tree
        self._status = status
        self._following = following
        self._neighbors = neighbors
        self._stop = stop
        self._hurry = hurry
        self._upkeep = Upkeep()

    @property
    def routes(self) -> Routes:
        """For `server.serve`."""
        return {
            ("GET", "/status"): self._get_status,
            ("POST", "/sync"): self._sync,
            ("POST", "/check"): self._check,
            ("POST", "/umount"): self._umount,
            ("POST", "/publish"): self._publish,
            ("POST", "/handoff"): self._handoff,
            ("POST", "/accept"): self._accept,
            ("POST", "/bandwidth"): self._bandwidth,
            ("GET", "/conflicts"): self._conflicts,
            ("POST", "/conflicts"): self._decide,
            ("GET", "/heads"): self._heads,
            ("GET", "/upkeep"): self._get_upkeep,
            ("POST", "/gc"): self._gc,
            ("POST", "/repair"): self._repair,
        }

    async def _get_status(self, _: bytes) -> Answer:
        return Answer(self._status.encode())

    async def _sync(self, _: bytes) -> Answer:
        """Answers when all that the kernel has handed over so far survives a power cut."""
        ticket = self._tree.sync()
        if ticket is not None:
            try:
                await trio.to_thread.run_sync(ticket.run_apart)
                ticket.done()
            except OSError:
                return Answer(b'{"error": "the store cannot be written"}', 500)
        return Answer()

    async def _check(self, body: bytes) -> Answer:
        try:
            wish = msgspec.json.decode(body, type=CheckRequest)
        except msgspec.DecodeError:
            return Answer(b'{"error": "not a check request"}', 400)
        found: list[ProblemFact] = []
        for problem in check_tree(self._tree, read_data=wish.read_data):
            if problem is not None and len(found) < MOST:
                found.append(ProblemFact.of(problem))
            await trio.lowlevel.checkpoint()  # requests come between two packs
        return Answer(msgspec.json.encode(found))

    # With the remote. What goes wrong is told by the class of its error, for the command to raise.

    async def _publish(self, body: bytes) -> Answer:
        """Commit, look what others have, and publish; with `wait` answer when it is done."""

        async def work(engine: Engine, wish: PublishRequest) -> None:
            with trio.move_on_after(wish.timeout):
                await engine.sync(wait=wish.wait)
                await self._neighbors.look()
                return
            raise SyncTimeoutError(seconds=f"{wish.timeout:g}")

        return await self._engine(body, PublishRequest, work)

    async def _handoff(self, body: bytes) -> Answer:
        """Answer when all that is written here is on the remote."""

        async def work(engine: Engine, wish: HandoffRequest) -> None:
            await engine.handoff(wish.timeout)

        return await self._engine(body, HandoffRequest, work)

    async def _accept(self, body: bytes) -> Answer:
        """After an alarm, a person takes what is there now of that device."""

        async def work(engine: Engine, wish: AcceptRequest) -> None:
            await engine.accept(bytes.fromhex(wish.device))

        return await self._engine(body, AcceptRequest, work)

    async def _bandwidth(self, body: bytes) -> Answer:
        """Another limit, from now on."""

        async def work(engine: Engine, wish: BandwidthRequest) -> None:
            await engine.limit_bandwidth(wish.rate or None)

        return await self._engine(body, BandwidthRequest, work)

    async def _conflicts(self, body: bytes) -> Answer:
        """All conflicts."""

        async def work(engine: Engine, _: Empty) -> list[ConflictFact]:
            labels = {device.id: device.label for device in engine.facts().devices}
            return [conflict_fact(kept, labels) for kept in await engine.decisions.list()]

        return await self._engine(body, Empty, work)

    async def _decide(self, body: bytes) -> Answer:
        """Keep or drop one. The person may say the start of its name."""

        async def work(engine: Engine, wish: DecisionRequest) -> None:
            fits = [kept for kept in await engine.decisions.list() if kept.name.startswith(wish.name)]
            if len(fits) != 1:
                what = "Several conflicts are" if fits else "No conflict is"
                raise UsageError(detail=f"{what} called '{wish.name}'; see: vaultfs conflicts list")
            await (engine.decisions.keep(fits[0]) if wish.keep else engine.decisions.drop(fits[0]))
            await engine.sync(wait=False)

        return await self._engine(body, DecisionRequest, work)

    async def _heads(self, body: bytes) -> Answer:
        """The newest heads, and their fingerprint."""

        async def work(engine: Engine, _: Empty) -> HeadsFact:
            alarmed = {alarm.device for alarm in engine.heads.alarms}
            return heads_fact(engine.heads.fingerprint(), engine.heads.trust.heads.values(), alarmed)

        return await self._engine(body, Empty, work)

    async def _get_upkeep(self, _: bytes) -> Answer:
        """How far `gc` or `repair` is."""
        return Answer(msgspec.json.encode(self._upkeep.step))

    async def _gc(self, body: bytes) -> Answer:
        """Make room on the remote."""
        return await self._engine(body, GcRequest, self._upkeep.gc)

    async def _repair(self, body: bytes) -> Answer:
        """Store again what the remote has lost."""
        return await self._engine(body, RepairRequest, self._upkeep.repair)

    async def _engine(self, body: bytes, kind: type[Wish], work: Callable[[Engine, Wish], Awaitable[object]]) -> Answer:
        try:
            wish = msgspec.json.decode(body or b"{}", type=kind)
        except msgspec.DecodeError:
            return Answer(b'{"error": "not such a request"}', 400)
        engine = await self._following.ready()
        try:
            if engine is None:
                raise self._following.failure or NoRemoteError(name=self._opened.job.vault.name)
            result = await work(engine, wish)
        except VaultfsError as error:
            return Answer(encode_error(error))
        except OSError as error:
            return Answer(encode_error(VaultfsError(detail=error.strerror or "input/output error")))
        return Answer() if result is None else Answer(msgspec.json.encode(result))

    async def _umount(self, _: bytes) -> Answer:
        """Unmounts without waiting for open files; `vaultfs umount` asks the kernel instead, which does wait."""
        self._hurry.set()
        self._stop.set()
        return Answer()
