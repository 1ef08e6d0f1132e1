"""The working tree as the rest of the program sees it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.tree import database
from vaultfs.tree import inode as inodes
from vaultfs.tree.arrivals import Arrivals
from vaultfs.tree.attributes import Attributes
from vaultfs.tree.blocks import Blocks
from vaultfs.tree.cache import Cache
from vaultfs.tree.content import Content
from vaultfs.tree.cut import Cut, Scoping
from vaultfs.tree.handles import Handles
from vaultfs.tree.housekeeping import Housekeeper, Work
from vaultfs.tree.inode import ROOT, Inode
from vaultfs.tree.leaving import Leaving
from vaultfs.tree.ledger import Ledger
from vaultfs.tree.names import Names
from vaultfs.tree.state import LOW_SPACE, Device, State
from vaultfs.tree.sync import not_on_disk
from vaultfs.tree.whereabouts import shown_path
from vaultfs.tree.xattrs import Xattrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.tree.replay import StartupReport
    from vaultfs.tree.sync import Ticket

KEPT_SLOTS = 2


class TreeStats(NamedTuple):
    """Totals for `status`. Sizes in bytes; `commit` is the counter that changes made now will carry.

    `garbage_bytes`: in packs and used by no file, as the last collection of this run left it.
    """

    files: int
    directories: int
    bytes: int
    dirty_bytes: int
    journal_bytes: int
    pack_bytes: int
    garbage_bytes: int
    format_version: int
    commit: int


class OpenFile(NamedTuple):
    """A file open for writing: its path, who has it, since when (ns since 1970)."""

    path: str
    pid: int
    since_ns: int


class Tree:
    """One open store. Plain calls that never wait; used from one thread.

    `names`, `content`, `attributes`, `xattrs` and `handles` are its parts. See `vaultfs.tree.opening` for how a
    store is made and opened.
    """

    def __init__(self, state: State, report: StartupReport) -> None:
        self.state = state
        self.startup = report
        self.ledger = Ledger(state)
        blocks = self.blocks = Blocks(state)
        self.cache = Cache(state, blocks, self.ledger)
        self.handles = Handles()
        self.arrivals = Arrivals(state, blocks, self.ledger, self.handles)
        self.xattrs = Xattrs(state, self.device)
        self.names = Names(state, self.xattrs)
        self.content = Content(state, blocks, self.arrivals.folds)
        self.attributes = Attributes(state, self.content, self.xattrs)
        self.keeper = Housekeeper(state, blocks)
        self.keeper.evict = self.cache.make_room
        self.changes = state.changes
        self.rules = Scoping()
        self._closed = False

    @property
    def health(self) -> list[str]:
        """The problems found so far; empty when all is well."""
        state = self.state
        if state.read_only or not state.disk_full():
            return list(state.health)
        return [*state.health, f"the disk is full: less than {LOW_SPACE >> 20} MiB are free, so nothing new is taken"]

    def device(self, number: int) -> Device:
        """The device in row `number` of the device table."""
        devices = self.state.devices
        device = devices.get(number)
        if device is None:
            row = self.state.all("SELECT id, label FROM device WHERE device=?", number)
            device = devices[number] = Device(*row[0]) if row else Device(bytes(16), "?")
        return device

    def be(self, device: bytes, label: str) -> None:
        """What is changed here from now on is by this device."""
        self.state.device = self.ledger.device_row(device, label)

    def read_ahead(self) -> None:
        """Has what names and attributes are in read from the disk, before somebody waits for it. In any thread."""
        database.read_ahead(self.state.store / database.NAME)

    def inode(self, ino: int) -> Inode:
        """The inode's attributes. Raises ENOENT."""
        return self.state.inode(ino)

    def forget(self, *inodes: int) -> None:
        """The kernel no longer knows these: those that have no name either are gone, by one record of the journal.

        Where the disk takes nothing just now they go later, since nobody says it twice.
        """
        state = self.state
        # Once each: what was forgotten, looked up again, removed and forgotten comes twice.
        gone = [node for ino in dict.fromkeys(inodes) if (node := self._nameless(ino)) is not None]
        if not gone:
            return
        try:
            state.begin(grows=False)
        except OSError:
            for node in gone:
                self.arrivals.leaving.add(node.ino)
            return
        for node in gone:
            if not self.arrivals.replaced(node.ino):
                state.lets_go(node.ino, 0, (1 << 63) - 1)
            state.drop_inode(node)
        state.end()

    def _nameless(self, ino: int) -> Inode | None:
        """The inode, if nobody can come to it any more."""
        state = self.state
        node = state.dirty.get(ino) or state.find(ino)
        if node is None or node.nlink or ino == ROOT or self.handles.is_open(ino) or state.read_only:
            return None
        if self.arrivals.is_staged(ino) or (node.is_dir and self.arrivals.leaving.holds(ino)):
            return None
        return node

    def sync(self) -> Ticket | None:
        """What fsync must wait for; None where everything is on disk already. Raises `OSError`."""
        state = self.state
        if state.failed:
            raise OSError(state.failed, os.strerror(state.failed))
        return not_on_disk(state, self.blocks)

    def sync_soon(self) -> None:
        """Likely somebody asks for `sync` next, now that something was written."""
        self.state.journal.begin_writing()

    def begins_writing(self, beside: Callable[[Callable[[], None]], None]) -> None:
        """From now on `beside` has another thread call what sends much that was written on its way to the disk."""
        self.state.journal.beside = beside

    @property
    def crowded(self) -> bool:
        """Whether a writer should wait until housekeeping has made room in the journal."""
        return self.keeper.crowded

    def tick(self) -> Work | None:
        """Housekeeping that is due: call `run` in a worker thread, then `apply`, which may return more."""
        return self.keeper.due() or self.arrivals.due()

    def start_tracking(self) -> None:
        """There is a base: what is changed from now on is recorded for the next commit."""
        self.changes.start()
        self.state.changed += 1

    def cut(self, rules: Scoping | None = None, *, everything: bool = False) -> Cut:
        """The changes since the last cut, at this instant; see `Cut` for how it goes on and what it raises.

        `rules`: what belongs to the vault. `everything`: the whole tree, for the first commit.
        """
        return Cut(self, rules or self.rules, everything=everything)

    @property
    def owner(self) -> tuple[int, int]:
        """The uid and gid that stand for whoever mounts the vault: those of its root."""
        root = self.state.inode(ROOT)
        return root.uid, root.gid

    def statfs(self) -> os.statvfs_result:
        """The disk below the store."""
        return os.statvfs(self.state.store)

    def open_for_writing(self) -> list[OpenFile]:
        """Files that somebody has open for writing."""
        return [
            OpenFile(shown_path(self.state, handle.ino), handle.pid, handle.since) for handle in self.handles.writers()
        ]

    def stats(self) -> TreeStats:
        """Totals."""
        state = self.state
        # All pages of a run belong to one file and one segment; 4 KiB each is near enough for people.
        dirty = sum(len(pages) for pages in state.pages.values()) * inodes.PAGE
        return TreeStats(
            state.files,
            state.directories,
            state.bytes,
            dirty,
            state.journal.file_bytes,
            self.blocks.file_bytes(),
            self.blocks.garbage_bytes,
            database.FORMAT,
            state.counter,
        )

    def flush(self, *, closing: bool = False) -> None:
        """Seals everything and makes a checkpoint, waiting for the disk."""
        state, keeper = self.state, self.keeper
        if state.read_only or state.failed:
            return
        while (work := keeper.seal(everything=True)) is not None:
            before = sum(map(len, state.pages.values()))
            work.run()
            work.apply()
            if sum(map(len, state.pages.values())) == before:
                break  # what is left cannot be read, so it cannot be sealed
        self._checkpoint(closing=closing)

    def _checkpoint(self, *, closing: bool) -> None:
        self.keeper.sync_inline()
        state = self.state
        oldest = self.keeper.commit(closing=closing)
        try:
            state.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except database.Error as problem:
            raise state.database_failed(problem) from problem
        state.journal.release(oldest)
        state.settling.clear()

    def close(self) -> None:
        """Seals, makes everything durable and closes the store; what the kernel still held open is let go.

        Raises `OSError` when the disk does not take it; then the journal has it, and the next start replays it.
        """
        if self._closed:
            return
        self._closed = True
        state, blocks = self.state, self.blocks
        try:
            if not state.read_only and not state.failed:
                drop_orphans(state)
                self.flush(closing=True)
                writers = [writer for writer in (blocks.writer, self.keeper.sealer) if writer is not None]
                if writers:
                    state.begin(grows=False)
                    for writer in writers:
                        blocks.finish(writer)
                    state.end()
                    self._checkpoint(closing=True)
                state.journal.shrink(KEPT_SLOTS)
        finally:
            state.journal.close()
            state.db.close()
            if state.copy is not None:
                state.copy.cleanup()


def drop_orphans(state: State) -> None:
    """Removes what had lost its last name but was still open when the store was last in use."""
    leaving = Leaving(state)
    for (ino,) in state.all("SELECT ino FROM orphan"):
        node = state.find(ino)
        if node is None or node.nlink:
            state.run("DELETE FROM orphan WHERE ino=?", ino)
        else:
            leaving.add(ino)
    leaving.finish()
