"""What is done beside the requests: checkpoints, sealing, spare journal segments, removing dead packs.

Each piece is a `Work`: `run` blocks and belongs into a worker thread, `apply` into the tree's thread afterwards;
`apply` returns what follows, or None.
"""

from __future__ import annotations

import errno
import os
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from vaultfs import clock
from vaultfs.errors import StoreDamagedError, StoreFullError
from vaultfs.format.journal import SEGMENT_BYTES
from vaultfs.tree import database
from vaultfs.tree import inode as inodes
from vaultfs.tree.collect import CollectWork
from vaultfs.tree.replay import restore
from vaultfs.tree.seal import SealWork, pictures_of
from vaultfs.tree.sync import Ticket, not_on_disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.tree.blocks import Blocks
    from vaultfs.tree.packs import PackWriter
    from vaultfs.tree.state import State

CHECKPOINT_NS = 5_000_000_000
CHECKPOINT_BYTES = 48 << 20
CHECKPOINT_CHANGES = 50_000
SEAL_IDLE_NS = 20_000_000_000
JOURNAL_LOW = 128 << 20
JOURNAL_HIGH = 384 << 20
_CROWD = JOURNAL_HIGH // SEGMENT_BYTES
_SPARE_SLOTS = 4
_LOOKED_AT = 1024
COLLECT_BYTES = 128 << 20
_LOG_PAGES = 2048
ROOM_NS = 10_000_000_000  # between two attempts to make room on a full disk
SPARE_NS = 10_000_000_000  # after a spare segment could not be made
REST_NS = 900_000_000  # without a change, and what was changed goes to the disk: from one look to the next


class Work(Protocol):
    """One piece of housekeeping."""

    def run(self) -> None:
        """Blocks; for a worker thread. Raises `OSError`."""

    def apply(self) -> Work | None:
        """For the tree's thread, after `run`; returns what follows."""


class Housekeeper:
    """Decides what is due."""

    def __init__(self, state: State, blocks: Blocks) -> None:
        self.state = state
        self.blocks = blocks
        self.checkpointed = clock.steady()
        self.committed = 0  # counter of checkpoints
        self.sealer: PackWriter | None = None
        self.collected = 0  # `blocks.written` at the last collection
        self.log_pages = 0  # in the database's write-ahead log, whose file never becomes shorter
        self.evict: Callable[[], object] = lambda: None  # lets the cache make room
        self._made_room = -ROOM_NS
        self._room_from = -1  # `committed` when room was made last
        self.no_spare_before = 0
        self._seen = state.journal.lsn, self.checkpointed  # the last change, and when it was first seen
        state.db.set_wal_hook(self._log_grew)

    def _log_grew(self, _connection: object, _name: str, pages: int) -> int:
        self.log_pages = pages
        return 0

    @property
    def crowded(self) -> bool:
        """Whether so much waits in the journal that writers should wait for it to shrink."""
        return len(self.state.journal.segments) > _CROWD

    def due(self) -> Work | None:
        """What should be done now, most urgent first."""
        if self.state.read_only or self.state.failed:
            return None
        return self._make_room() or self._due()

    def _due(self) -> Work | None:
        state, journal = self.state, self.state.journal
        since = clock.steady() - self.checkpointed
        if state.changed and (
            since > CHECKPOINT_NS
            or journal.bytes_since_checkpoint > CHECKPOINT_BYTES
            or state.changed > CHECKPOINT_CHANGES
        ):
            return SyncWork(self)
        rest = self._rest()
        if rest is not None:
            return rest
        if not journal.free and clock.steady() >= self.no_spare_before:
            return SpareWork(self)
        seal = self.seal(everything=journal.size > JOURNAL_LOW)
        if seal is not None:
            return seal
        if self.blocks.written - self.collected > COLLECT_BYTES:
            return self.collect()
        if len(journal.free) > _SPARE_SLOTS:
            journal.shrink(len(journal.segments) + _SPARE_SLOTS)
        return None

    def _rest(self) -> Work | None:
        """What was changed goes to the disk, if nobody has changed anything for a moment."""
        lsn, now = self.state.journal.lsn, clock.steady()
        if lsn != self._seen[0]:
            self._seen = lsn, now
        if now - self._seen[1] < REST_NS:
            return None
        ticket = not_on_disk(self.state, self.blocks)
        return None if ticket is None else RestWork(ticket)

    def _make_room(self) -> Work | None:
        """On a full disk: the cache gives way, and dead packs go as soon as a checkpoint knows that they are dead.

        It comes before all that needs room itself, and would fail at each turn.
        """
        now = clock.steady()
        if now - self._made_room < ROOM_NS or not self.state.disk_full():
            return None
        self._made_room = now
        self.evict()
        if self._room_from == self.committed:
            return None
        self._room_from = self.committed
        return self.collect()

    def collect_soon(self) -> None:
        """After a crash: interrupted packs are written anew, what was never taken into use is removed."""
        self.collected = -COLLECT_BYTES - 1

    def collect(self) -> Work:
        """Removal of what no file refers to any more."""
        self.collected = self.blocks.written
        in_use = {writer.number for writer in (self.blocks.writer, self.sealer) if writer is not None}
        return CollectWork(self.state, self.blocks, in_use)

    def seal(self, *, everything: bool) -> Work | None:
        """Sealing of files that nobody has written for a while, or of all, the longest dirty first."""
        state = self.state
        if not state.pages:
            return None
        # The files stand in the order in which they became dirty. Only so many are looked at: with 100,000 small
        # files waiting, looking at all of them for each batch would cost more than sealing them.
        inos = list(islice(state.pages, _LOOKED_AT))
        if not everything:
            limit = clock.now() - SEAL_IDLE_NS
            nodes = [state.find(ino) for ino in inos]
            inos = [node.ino for node in nodes if node is not None and node.written < limit]
        pictures = pictures_of(state, self.blocks, inos)
        if not pictures:
            return None
        writer = self.sealer
        if writer is None or writer.full:
            state.begin(grows=False)
            if writer is not None:
                self.blocks.finish(writer)
            writer = self.sealer = self.blocks.new_writer()
            state.end()
        return SealWork(state, self.blocks, writer, pictures)

    def commit(self, *, closing: bool = False) -> int:
        """Writes the open transaction; returns the number of the oldest journal segment still needed after it.

        The journal must be on disk up to its end: a database that is ahead of the journal after a power cut would
        show files without their newest pages.
        """
        state, journal = self.state, self.state.journal
        dirty = [(ino, inodes.encode(node)) for ino, node in state.dirty.items()]
        state.run_many("INSERT OR REPLACE INTO inode VALUES(?,?)", dirty)
        for ino, node in state.dirty.items():
            if not node.nlink and ino != inodes.ROOT:
                state.put_orphan(ino)
        state.changes.store(state)
        oldest = journal.needed(journal.lsn, closing=closing)
        state.put_meta(
            lsn=journal.synced,  # a note of what was synced may stand behind it, itself not on disk
            oldest=oldest,
            running=0 if closing else journal.newest,
            counter=state.counter,
            next_ino=state.next_ino,
            next_blk=state.next_blk,
            next_pack=state.next_pack,
            files=state.files,
            directories=state.directories,
            bytes=state.bytes,
        )
        try:
            state.commit()
        except OSError:
            self.checkpointed = clock.steady()
            restore(state, self.blocks)
            raise
        state.dirty.clear()
        state.changes.stored()
        state.changed = 0
        journal.bytes_since_checkpoint = 0
        self.checkpointed = clock.steady()
        self.committed += 1
        return oldest

    def sync_inline(self) -> None:
        """Makes the journal durable here and now."""
        ticket = Ticket(self.state, self.blocks)
        ticket.run()
        ticket.done()


class SyncWork:
    """First part of a checkpoint: most of the journal is made durable off the tree's thread.

    `change`: made in the same instant as the commit, so that the two hold together (vaultfs.tree.turning).
    """

    def __init__(self, keeper: Housekeeper, change: Callable[[], None] = lambda: None) -> None:
        self._keeper = keeper
        self._change = change
        self._ticket = Ticket(keeper.state, keeper.blocks)

    def run(self) -> None:
        """Waits for the disk."""
        self._ticket.run_apart()

    def apply(self) -> Work | None:
        """Commits; what came since `run` is little and made durable here."""
        self._ticket.done()
        keeper = self._keeper
        self._change()
        keeper.sync_inline()
        return DurableWork(keeper, keeper.commit())


class RestWork:
    """What was changed is made durable while nobody waits for that: the next fsync has little left to do."""

    def __init__(self, ticket: Ticket) -> None:
        self._ticket = ticket

    def run(self) -> None:
        """Waits for the disk."""
        self._ticket.run_apart()

    def apply(self) -> Work | None:
        """Notes it."""
        self._ticket.done()
        return None


class DurableWork:
    """Second part of a checkpoint: the database is made durable, then old journal segments are free."""

    def __init__(self, keeper: Housekeeper, oldest: int) -> None:
        self._keeper = keeper
        self._oldest = oldest
        self._long = keeper.log_pages > _LOG_PAGES
        self._settled = frozenset(keeper.state.settling)
        self._path = keeper.state.store / database.NAME

    def run(self) -> None:
        """Waits for the disk, and moves the write-ahead log into the database where it has become long.

        Raises `OSError`. Where the disk did not take something, nothing more is written until the store is reopened:
        the kernel may call clean what never reached the disk, so that the next try would succeed and mean nothing,
        and the journal, which has it all, would be given free.
        """
        log = self._path.with_name(self._path.name + "-wal")
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)
        except OSError as problem:
            self._keeper.state.fail(problem, "the disk does not take the metadata database")
            raise
        finally:
            os.close(descriptor)
        if self._long:
            self._shorten()

    def _shorten(self) -> None:
        # As far as readers allow; SQLite starts the log again from its beginning by itself.
        state = self._keeper.state
        try:
            with database.connected(self._path, state.database_key) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except (StoreFullError, *database.LATER):
            pass  # the log, which is on disk, has it all; the next checkpoint tries again
        except (database.Error, StoreDamagedError) as problem:
            failure = OSError(errno.EIO, str(problem))
            state.fail(failure, "the metadata database cannot be written")
            raise failure from problem

    def apply(self) -> Work | None:
        """Frees what the durable database no longer needs, and lets the cache evict what it says was published."""
        self._keeper.state.journal.release(self._oldest)
        self._keeper.state.settling -= self._settled
        return None


class SpareWork:
    """Prepares a journal segment before one is needed."""

    def __init__(self, keeper: Housekeeper) -> None:
        self._keeper = keeper
        self._journal = keeper.state.journal
        self._number = self._journal.take_number()

    def run(self) -> None:
        """Fills a new file with zeros. Raises `OSError`; then other work has its turn before the next try."""
        try:
            self._slot = self._journal.prepare_slot(self._number)
        except OSError:
            self._keeper.no_spare_before = clock.steady() + SPARE_NS
            raise

    def apply(self) -> Work | None:
        """Offers it, unless the tree could not wait and made one itself."""
        self._journal.add_slot(self._slot)
        return None
