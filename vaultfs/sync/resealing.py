"""What waits under older keys is sealed anew before it is published: a removed device has those keys.

A pack keeps its number, its entries and their places; only its id, which names the epoch, and the key behind it change.
So nothing else that is known of it has to. What was published already stays as it is.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

import trio

from vaultfs import clock
from vaultfs.crypto.keys import epoch_of
from vaultfs.durable import sync_path
from vaultfs.format.head import epoch_of_head
from vaultfs.format.pack import HEADER_BYTES, PackCodec, PackDamagedError
from vaultfs.sync.merge import State
from vaultfs.sync.publish import pack_place
from vaultfs.sync.vectors import stepped
from vaultfs.tree.packs import PUBLISHED, path_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.sync.catalog import Catalog
    from vaultfs.sync.commits import Commits
    from vaultfs.sync.ports import Ports
    from vaultfs.tree.ledger import Outgoing

_UNFINISHED = ".anew"  # not the name of a pack: the collection of garbage lets it be


class _Anew(NamedTuple):
    """A pack that was sealed anew: under `path` until the ledger knows it."""

    number: int
    old: bytes
    new: bytes
    path: Path


class Resealing:
    """Sees to it that what the publisher takes is under the newest keys."""

    def __init__(self, ports: Ports, commits: Commits, catalog: Catalog) -> None:
        self._ports = ports
        self._tree = ports.tree
        self._commits = commits
        self._catalog = catalog

    def needed(self, waiting: Sequence[Outgoing]) -> bool:
        """Whether something that waits is under older keys."""
        newest = self._ports.keys.epoch
        return any(epoch_of_head(commit.head) < newest for commit in waiting) or bool(self._old(waiting))

    async def seal_anew(self) -> None:
        """Put all that waits under the newest keys, as one commit; for the publisher, while it uploads nothing.

        Raises `OSError`; then everything waits as before.
        """
        ledger, ports = self._tree.ledger, self._ports
        async with self._commits.busy:
            waiting, base = ledger.outbox(), self._commits.base()
            if base is None or not self.needed(waiting):
                return
            for left in self._tree.blocks.directory.glob(f"*/*{_UNFINISHED}"):
                left.unlink()  # by a crash
            packs = list(dict.fromkeys(pack for commit in waiting for pack in commit.packs))
            made = [await self._write(number) for number in self._old(waiting)]
            # From here to the checkpoint nothing waits: no other task sees half of it.
            for one in made:
                one.path.rename(path_of(self._tree.blocks.directory, one.new))
                ledger.rename_pack(one.number, one.new)
                self._tree.blocks.reader.drop(one.number)
                self._catalog.forget(packs=[one.old])
            number, now = self._commits.next_number(), clock.now()
            state = State(base.root, stepped(base.vector, ports.identity.id, number))
            head = self._commits.head(state, number, now, packs)  # if it cannot be made, all waits, and is old, still
            for commit in waiting:
                ledger.withdraw(commit.number)
            self._commits.put(state, number, head, packs, now)
            await trio.to_thread.run_sync(self._sync_names, made)
            await self._commits.checkpoint()
            for one in made:
                path_of(self._tree.blocks.directory, one.old).unlink(missing_ok=True)

    def _old(self, waiting: Sequence[Outgoing]) -> list[int]:
        """The packs of these commits that are under older keys, and not on the remote yet."""
        numbers = dict.fromkeys(pack for commit in waiting for pack in commit.packs)
        packs = [(number, self._tree.ledger.pack_of(number)) for number in numbers]
        return [
            number for number, pack in packs if pack.state < PUBLISHED and epoch_of(pack.id) < self._ports.keys.epoch
        ]

    async def _write(self, number: int) -> _Anew:
        keys, directory = self._ports.keys, self._tree.blocks.directory
        old, new = self._tree.ledger.pack_of(number).id, keys.object_id()
        unfinished = path_of(directory, new).with_suffix(_UNFINISHED)
        await trio.to_thread.run_sync(_seal_anew, keys, path_of(directory, old), old, new, unfinished)
        return _Anew(number, old, new, unfinished)

    def _sync_names(self, made: Sequence[_Anew]) -> None:
        for directory in {one.path.parent for one in made}:
            sync_path(directory)
            sync_path(directory.parent)


def _seal_anew(keys: VaultKeys, path: Path, old: bytes, new: bytes, target: Path) -> None:
    """The pack at `path`, under the id `new`, durably at `target`. Raises `OSError`."""
    try:
        _copy(path, PackCodec(keys, old), PackCodec(keys, new), target)
    except PackDamagedError as error:
        target.unlink(missing_ok=True)
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path)) from error


def _copy(path: Path, reader: PackCodec, writer: PackCodec, target: Path) -> None:
    _, entries = pack_place(path, reader)
    target.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with path.open("rb") as source, os.fdopen(descriptor, "wb") as file:
        file.write(writer.header())
        position = HEADER_BYTES
        for number, entry in enumerate(entries):
            source.seek(entry.offset)
            sealed = reader.reseal(number, entry.kind, source.read(entry.length), writer)
            assert entry.offset == position  # noqa: S101 - as every pack is written
            position += file.write(sealed)
        file.write(writer.finish(position, entries))
        file.flush()
        os.fsync(file.fileno())
