"""What the daemon of a mount knows of the other devices: their cards, their leases, what they wrote where, and when.

It looks twice a second whether anything has changed, so that requests of programs have nothing to do with it.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from vaultfs.daemon.barring import find_bar
from vaultfs.daemon.card import CARD_MAX, Card, card_name, decode_card, device_of
from vaultfs.daemon.cards import DIRECTORY
from vaultfs.daemon.desktop import Desktop
from vaultfs.daemon.presence import DrivenFact, DriverFact, LeaseFact, lease_fact
from vaultfs.daemon.sync_status import PathFact
from vaultfs.daemon.text import instant, printable
from vaultfs.errors import VaultfsError
from vaultfs.sync.touched import Write, top_names, touches
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.inode import ROOT, Flag
from vaultfs.tree.whereabouts import exact_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.daemon.following import Following
    from vaultfs.daemon.job import Opened
    from vaultfs.format.head import Head
    from vaultfs.fuse.operations import Operations
    from vaultfs.sync.engine import Engine
    from vaultfs.sync.touched import Touches
    from vaultfs.tree import Tree

Answer = TypeVar("Answer")

LOOK = 0.5  # seconds
_CARDS = 1024  # names that are looked at
_AGENTS = 64
_ROUNDS = 8
_ASKED = 30.0  # seconds for which somebody who asked is taken to ask again
_NANO = 1_000_000_000
_log = logging.getLogger(__name__)


class Neighbors:
    """For one mount, from `run` until it is cancelled. All calls in the loop."""

    def __init__(self, opened: Opened, tree: Tree, following: Following) -> None:
        self.cards: dict[bytes, Card] = {}
        self._opened = opened
        self._job = opened.job
        self._tree = tree
        self._following = following
        self._desktop = Desktop(on=opened.job.notifications)
        self._seen: object = None  # the directory of cards as it was read
        self._lsn = -1
        self._looked: tuple[bytes, set[str]] | None = None  # the commit, and where agents are in it
        self._touched: dict[str, Touches] = {}
        self._asked = -_ASKED
        self._opens: set[int] = set()
        self._operations: Operations | None = None
        self._turn = trio.Lock()  # one look at a time

    # -- what is told

    def leases(self) -> list[LeaseFact]:
        """All that hold now."""
        now, me, labels = datetime.now(UTC), self._me, self._labels()
        return [
            lease_fact(device, labels.get(device) or card.label or device.hex()[:8], device == me, *lease_of)
            for device, card in self.cards.items()
            for lease_of in ((lease.path, lease.since, lease.until) for lease in card.leased(now))
        ]

    def driving(self) -> list[DrivenFact]:
        """The directories of agents (top-level directories where no agent was adopted), where others wrote."""
        agents = {path: name for name, path in self._agents().items()}
        labels = self._labels()
        facts = []
        for path in sorted({*agents, *self._touched}):
            devices = self._drivers(path, labels)
            if devices:
                facts.append(DrivenFact(printable(path), agents.get(path), devices))
        return facts

    def asked(self) -> None:
        """Somebody wants to know, and will again: without agents nothing is looked for else."""
        self._asked = trio.current_time()

    def _drivers(self, path: str, labels: dict[bytes, str]) -> list[DriverFact]:
        found = self._touched.get(path, {})
        below = path.encode(errors="surrogateescape") + b"/"
        out = []
        for head in self._heads():
            there = [item for item in head.open if item.path.startswith(below)]
            write = found.get(head.device)
            if head.device != self._me and (there or write is not None):
                wrote = None if write is None or not write.time else instant(write.time / _NANO)
                opened = [PathFact(printable(item.path), instant(item.since / _NANO)) for item in there]
                out.append(DriverFact(head.device.hex(), printable(labels[head.device]), wrote, opened))
        return out

    def _agents(self) -> dict[str, str]:
        """Where agents are in the vault, by name, as all devices say."""
        found: dict[str, str] = {}
        for device, card in sorted(self.cards.items()):
            for name, path in card.agents.items():
                if name not in found or device == self._me:
                    found[name] = path
        return dict(sorted(found.items())[:_AGENTS])

    def _labels(self) -> dict[bytes, str]:
        return {head.device: head.label for head in self._heads()}

    def _heads(self) -> list[Head]:
        """The newest of each device. Not by the engine's facts, which are for those who ask, and cost more."""
        engine = self._following.engine
        return [] if engine is None else list(engine.heads.seen)

    @property
    def _me(self) -> bytes:
        engine = self._following.engine
        return (self._opened if engine is None else engine.ports).identity.id

    # -- looking

    async def run(self, operations: Operations) -> None:
        """Until cancelled."""
        operations.opened_for_writing = self._opens
        self._operations = operations
        while True:
            await self.look()
            await trio.sleep(LOOK)

    async def look(self) -> None:
        """Look now: whoever waited until the vault is as others have it is told what they did, too. Never raises."""
        if self._operations is None:
            return
        async with self._turn:
            try:
                await self._look(self._operations)
            except (VaultfsError, OSError, NotHereError) as error:
                _log.debug("cannot look at what other devices say: %s", type(error).__name__)
            except Exception:  # noqa: BLE001 - a fault in here must not take the mount from those who work in it
                _log.exception("cannot look at what other devices say")

    async def _look(self, operations: Operations) -> None:
        lsn = self._tree.state.journal.lsn
        if lsn != self._lsn:
            await self._read_cards()
            self._lsn = lsn
        await self._forget_removed()
        if self._job.respect_leases:
            operations.barred = find_bar(self._tree, self.cards, self._me, datetime.now(UTC))
        engine = self._following.engine
        if engine is not None:
            await self._read_touches(engine)
            await self._tell()
        self._opens.clear()

    async def _read_cards(self) -> None:
        """The cards, if they are others than before."""
        tree = self._tree
        if tree.inode(ROOT).flags & Flag.FOLDED:
            return  # nobody has looked into the vault yet: no reason to be the first
        entry = tree.state.entry(ROOT, os.fsencode(DIRECTORY))
        if entry is None or not tree.inode(entry.ino).is_dir:
            self.cards, self._seen = {}, None
            return
        files = await self._having(partial(self._files, entry.ino))
        if files == self._seen:
            return
        cards = {}
        for device, ino, size, _ in files:
            card = decode_card(await self._having(partial(tree.content.read, ino, 0, CARD_MAX + 1))) if size else None
            if card is not None:
                cards[device] = card
        self.cards, self._seen = cards, files

    async def _forget_removed(self) -> None:
        """A device that was removed from the vault says nothing any more: whoever sees its card takes it away."""
        engine = self._following.engine
        members = None if engine is None else engine.heads.members
        if members is None or not members.removed or not isinstance(self._seen, list):
            return
        gone = {device for device, *_ in self._seen if device in members.removed and device != self._me}
        for device in gone:
            self.cards.pop(device, None)
            if not self._job.options.read_only:
                # By the mount, as anybody would: the kernel has to know.
                card = os.path.join(self._job.mountpoint, DIRECTORY, card_name(device))  # noqa: PTH118 - as it was given
                await trio.to_thread.run_sync(_remove, card, abandon_on_cancel=True)

    def _files(self, directory: int) -> list[tuple[bytes, int, int, int]]:
        """(device, inode, size, time of the last change) of each card."""
        found: list[tuple[bytes, int, int, int]] = []
        cookie = looked = 0
        while looked < _CARDS and (page := self._tree.names.listing(directory, cookie)):
            for one in page:
                device = device_of(one.name)
                if device is not None and one.inode.size <= CARD_MAX and not one.inode.is_dir and not one.inode.target:
                    found.append((device, one.inode.ino, one.inode.size, one.inode.ctime))
            cookie, looked = page[-1].cookie, looked + len(page)
        return found

    async def _having(self, call: Callable[[], Answer]) -> Answer:
        """What a call of the tree gives when what it needs is here. Raises `OSError`."""
        for _ in range(_ROUNDS):
            try:
                return call()
            except NotHereError as lack:
                await self._following.fetch(lack)
        return call()

    async def _read_touches(self, engine: Engine) -> None:
        """Who wrote where, if the vault is another than before and somebody cares."""
        base = self._tree.ledger.base
        agents = set(self._agents().values())
        cares = bool(agents) or trio.current_time() - self._asked < _ASKED
        folded = self._tree.inode(ROOT).flags & Flag.FOLDED
        if base is None or folded or not cares:
            return
        looked, self._looked = self._looked, (base.root, agents)
        if self._looked == looked or (looked is None and not agents):
            return  # as it was; or as it was when the mount began, which is not worth a request
        newest = {head.device: Write(head.number, head.time) for head in self._heads()}
        nodes, known, me = engine.commits.nodes(), self._touched, self._me

        def work() -> dict[str, Touches]:
            paths = agents or {os.fsdecode(name) for name in top_names(nodes, base.root, _AGENTS)} - {DIRECTORY}
            found = {}
            for path in paths:
                way = tuple(path.encode(errors="surrogateescape").split(b"/"))
                before = (known.get(path, {}), newest)
                # Without agents nobody waits for the time: no request is made for it.
                found[path] = touches(nodes, base.root, way, before, but=me, exact=bool(agents))
            return found

        try:
            self._touched = await trio.to_thread.run_sync(work)
        except BaseException:
            self._looked = looked
            raise

    # -- telling the person

    async def _tell(self) -> None:
        """Something of an adopted agent is open for writing here: does another device work with it?"""
        here = self._opens | {handle.ino for handle in self._tree.handles.writers() if handle.pid}
        if not self._desktop.on or not self.cards or not here:
            return
        now, agents, labels = time.time(), self._agents(), self._labels()
        busy = {
            path: [driver for driver in self._drivers(path, labels) if driver.recent(now)] for path in agents.values()
        }
        if not any(busy.values()):
            return
        paths = {os.fsdecode(b"/".join(way)) for ino in here if (way := exact_path(self._tree.state, ino)) is not None}
        for name, path in agents.items():
            if busy[path] and any(one.startswith(path + "/") for one in paths):
                await self._desktop.tell(name, path, busy[path])


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - as above
