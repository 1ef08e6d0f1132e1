"""Sealing for a commit, in a worker thread: blocks and nodes into one pack, and into the next where one is full."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.crypto.sealing import OpenFailedError
from vaultfs.format.node import Inline
from vaultfs.format.pack import PACK_BYTES, Kind, PackDamagedError, block_id
from vaultfs.tree.cut_pictures import START, publishable
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.packs import FINISHED, OPEN, PackReader
from vaultfs.tree.seal import Picture, content_of, keep
from vaultfs.tree.statements import error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultfs.tree.blocks import Blocks
    from vaultfs.tree.cut_pictures import Pictures
    from vaultfs.tree.housekeeping import Housekeeper, Work
    from vaultfs.tree.ledger import Ledger
    from vaultfs.tree.packs import PackWriter, Placed
    from vaultfs.tree.state import State

_BATCH_BYTES = PACK_BYTES
_BATCH_BLOCKS = 1024  # so that the tree's thread is not held up for long
_PER_FRAME = 64


class Ready(NamedTuple):
    """A picture's bytes and their id; empty for a hole."""

    picture: Picture
    data: bytes
    id: bytes


class Packing:
    """The pack of a commit that is being made. `packs`: those that were filled; `rows`: blocks that the commit has."""

    def __init__(self, state: State, blocks: Blocks, keeper: Housekeeper) -> None:
        self.state = state
        self.blocks = blocks
        self.keeper = keeper
        self.writer, blocks.writer = blocks.writer, None
        self.packs: set[int] = set()
        self.rows: set[int] = set()
        self._pinned: set[int] = set()
        self._lost = state.changes.cuts_lost
        self.breathe = state.rush.breather()  # of all its batches: the patience is that of the whole commit
        if self.writer is not None:
            self.pin({self.writer.number})

    @property
    def void(self) -> bool:
        """Whether the database lost what it was told, so that nothing of this counts any more."""
        return self.state.changes.cuts_lost != self._lost

    def pin(self, packs: set[int]) -> None:
        """Keeps packs from being collected until `end`."""
        self._pinned |= packs
        self.blocks.pinned |= packs

    @property
    def writing(self) -> set[int]:
        """The packs that something is written to now."""
        writers = (self.writer, self.blocks.writer, self.keeper.sealer)
        return {writer.number for writer in writers if writer is not None}

    def writer_with_room(self) -> PackWriter:
        """A pack to write to. For the tree's thread, in a change."""
        if self.writer is not None and self.writer.full:
            self.finish()
        if self.writer is None:
            self.writer = self.blocks.new_writer()
            self.pin({self.writer.number})
        return self.writer

    def finish(self) -> None:
        """Ends the pack; in a change."""
        writer, self.writer = self.writer, None
        if writer is not None and writer.entries:
            self.blocks.finish(writer)
            self.packs.add(writer.number)

    def usable(self, identity: bytes) -> int:
        """The row of a block with this id that need not be sealed again; else 0."""
        row = self.blocks.known(identity)
        if row:
            pack = self.state.one("SELECT pack FROM block WHERE blk=?", row)
            if pack not in self.writing and self.blocks.state_of(pack) == 0:
                return 0  # a crash interrupted that pack: it will not be published
            self.pin({pack})
        return row

    def close_packs(self, rows: set[int]) -> None:
        """Ends whatever pack, still being written, holds one of these blocks; notes all packs to be published."""
        needed = publishable(self.state, rows | self.rows)
        blocks, keeper = self.blocks, self.keeper
        if blocks.writer is not None and blocks.writer.number in needed:
            blocks.finish(blocks.writer)
            blocks.writer = None
        if keeper.sealer is not None and keeper.sealer.number in needed:
            blocks.finish(keeper.sealer)
            keeper.sealer = None
        self.packs |= needed

    def end(self) -> None:
        """The cut has ended: a pack that is not full goes on being written to."""
        self.blocks.pinned -= self._pinned
        writer, self.writer = self.writer, None
        if writer is None:
            return
        if self.blocks.writer is None and not self.state.failed:
            self.blocks.writer = writer
        # Else it is an interrupted pack; collection takes out of it what is needed.


class SealCut:
    """Seals the pictures of a cut, a pack's worth at a time.

    Raises `NotHereError` where blocks below are missing; when they are here, another one goes on from there.
    """

    def __init__(self, packing: Packing, pictures: Pictures, damaged: set[int]) -> None:
        self._packing = packing
        self._pictures = pictures
        self._damaged = damaged
        self._reader = PackReader(packing.blocks.directory, packing.state.keys)
        if pictures.tried:
            pictures.look_again()
        pictures.tried = True
        self._at = pictures.sealed
        self._ready: list[Ready] = []

    def run(self) -> None:
        """Reads and hashes the next batch."""
        pictures = self._pictures
        if not self._at:
            self._peek()
        missing: set[int] = set()
        size = 0
        while self._at < len(pictures.todo) and size < _BATCH_BYTES and len(self._ready) < _BATCH_BLOCKS:
            self._packing.breathe()
            picture = pictures.todo[self._at]
            self._at += 1
            try:
                data = content_of(picture, self._reader)
            except NotHereError as lack:
                missing.update(lack.blocks)
                continue
            except (OpenFailedError, PackDamagedError, OSError):
                self._damaged.add(picture.ino)  # reading the file reports it, with its path
                continue
            held = pictures.files[picture.ino]
            if picture.idx == 0:
                held.start = data[:START]
            if held.small:
                held.content = Inline(data[: held.size].ljust(held.size, b"\0"))
                continue
            data = data.rstrip(b"\0")
            size += len(data)
            self._ready.append(Ready(picture, data, block_id(self._packing.state.keys, data) if data else b""))
        if missing:
            raise NotHereError(blocks=tuple(sorted(missing)))

    def _peek(self) -> None:
        for ino, extent in self._pictures.peeks:
            if not extent.pack_id:
                continue
            try:
                data = self._reader.read(extent.place, extent.pack_id)[: extent.valid]
            except (PackDamagedError, OSError):
                continue  # it is on the remote
            held = self._pictures.files[ino]
            held.start = data[: min(START, held.size)]

    def apply(self) -> Work | None:
        """What is known already is not sealed again."""
        packing, ready = self._packing, self._ready
        self._ready = []
        self._pictures.sealed = self._at
        new: dict[bytes, Ready] = {}
        done: list[tuple[Ready, int]] = []
        for one in ready:
            row = packing.usable(one.id) if one.id and one.id not in new else 0
            if one.id and not row:
                new.setdefault(one.id, one)
            done.append((one, row))
        # Taken from the end: so they stand in the pack in the order of the files, in which they will be read.
        return _Write(packing, self._pictures, list(reversed(new.values())), done, self._next)

    def _next(self) -> Work | None:
        return self if self._at < len(self._pictures.todo) else None


class _Write:
    """The second half of a batch: what is new goes into the pack."""

    def __init__(
        self, packing: Packing, pictures: Pictures, new: list[Ready], done: list[tuple[Ready, int]], after: object
    ) -> None:
        self._packing = packing
        self._pictures = pictures
        self._new = new
        self._done = done
        self._after = after
        self._placed: list[Placed] = []
        if new:
            packing.state.begin(grows=False, quiet=True)
            self._writer = packing.writer_with_room()
            if packing.state.pending:
                packing.state.end()
            self._before = self._writer.size

    def run(self) -> None:
        """Compresses, encrypts, writes, until the pack is full."""
        while self._new and not self._writer.full:
            self._packing.breathe()
            one = self._new.pop()
            self._placed.append(self._writer.add(one.id, one.data))

    def apply(self) -> Work | None:
        """Notes where the blocks stand, and lets the files refer to them that were not written to since."""
        state, blocks = self._packing.state, self._packing.blocks
        if self._placed:
            blocks.to_sync(self._writer)
            blocks.written += self._writer.size - self._before
        rows: dict[bytes, int] = {}
        for start in range(0, len(self._placed), _PER_FRAME):
            state.begin(grows=False, quiet=True)
            for placed in self._placed[start : start + _PER_FRAME]:
                rows[placed.entry.id] = blocks.put(placed, self._writer.id)
            state.end()
        self._placed = []
        later = {one.id for one in self._new}
        now = [(one, row or rows.get(one.id, 0)) for one, row in self._done if one.id not in later]
        for start in range(0, len(now), _PER_FRAME):
            state.begin(grows=False, quiet=True)
            for one, row in now[start : start + _PER_FRAME]:
                self._settle(one, row)
            if state.pending:
                state.end()
        if later:
            return _Write(
                self._packing, self._pictures, self._new, [d for d in self._done if d[0].id in later], self._after
            )
        return self._after()  # type: ignore[operator,no-any-return]

    def _settle(self, one: Ready, row: int) -> None:
        picture, size = one.picture, len(one.data)
        self._pictures.files[picture.ino].blocks[picture.idx] = (one.id, size) if row else None
        if row:
            self._packing.rows.add(row)
        keep(self._packing.state, self._packing.blocks, picture, row, size)


class AddNodes:
    """Puts the nodes of a commit into its pack and finishes it.

    Where they stand is noted only once the pack is finished: one that is not will never be published, and whoever has
    the same node later must not take it for one that will be.
    """

    def __init__(self, packing: Packing, ledger: Ledger, nodes: Mapping[bytes, bytes], rows: set[int]) -> None:
        self._packing = packing
        self._ledger = ledger
        self._rows = rows
        self._nodes = []
        for identity, data in nodes.items():
            place = ledger.place_of_node(identity)
            state = OPEN if place is None else packing.blocks.state_of(place.pack)
            if place is not None and state == OPEN:
                ledger.drop_nodes(place.pack)  # an older version noted them too early, and the commit failed
            if state == FINISHED and place is not None:
                packing.packs.add(place.pack)
            else:
                # A node of an earlier tree may be garbage of the remote by now: it costs little to have it again.
                self._nodes.append((identity, data))
        self._nodes.reverse()  # taken from the end: so they stand as they were made, which is how they are read
        self._placed: list[Placed] = []
        self._open()

    def _open(self) -> None:
        packing = self._packing
        packing.state.begin(grows=False, quiet=True)
        self._writer = packing.writer_with_room() if self._nodes else None
        if packing.state.pending:
            packing.state.end()

    def run(self) -> None:
        """Seals and writes, until the pack is full."""
        while self._nodes and self._writer is not None and not self._writer.full:
            identity, data = self._nodes.pop()
            self._placed.append(self._writer.add(identity, data, Kind.NODE))

    def apply(self) -> Work | None:
        """Finishes the pack and notes where they stand; in the end all packs of the commit are finished."""
        packing = self._packing
        if packing.void:
            raise error(errno.EIO)
        packing.state.begin(grows=False, quiet=True)
        packing.finish()
        if self._writer is not None:
            self._ledger.add_entries(self._writer.number, [(placed.number, placed.entry) for placed in self._placed])
            self._placed = []
        if not self._nodes:
            packing.close_packs(self._rows)
        if packing.state.pending:
            packing.state.end()
        if not self._nodes:
            return None
        self._open()
        return self
