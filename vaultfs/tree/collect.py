"""Collecting garbage in the local packs: dead ones are removed, mostly dead and interrupted ones written anew.

What is on the remote is the cache's to remove. What waits to be published stays, and so do packs with tree nodes in
them: whether any tree still needs these, sync alone can tell (`Ledger.drop_nodes`).
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from vaultfs.crypto.keys import ID_BYTES
from vaultfs.errors import StoreDamagedError
from vaultfs.format.pack import PACK_BYTES, Entry, Kind, PackDamagedError
from vaultfs.tree import database
from vaultfs.tree.ledger import Ledger
from vaultfs.tree.packs import PackReader, PackWriter, Placed, path_of
from vaultfs.tree.sync import Ticket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vaultfs.tree.blocks import Blocks
    from vaultfs.tree.housekeeping import Work
    from vaultfs.tree.state import State

_PER_FRAME = 64
_LIVE_SHARE = 0.5

_SHARES = """
SELECT p.pack, p.id, p.state, total(b.length),
       total(CASE WHEN EXISTS(SELECT 1 FROM extent e WHERE e.blk=b.blk) THEN b.length ELSE 0 END)
FROM pack p LEFT JOIN block b ON b.pack=p.pack
WHERE p.state<2 AND NOT EXISTS(SELECT 1 FROM node n WHERE n.pack=p.pack) GROUP BY p.pack
"""
_LIVE = """
SELECT b.blk, b.number, b.id, b.offset, b.length, b.size, b.codec FROM block b
WHERE b.pack=? AND EXISTS(SELECT 1 FROM extent e WHERE e.blk=b.blk) ORDER BY b.offset
"""


class Moved(NamedTuple):
    """A live block that was sealed anew."""

    blk: int
    old_pack: int
    placed: Placed


class CollectWork:
    """Finds what to remove and seals again what is to be kept of it, up to one pack's worth at a time."""

    def __init__(self, state: State, blocks: Blocks, in_use: set[int]) -> None:
        self._state = state
        self._blocks = blocks
        self._in_use = in_use | blocks.pinned | Ledger(state).waiting_packs()
        self._writer: PackWriter | None = None
        self._number = state.next_pack
        state.next_pack += 1
        self._moved: list[Moved] = []
        self._dead: list[tuple[int, bytes]] = []
        self._files: list[Path] = []
        self._ids: set[bytes] = set()  # of the packs that the durable database has
        self._garbage = 0
        self._full = False

    def run(self) -> None:
        """Reads the last commit's state on a connection of its own. Raises `OSError`.

        On a full disk only what is dead altogether is removed: that needs no room, and makes some.
        """
        self._files = list(self._blocks.directory.glob("*/*"))
        path = self._state.store / database.NAME
        reader = PackReader(self._blocks.directory, self._state.keys)
        try:
            with database.connected(path, self._state.database_key) as connection:
                live_bytes = 0
                self._ids = {row[0] for row in connection.execute("SELECT id FROM pack")}
                shares: list[Any] = connection.execute(_SHARES).fetchall()
                for pack, pack_id, finished, total, live in shares:
                    if pack in self._in_use or pack >= self._number:
                        continue
                    if finished and live > total * _LIVE_SHARE:
                        self._garbage += int(total - live)
                        continue
                    live_bytes += int(live)
                    if live_bytes > PACK_BYTES and self._dead:
                        break
                    rows: list[Any] = connection.execute(_LIVE, (pack,)).fetchall()
                    if self._rescue(reader, pack, pack_id, rows):
                        self._dead.append((pack, pack_id))
        except (database.Error, StoreDamagedError) as problem:
            raise OSError(errno.EIO, str(problem)) from problem
        if self._writer is not None:
            with self._perhaps_full():
                self._writer.finish()

    @contextmanager
    def _perhaps_full(self) -> Iterator[None]:
        """Inside, a full disk ends all moving: what was to be sealed anew stays where it is."""
        try:
            yield
        except OSError as problem:
            if problem.errno != errno.ENOSPC:
                raise
            self._full = True
            staying = {moved.old_pack for moved in self._moved}
            self._dead = [dead for dead in self._dead if dead[0] not in staying]
            self._moved.clear()
            if self._writer is not None:
                self._writer.path.unlink(missing_ok=True)
                self._writer = None

    def _rescue(self, reader: PackReader, pack: int, pack_id: bytes, rows: list[Any]) -> bool:
        """Seals a pack's live blocks anew; False when one cannot be read or written, then the pack stays as it is."""
        moved = []
        if rows and self._full:
            return False
        for blk, number, identity, offset, length, size, codec in rows:
            entry = Entry(Kind.BLOCK, identity, offset, length, size, codec)
            try:
                data = reader.read(Placed(pack, number, entry), pack_id)
            except (PackDamagedError, FileNotFoundError):
                return False
            with self._perhaps_full():
                if self._writer is None:
                    self._writer = PackWriter(self._blocks.directory, self._state.keys, self._number)
                moved.append(Moved(blk, pack, self._writer.add(entry.id, data)))
            if self._full:
                return False
        self._moved += moved
        return True

    def apply(self) -> Work | None:
        """Lets the database know; the files are removed once the journal is known to have that on disk."""
        state, blocks, writer = self._state, self._blocks, self._writer
        blocks.garbage_bytes = self._garbage
        # A commit may have been made meanwhile, or be about to be: then it keeps its blocks by keeping their packs.
        kept = blocks.pinned | Ledger(state).waiting_packs()
        if writer is not None:
            state.begin(grows=False)
            blocks.put_pack(writer.number, writer.id, 1)
            blocks.to_sync(writer)
            state.end()
        moves = [moved for moved in self._moved if moved.old_pack not in kept]
        for start in range(0, len(moves), _PER_FRAME):
            state.begin(grows=False)
            for moved in moves[start : start + _PER_FRAME]:
                blocks.move(*moved)
            if state.pending:
                state.end()
        gone = self._unknown()
        for pack, pack_id in self._dead:
            if pack in kept:
                continue
            state.begin(grows=False)
            if blocks.drop_pack(pack):
                gone.append(pack_id)
            if state.pending:
                state.end()
        return RemoveWork(state, blocks, gone) if gone else None

    def _unknown(self) -> list[bytes]:
        """Pack files that no row speaks of: a crash came before their first block was taken into use.

        Neither a row of now nor one that a crash would bring back: a pack that was sealed anew has another id now, and
        until that is on disk the old file is the one that counts.
        """
        known = self._ids.union(row[0] for row in self._state.all("SELECT id FROM pack"))
        ids = [bytes.fromhex(path.name) for path in self._files if len(path.name) == 2 * ID_BYTES]
        return [pack_id for pack_id in ids if pack_id not in known]


class RemoveWork:
    """Removes the files of dead packs, after the journal has said, in a frame on disk, that they may be gone.

    Frames that no checkpoint covers may still speak of blocks in these packs. A replay takes a missing block for the
    end of what a power cut left, unless it knows of the frame that it had been on disk: only a later frame tells.
    """

    def __init__(self, state: State, blocks: Blocks, gone: list[bytes]) -> None:
        self._state = state
        self._ticket = Ticket(state, blocks)
        self._blocks = blocks
        self._gone = gone

    def run(self) -> None:
        """Waits until it is on disk that the packs are dead."""
        self._ticket.run_apart()

    def apply(self) -> Work:
        """Notes that in the journal. Raises `OSError`; then the files stay until the next collection."""
        self._state.begin(grows=False)  # makes room: without the note nothing may be removed
        self._ticket.noted()
        self._ticket.confirm()
        return _Unlink(self._state, self._blocks, self._gone)


class _Unlink:
    """The second half: the note is made durable, too, and then nothing asks for the files any more."""

    def __init__(self, state: State, blocks: Blocks, gone: list[bytes]) -> None:
        self._ticket = Ticket(state, blocks)
        self._directory = blocks.directory
        self._gone = gone

    def run(self) -> None:
        """Waits for the disk, then removes."""
        self._ticket.run_apart()
        for pack_id in self._gone:
            path_of(self._directory, pack_id).unlink(missing_ok=True)

    def apply(self) -> None:
        """Nothing follows."""
        self._ticket.done()
