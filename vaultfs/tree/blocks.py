"""Sealed blocks: find, read, add, and let a file refer to them."""

from __future__ import annotations

import errno
from itertools import chain
from typing import TYPE_CHECKING

from vaultfs.durable import AHEAD_BYTES
from vaultfs.format.pack import Entry, Kind, PackDamagedError, block_id, compresses
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.packs import PUBLISHED, REMOTE, PackReader, PackWriter, Placed
from vaultfs.tree.state import Op, State
from vaultfs.tree.statements import error
from vaultfs.tree.whereabouts import shown_path, way_up

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_EXTENTS = """
SELECT e.idx, e.valid, b.blk, b.pack, b.number, b.id, b.offset, b.length, b.size, b.codec, p.id, p.state
FROM extent e JOIN block b ON b.blk=e.blk LEFT JOIN pack p ON p.pack=b.pack
WHERE e.ino=? AND e.idx BETWEEN ? AND ?
"""


_AGAIN = """
SELECT ?, ?, b.blk, b.pack, b.number, b.id, b.offset, b.length, b.size, b.codec, p.id, p.state
FROM block b LEFT JOIN pack p ON p.pack=b.pack WHERE b.blk=?
"""
_KNOWN = """
SELECT b.blk, b.pack, b.number, b.offset, b.length, b.size, b.codec, p.id, p.state
FROM block b LEFT JOIN pack p ON p.pack=b.pack WHERE b.id=?
"""
_SECTOR = 512
_LATER = 6  # segments of the journal, 96 MiB: with more, nothing is put off any more
_WINDOW = 64  # blocks
_WINDOWS = 64
_MISSES = 1024
_CALM = 4
_ASKED = 16
_LAST = (1 << 63) - 1
_PLACE = "UPDATE block SET pack=?, number=?, offset=?, length=?, size=?, codec=? WHERE blk=?"


class Extent:
    """Block `idx` of a file: the first `valid` bytes of a sealed block.

    `pack_id`: empty where nobody knows which pack it is in.
    """

    __slots__ = ("blk", "idx", "on_remote", "pack_id", "place", "valid")

    def __init__(self, row: tuple[object, ...]) -> None:
        idx, valid, blk, pack, number, identity, offset, length, size, codec, pack_id, pack_state = row
        self.idx: int = idx  # type: ignore[assignment]  # rows are typed by the schema
        self.valid: int = valid  # type: ignore[assignment]
        self.blk: int = blk  # type: ignore[assignment]
        entry = Entry(Kind.BLOCK, identity, offset, length, size, codec)  # type: ignore[arg-type]
        self.place = Placed(pack, number, entry)  # type: ignore[arg-type]
        self.pack_id: bytes = pack_id or b""  # type: ignore[assignment]
        self.on_remote = pack_state is None or pack_state >= PUBLISHED  # type: ignore[operator]


class Blocks:
    """The sealed blocks of the store."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.directory: Path = state.store / "packs"
        self.reader = PackReader(self.directory, state.keys)
        self.writer: PackWriter | None = None
        self.unsynced: list[PackWriter] = []
        self.garbage_bytes = 0  # what the last collection left
        self.written = 0  # bytes put into packs by this run
        self.pinned: set[int] = set()  # packs that a commit being made needs: not to be collected
        self.wanted: set[int] = set()  # rows of blocks on the remote that sealing waits for
        self.used: Callable[[int], None] = lambda _: None  # told of each pack that is read from
        self.lost: Callable[[], None] = lambda: None  # told when the open transaction was lost
        self._windows: dict[tuple[int, int], dict[int, Extent]] = {}  # blocks of files that are being read
        self._moved = -1  # `state.moved` when those were asked for
        self._calm = 0  # reads since then
        self._misses = 0  # of those, since the windows were thrown away, in none of them
        self._missed = (0, 0)  # where the last of those was

    def forget_all(self) -> None:
        """Drops what is in memory of packs by their numbers, after the open transaction was lost."""
        self.reader.clear()
        self.lost()

    def extents(self, ino: int, first: int, last: int) -> dict[int, Extent]:
        """The sealed blocks `first` to `last` of a file, by index; holes are missing."""
        found = [Extent(row) for row in self._state.all(_EXTENTS, ino, first, last)]
        return {extent.idx: extent for extent in found}

    def near(self, ino: int, first: int, last: int) -> dict[int, Extent]:
        """At least the sealed blocks `first` to `last` of a file, as `extents` gives them; for reading.

        While nothing but reading goes on, whole windows of a file are asked for at once and kept.
        """
        if self._moved != self._state.moved:
            self._windows.clear()
            self._moved, self._calm = self._state.moved, 0
        window = ino, first // _WINDOW
        kept = self._windows.get(window)
        if kept is not None and last // _WINDOW == window[1]:
            return kept
        self._calm += 1
        if self._calm < _CALM or last // _WINDOW != window[1] or not self._has_room(window):
            return self.extents(ino, first, last)
        found = self._windows[window] = self.extents(ino, window[1] * _WINDOW, (window[1] + 1) * _WINDOW - 1)
        return found

    def _has_room(self, window: tuple[int, int]) -> bool:
        """Whether a window is to be kept.

        Where all have their place taken, only who reads on gets one: who reads anywhere in a large file does not come
        back soon, and one block is asked for in a tenth of the time.
        """
        ino, number = window
        reads_on = self._missed in {window, (ino, number - 1)}
        self._missed = window
        self._misses += 1
        if len(self._windows) >= _WINDOWS and (reads_on or self._misses > _MISSES):
            self._windows.clear()
            self._misses = 0
        return len(self._windows) < _WINDOWS

    def placed_again(self, extent: Extent) -> Extent:
        """The same with its block where it stands now."""
        rows = self._state.all(_AGAIN, extent.idx, extent.valid, extent.blk)
        return Extent(rows[0]) if rows else extent

    def file_bytes(self) -> int:
        """Bytes that the pack files take on disk."""
        mirrors = {pack_id.hex() for (pack_id,) in self._state.all("SELECT id FROM pack WHERE state=?", REMOTE)}
        total = 0
        for path in self.directory.glob("*/*"):
            status = path.stat()
            total += status.st_blocks * _SECTOR if path.name in mirrors else status.st_size
        return total

    def read_ahead(self, extents: dict[int, Extent], first: int, last: int) -> dict[int, memoryview]:
        """Sealed bytes, by index, of those blocks `first` to `last` that stand one behind the other in a pack.

        Each such row is one read of the disk instead of many. What cannot be read is left out, for `read` to say why.
        """
        found: dict[int, memoryview] = {}
        row: list[Extent] = []
        for idx in range(first, last + 2):
            extent = extents.get(idx) if idx <= last else None
            if row and extent is not None and extent.place.follows(row[-1].place):
                row.append(extent)
                continue
            if len(row) > 1:
                found |= self._row(row)
            row = [] if extent is None else [extent]
        return found

    def _row(self, row: list[Extent]) -> dict[int, memoryview]:
        start = row[0].place.entry.offset
        end = row[-1].place.entry.offset + row[-1].place.entry.length
        if not row[0].pack_id:
            return {}
        try:
            sealed = memoryview(self.reader.sealed(row[0].place.pack, row[0].pack_id, start, end - start))
        except (PackDamagedError, OSError):
            return {}
        found = {}
        for extent in row:
            entry = extent.place.entry
            found[extent.idx] = sealed[entry.offset - start : entry.offset - start + entry.length]
        return found

    def read(self, ino: int, extent: Extent, sealed: memoryview | None = None) -> bytes:
        """The `valid` plain bytes of a block. `sealed`: what `read_ahead` found.

        Raises `NotHereError` when it is on the remote and (no longer) here; EIO, and notes it, when the bytes here
        are all there is, and not what was sealed.
        """
        if not extent.pack_id:
            raise NotHereError(blocks=(extent.blk,))
        try:
            data = self.reader.read(extent.place, extent.pack_id, sealed)
        except (PackDamagedError, OSError) as problem:
            if extent.on_remote:
                self._note_lost(extent, problem)
                raise NotHereError(blocks=(extent.blk,)) from problem
            state = self._state
            kind = "damaged" if isinstance(problem, PackDamagedError) else f"unreadable ({problem.strerror})"
            state.unhealthy(
                f"{shown_path(state, ino)}: block {extent.idx} in pack {extent.pack_id.hex()[:12]} is {kind}"
            )
            raise error(errno.EIO) from problem
        self.used(extent.place.pack)
        return data if extent.valid >= len(data) else data[: extent.valid]

    def _note_lost(self, extent: Extent, problem: Exception) -> None:
        """A pack that is whole on the remote is not so here any more: no harm, but someone should know."""
        if isinstance(problem, PackDamagedError) and self.state_of(extent.place.pack) == PUBLISHED:
            self._state.unhealthy(
                f"pack {extent.pack_id.hex()[:12]} is damaged on this machine; it is read from the remote instead"
            )

    def state_of(self, number: int) -> int:
        """The state of a pack."""
        return int(self._state.one("SELECT state FROM pack WHERE pack=?", number) or 0)

    def seems_here(self, extent: Extent) -> bool:
        """Whether there is something where the block should stand; cheap, and no promise."""
        return bool(extent.pack_id) and self.reader.holds(extent.place, extent.pack_id)

    def new_writer(self) -> PackWriter:
        """A new pack. Raises `OSError`."""
        state = self._state
        writer = PackWriter(self.directory, state.keys, state.next_pack)
        state.next_pack += 1
        self.put_pack(writer.number, writer.id, 0)
        return writer

    def put_pack(self, number: int, pack_id: bytes, finished: int) -> None:
        """Notes a pack or its new state."""
        self._state.run("INSERT OR REPLACE INTO pack VALUES(?,?,?)", number, pack_id, finished)
        self._state.note(Op.PACK, number, pack_id, finished)

    def finish(self, writer: PackWriter) -> None:
        """Ends a pack: it is now what will be uploaded."""
        writer.finish()
        self.put_pack(writer.number, writer.id, 1)
        self.to_sync(writer)

    def to_sync(self, writer: PackWriter) -> None:
        """The next sync makes this pack durable."""
        if writer not in self.unsynced:
            self.unsynced.append(writer)

    def synced(self, writer: PackWriter, size: int) -> None:
        """The first `size` bytes of the pack are known to be on disk."""
        if writer.size == size and writer in self.unsynced:
            self.unsynced.remove(writer)

    def seal(self, pieces: Sequence[memoryview]) -> list[int]:
        """Seals whole blocks written in one go; returns their rows. Equal blocks are stored once. Raises `OSError`.

        0: it was not sealed, and belongs into the journal until there is time. To compress it would take several times
        as long as all else, and whoever writes would wait for that.
        """
        later = len(self._state.journal.segments) <= _LATER
        identities = [block_id(self._state.keys, piece) for piece in pieces]
        rows: dict[bytes, int] = {}
        new: list[tuple[bytes, memoryview, bool]] = []
        for identity, piece in zip(identities, pieces, strict=True):
            if identity in rows:
                continue
            rows[identity] = self.known(identity)
            if not rows[identity] and not ((smaller := compresses(piece)) and later):
                new.append((identity, piece, smaller))
        # First all that passes over much data, and then what is small: a processor's cache has room for one of them.
        placed = [self._append(*block) for block in new]
        for place, pack_id in placed:
            rows[place.entry.id] = self.put(place, pack_id)
        return [rows[identity] for identity in identities]

    def _append(self, identity: bytes, data: memoryview, smaller: bool) -> tuple[Placed, bytes]:
        writer = self.writer
        if writer is None or writer.full:
            if writer is not None:
                self.finish(writer)
            writer = self.writer = self.new_writer()
        placed = writer.add(identity, data, smaller=smaller)
        self.written += placed.entry.length
        self.to_sync(writer)
        if writer.behind > AHEAD_BYTES:
            self._state.journal.beside(writer.begins())
        return placed, writer.id

    def known(self, identity: bytes) -> int:
        """The row of a block with this id whose bytes are here; 0 where there is none."""
        row = self._state.one(_KNOWN, identity)
        if row is None:
            return 0
        blk, pack, number, offset, length, size, codec, pack_id, pack_state = row
        if pack_state is not None and pack_state < PUBLISHED:
            return int(blk)
        # On the remote it may be as well, but whoever writes a block must be able to read it without a network. And
        # what no file here has may be in no tree any more: then somebody may be about to remove it from the remote.
        let_go = blk in self._state.let_go or blk in self._state.let_go_before
        if not let_go and not self._committed(blk):
            return 0
        place = Placed(pack, number, Entry(Kind.BLOCK, identity, offset, length, size, codec))
        try:
            if pack_id is not None:
                self.reader.read(place, pack_id)
                return int(blk)
        except (PackDamagedError, OSError):
            pass
        return 0

    def _committed(self, blk: int) -> bool:
        """Whether a file has the block that is in the vault, as far as one can tell: has a name, and does not lag.

        What an open file without a name has, one that stays on this machine, or an older version that is held, may be
        in no tree any more.
        """
        state = self._state
        for (ino,) in state.all("SELECT ino FROM extent WHERE blk=? LIMIT ?", blk, _ASKED):
            names = state.all("SELECT parent, name FROM dirent WHERE ino=?", ino)
            if any(self._in_vault(parent, name) for parent, name in names):
                return True
        return False

    def _in_vault(self, parent: int, name: bytes) -> bool:
        state = self._state
        for slot in chain([(parent, name)], way_up(state, parent)):
            if slot is None or slot in state.changes.outside:
                return False
            if state.one("SELECT 1 FROM lag WHERE parent=? AND name=?", *slot) is not None:
                return False
        return True

    def row_of(self, identity: bytes) -> int:
        """The row of a block that a commit speaks of, made where there is none; inside of a change."""
        state = self._state
        known = state.one("SELECT blk FROM block WHERE id=?", identity)
        if known is not None:
            return int(known)
        blk = state.next_blk
        state.next_blk += 1
        # In the journal without its place: of what lies in packs of the remote, the journal knows nothing.
        row = (blk, identity, 0, 0, 0, 0, 0, 0)
        state.run("INSERT INTO block VALUES(?,?,?,?,?,?,?,?)", *row)
        state.note(Op.BLOCK, *row)
        place = state.all("SELECT pack, number, offset, length, size, codec FROM remote_block WHERE id=?", identity)
        if place:
            state.run(_PLACE, *place[0], blk)
        return blk

    def put(self, placed: Placed, pack_id: bytes) -> int:
        """Notes where a block stands that was sealed just now: new, or so far on the remote only; returns its row."""
        state, entry = self._state, placed.entry
        self.reader.note(placed, pack_id)
        blk = state.one("SELECT blk FROM block WHERE id=?", entry.id)
        if blk is None:
            blk = state.next_blk
            state.next_blk += 1
        row = (blk, entry.id, placed.pack, placed.number, entry.offset, entry.length, entry.size, entry.codec)
        state.run("INSERT OR REPLACE INTO block VALUES(?,?,?,?,?,?,?,?)", *row)
        state.note(Op.BLOCK, *row)
        return int(blk)

    def move(self, blk: int, old_pack: int, placed: Placed) -> None:
        """The block now stands elsewhere, unless it is gone from the old place already."""
        state, entry = self._state, placed.entry
        if state.one("SELECT pack FROM block WHERE blk=?", blk) == old_pack:
            row = (blk, entry.id, placed.pack, placed.number, entry.offset, entry.length, entry.size, entry.codec)
            state.run("INSERT OR REPLACE INTO block VALUES(?,?,?,?,?,?,?,?)", *row)
            state.note(Op.BLOCK, *row)

    def drop_pack(self, number: int) -> bool:
        """Removes a pack none of whose blocks any file refers to; False if one does, or if nodes are in it."""
        state = self._state
        if state.one("SELECT 1 FROM block b JOIN extent e ON e.blk=b.blk WHERE b.pack=? LIMIT 1", number):
            return False
        if state.one("SELECT 1 FROM node WHERE pack=? LIMIT 1", number):
            return False
        state.run("DELETE FROM block WHERE pack=?", number)
        state.run("DELETE FROM pack WHERE pack=?", number)
        state.note(Op.PACK, number, None, 0)
        self.reader.drop(number)
        return True

    def put_extent(self, ino: int, idx: int, blk: int, valid: int, *, new: bool = False) -> None:
        """Block `idx` of the file is now the first `valid` bytes of block row `blk` (0: a hole); `new`: it had none."""
        self._state.block_changes(ino, idx)
        if not new:
            self._state.lets_go(ino, idx, idx)
        if blk:
            self._state.run("INSERT OR REPLACE INTO extent VALUES(?,?,?,?)", ino, idx, blk, valid)
        else:
            self._state.run("DELETE FROM extent WHERE ino=? AND idx=?", ino, idx)
        self._state.note(Op.EXTENT, ino, idx, blk, valid)

    def cut(self, ino: int, first: int) -> None:
        """The file has no sealed blocks from index `first` on."""
        if self._state.recording:
            self._state.changes.add_inode(ino, whole=True)
        self._state.lets_go(ino, first, _LAST)
        self._state.run("DELETE FROM extent WHERE ino=? AND idx>=?", ino, first)
        self._state.note(Op.CUT, ino, first)
