"""Publishing: the packs of the commits that wait, then the newest head.

Order is all there is to it: a head is stored after everything it needs, so a crash in between leaves packs that nobody
refers to, and never the reverse. Only the newest of several heads that wait is stored: it covers the others. What is
not on this machine's own disk yet waits for that (vaultfs.sync.outbox).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import trio

from vaultfs import clock
from vaultfs.errors import RemoteObjectMissingError
from vaultfs.format.head import PackPlace, head_name, open_head
from vaultfs.format.pack import TRAILER_BYTES, parse_trailer
from vaultfs.sync.catalog import pack_name
from vaultfs.sync.thinning import Kept, surplus
from vaultfs.tree.ledger import PUBLISHED
from vaultfs.tree.packs import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vaultfs.format.head import Head
    from vaultfs.format.pack import Entry, PackCodec
    from vaultfs.sync.heads import Heads
    from vaultfs.sync.outbox import Outbox
    from vaultfs.sync.ports import Ports
    from vaultfs.sync.resealing import Resealing
    from vaultfs.tree.ledger import Outgoing

UPLOADS = 4
_THINNED = 32  # heads that are removed at once: so a commit costs no more requests than it must, mostly
_HEADS = "heads on the remote"
_heads = msgspec.msgpack.Decoder(list[Kept])
_heads_bytes = msgspec.msgpack.encode


def pack_place(path: Path, codec: PackCodec) -> tuple[PackPlace, list[Entry]]:
    """What a head says of a finished pack, and what is in it. Raises `OSError`, `PackDamagedError`."""
    with path.open("rb") as file:
        file.seek(-TRAILER_BYTES, os.SEEK_END)
        size = file.tell() + TRAILER_BYTES
        offset, length = parse_trailer(file.read(TRAILER_BYTES))
        file.seek(offset)
        return PackPlace(codec.id, size, offset, length), codec.open_footer(file.read(length))


class Publisher:
    """Empties the outbox. `late(numbers)`: whether a head with these commits is late now (vaultfs.sync.step)."""

    def __init__(
        self, ports: Ports, heads: Heads, outbox: Outbox, late: Callable[[Sequence[int]], bool] = lambda _: True
    ) -> None:
        self._tree = ports.tree
        self._remote = ports.remote
        self._ports = ports
        self._heads = heads
        self._outbox = outbox
        self._late = late
        self.resealing: Resealing | None = None
        self._one = trio.Lock()
        self._sizes: dict[bytes, int] = {}  # of pack files that wait, by id

    @property
    def _device(self) -> bytes:
        return self._ports.identity.id

    async def publish(self) -> Outgoing | None:
        """Store the newest commit that waits and all it needs; returns it, None if none waits.

        Raises RemoteError; then what was stored stays stored, and the next call goes on from there. Raises `OSError`
        when a pack cannot be read here, or the commit cannot be made durable.
        """
        async with self._one:
            return await self._publish()

    async def _publish(self) -> Outgoing | None:
        while waiting := await self._outbox.ready():
            if self.resealing is not None and self.resealing.needed(waiting):
                await self.resealing.seal_anew()
                continue
            if await self._store(waiting):
                return waiting[-1]
        return None

    async def _store(self, waiting: Sequence[Outgoing]) -> bool:
        """False: this machine went on as another device meanwhile, and published is what that has instead."""
        device = self._device
        packs = dict.fromkeys(pack for commit in waiting for pack in commit.packs)
        limit = trio.CapacityLimiter(UPLOADS)
        failures: list[Exception] = []
        async with trio.open_nursery() as nursery:
            for number in packs:
                nursery.start_soon(self._upload, number, limit, failures)
        if failures:
            raise failures[0]
        newest = waiting[-1]
        if self._waits(newest):
            # Opened before it is stored: a head under another's name would stop `gc` on all machines.
            head = open_head(newest.head, head_name(device, newest.number), self._ports.keys)
            await self._remote.put(head.name, newest.head)
            stored = await self._stored(device, waiting[:-1])
            if self._waits(newest):
                self._done(waiting, head, stored)
        return device == self._device  # else somebody saw that it has landed

    def _waits(self, commit: Outgoing) -> bool:
        return any(commit.head == other.head for other in self._tree.ledger.outbox())

    async def _stored(self, device: bytes, older: Sequence[Outgoing]) -> list[int]:
        """Which heads of these are on the remote, though nobody said so: the answer to their upload was lost.

        Half a head, whose upload was cut short, is removed: nobody would store it again, and `gc` stops at it. Raises
        RemoteError; then the newest counts as not stored, and all of this is done again.
        """
        if not older:
            return []  # the normal case, which costs no request
        there = {entry.name for entry in await self._remote.list(f"heads/{device.hex()}")}
        stored = []
        for commit in older:
            name = head_name(device, commit.number)
            if name not in there:
                continue
            with suppress(RemoteObjectMissingError):  # the listing is late
                if await self._remote.get(name, 0, len(commit.head) + 1) == commit.head:
                    stored.append(commit.number)
                else:
                    await self._remote.delete(name)
        return stored

    def landed(self, number: int) -> None:
        """The head of that number is on the remote; only the answer was lost, or what came after it."""
        waiting = [commit for commit in self._tree.ledger.outbox() if commit.number <= number]
        if waiting:
            newest = waiting[-1]
            self._done(waiting, open_head(newest.head, head_name(self._device, newest.number), self._ports.keys))

    def _done(self, waiting: Sequence[Outgoing], head: Head, stored: Sequence[int] = ()) -> None:
        self._heads.published(head)
        for commit in waiting:
            self._tree.ledger.published(commit.number)
            for pack in commit.packs:
                self._tree.cache.stored(pack)
        late = self._late([commit.number for commit in waiting])
        now = clock.now()
        self._remember([*self._published(), *(Kept(number, now, late) for number in (*stored, head.number))])

    async def thin(self, days: int) -> None:
        """Remove those of our old heads that nobody will miss; few at a time. `days`: how long to keep any.

        Raises RemoteError.
        """
        published = self._published()
        gone = surplus(published, clock.now(), days)
        if len(gone) < _THINNED:
            return
        for number in gone[:_THINNED]:
            await self._remote.delete(head_name(self._device, number))
            published = [head for head in published if head.number != number]
            self._remember(published)

    def _published(self) -> list[Kept]:
        """Our heads on the remote."""
        record = self._tree.ledger.fact(_HEADS)
        return [] if record is None else _heads.decode(record)

    def _remember(self, heads: list[Kept]) -> None:
        self._tree.ledger.set_fact(_HEADS, _heads_bytes(heads))

    def pending_bytes(self) -> int:
        """What is still to be uploaded, in bytes."""
        sizes = {}
        for number in self._tree.ledger.waiting_packs():
            pack = self._tree.ledger.pack_of(number)
            if pack.state < PUBLISHED:
                # Finished, so it does not change; `status` is asked for often while hundreds of them wait.
                known = self._sizes.get(pack.id)
                sizes[pack.id] = known or path_of(self._tree.blocks.directory, pack.id).stat().st_size
        self._sizes = sizes
        return sum(sizes.values())

    async def _upload(self, number: int, limit: trio.CapacityLimiter, failures: list[Exception]) -> None:
        async with limit:
            pack = self._tree.ledger.pack_of(number)
            if failures or pack.state >= PUBLISHED:
                return
            try:
                await self._remote.put(pack_name(pack.id), path_of(self._tree.blocks.directory, pack.id))
            except Exception as error:  # noqa: BLE001 - one error is told, not a group of them
                failures.append(error)
            else:
                self._tree.ledger.set_pack_state(number, PUBLISHED)
