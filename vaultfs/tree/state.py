"""The shared state of the working tree: inodes, changes, and what happens when something goes wrong.

A call of the tree that changes something runs `begin`, its `put_*` and `drop_*` primitives, and `end`. Each
primitive changes the database's open transaction (or the in-memory copy) and notes the change; `end` seals all of
them into one journal frame before the call returns. A replay after a crash applies the same changes again.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from vaultfs import clock
from vaultfs.crypto.sealing import OVERHEAD
from vaultfs.tree import inode as inodes
from vaultfs.tree.changes import Changes
from vaultfs.tree.file_ids import FileIds
from vaultfs.tree.journal import Journal, PageRun, Segment
from vaultfs.tree.rows import PROBES, Device, Name, Rows, hash_of
from vaultfs.tree.rush import Rush
from vaultfs.tree.statements import error

if TYPE_CHECKING:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import apsw

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.format.journal import Change
    from vaultfs.tree.inode import Inode

_CACHED = 16384
_LET_GO = 1 << 18  # blocks that are remembered; without it they are only sealed again
_SPARE = 16 << 10  # room for the changes of any one call
LOW_SPACE = 48 << 20
_SPACE_CHECK_NS = 250_000_000
RULES = b".vaultignore"  # see vaultfs.tree.scope


class Op:
    """The kinds of change in a journal frame; numbers are for ever (docs/format.md)."""

    INODE = 0  # ino, record or nil
    NAME = 1  # parent, cookie, name, ino or 0, placed
    BLOCK = 2  # blk, id, pack, number, offset, length, size, codec
    EXTENT = 3  # ino, idx, blk or 0, valid
    CUT = 4  # ino, first idx: extents from there on are gone
    PAGES = 5  # ino, page, length: the frame's data
    CLEAN = 6  # ino, first page, end page: no longer in the journal
    XATTR = 7  # ino, name, value or nil
    PACK = 8  # pack, id, state; id nil: the pack and its blocks are gone
    QUIET = 9  # comes first; what the frame changes is no edit made here
    FOLD = 10  # ino, what is in it as in table folded, or nil
    ARRIVED = 11  # file id, ino
    CAUGHT_UP = 12  # parent, name: it is what the last commit has
    DEVICE = 13  # row, id, label


class State(Rows):
    """What every part of the tree shares. Used from one thread only."""

    def __init__(self, store: Path, keys: VaultKeys, db: apsw.Connection, journal: Journal, *, read_only: bool) -> None:
        super().__init__(db)
        self.store = store
        self.keys = keys
        self.journal = journal
        self.read_only = read_only
        self.device = 1
        self.counter = 1
        self.next_ino = inodes.ROOT + 1
        self.next_blk = 1
        self.next_pack = 1
        self.files = 0
        self.directories = 0
        self.bytes = 0
        self.pages: dict[int, dict[int, PageRun]] = {}
        self.dirty: dict[int, Inode] = {}
        self.changes = Changes()
        self.rush = Rush()
        # Rows of blocks that files here had at the last cut, and let go since: the base has them still. What was
        # taken over by a cut that is being committed stands apart.
        self.let_go: set[int] = set()
        self.let_go_before: set[int] = set()
        self.settling: set[int] = set()  # packs on the remote, of which the database on disk does not say so yet
        self.recording = False  # whether what is changed now is recorded there
        self.changed = 0  # changes in the open transaction
        self.quiet = False  # what is changed now comes from a commit: it is no edit, and nobody here is its writer
        self._hot: dict[int, Inode] = {}
        self._cold: dict[int, Inode] = {}
        self._touched: dict[int, Inode] = {}
        self._changes: list[Change] = []
        self._space_checked = 0
        self.database_key = b""
        self.file_ids = FileIds()
        self.copy: TemporaryDirectory[str] | None = None  # where the database is, if the store cannot be written

    def load_totals(self) -> None:
        """Takes counters and totals from the database."""
        for name in ("counter", "next_ino", "next_blk", "next_pack", "files", "directories", "bytes"):
            setattr(self, name, self.meta(name))

    def forget_all(self) -> None:
        """Drops what is in memory beside the database, after the open transaction was lost."""
        self.roll_back()
        for cache in (self.pages, self.dirty, self._hot, self._cold, self._touched):
            cache.clear()
        self._changes.clear()
        self.devices.clear()
        self.quiet = False
        next_pack = self.next_pack
        self.load_totals()
        # What the journal knows nothing of, like packs of the remote, is gone; somebody may still speak of it by its
        # number, and it must not come to mean a pack that is written here.
        self.next_pack = max(next_pack, self.next_pack)

    # -- one change

    def begin(self, size: int = 0, *, grows: bool = True, quiet: bool = False) -> int:
        """Starts a change whose frame has at most `size` bytes of data; returns the time, in ns.

        `quiet`: what is changed up to the next `end` is no edit made here: not recorded for the next commit, and
        `stamp` changes no version.

        Raises `OSError` before anything is changed: EROFS, EIO, or ENOSPC when it `grows` and room is low.
        """
        if self.read_only:
            raise error(errno.EROFS)
        if self.failed:
            raise error(self.failed)
        now = clock.tick()
        if grows and not 0 <= now - self._space_checked <= _SPACE_CHECK_NS:  # the clock may have been set back
            if self.disk_full():
                raise error(errno.ENOSPC)
            self._space_checked = now
        self.journal.reserve(size + _SPARE)
        self.quiet = quiet
        self.recording = self.changes.enabled and not quiet
        return now

    def disk_full(self) -> bool:
        """Whether the disk has no more room than the store itself needs to go on."""
        return self.room() < LOW_SPACE

    def room(self) -> int:
        """Bytes that are free on the disk."""
        disk = os.statvfs(self.store)
        return disk.f_bavail * disk.f_frsize

    def end(self, data: bytes | memoryview = b"") -> tuple[Segment, int]:
        """Seals the changes since `begin` into the journal."""
        changes, self._changes = self._changes, []
        if self._touched:
            changes += [(Op.INODE, ino, inodes.encode(node)) for ino, node in self._touched.items()]
            self._touched.clear()
        if self.quiet:
            changes.insert(0, (Op.QUIET,))
            self.quiet = False
        self.changed += len(changes)
        try:
            return self.journal.append(changes, data)
        except OSError as problem:
            self.fail(problem, "the journal cannot be written")
            raise

    def end_unlogged(self) -> None:
        """Ends a change that the journal is not told of: it is committed at once, or a crash may take it back."""
        self.changed += 1
        self._changes.clear()
        self._touched.clear()
        self.quiet = False

    def fail(self, problem: OSError, what: str) -> None:
        """Stops all later changes; what was acknowledged is in the journal. Safe in any thread."""
        self.failed = problem.errno or errno.EIO
        self.unhealthy(f"{what}: {os.strerror(self.failed)}; unmount and mount again when that is mended")

    def note(self, *change: Any) -> None:
        """Adds a change to the frame that `end` writes."""
        self._changes.append(change)

    @property
    def pending(self) -> bool:
        """Whether there are changes that `end` has not sealed yet."""
        return bool(self._changes or self._touched)

    # -- inodes

    def find(self, ino: int) -> Inode | None:
        """The inode, or None."""
        node = self._hot.get(ino)
        if node is None:
            node = self.dirty.get(ino) or self._cold.get(ino)
            if node is None:
                record = self.one("SELECT rec FROM inode WHERE ino=?", ino)
                if record is None:
                    return None
                node = inodes.decode(record)
            self._keep(ino, node)
        return node

    def inode(self, ino: int) -> Inode:
        """The inode. Raises ENOENT."""
        node = self._hot.get(ino) or self.find(ino)
        if node is None:
            raise error(errno.ENOENT)
        return node

    def known(self, ino: int, record: bytes) -> Inode:
        """The inode that the database has as `record`, newer if it was changed since; does not fill the cache."""
        return self.dirty.get(ino) or self._hot.get(ino) or inodes.decode(record)

    def _keep(self, ino: int, node: Inode) -> None:
        if len(self._hot) >= _CACHED:
            # Two generations instead of a list in order of use: forgetting costs nothing per access.
            self._cold, self._hot = self._hot, {}
        self._hot[ino] = node

    def put_inode(self, node: Inode) -> None:
        """The inode was changed (or is new)."""
        ino = node.ino
        if ino not in self.dirty:
            self.dirty[ino] = node
            self._keep(ino, node)
        self._touched[ino] = node

    def stamp(self, node: Inode, now: int) -> None:
        """This device changed the inode's content or attributes: it is the last writer."""
        if not self.quiet:
            if self.recording and node.ino not in self.changes.inodes:
                self.changes.add_inode(node.ino, whole=not node.writer)  # without a writer it is just being made
            node.writer = self.device
            node.counter = self.counter
            node.written = now
        self.put_inode(node)

    def drop_inode(self, node: Inode) -> None:
        """The inode and all that belongs to it are gone."""
        ino = node.ino
        self.changes.forget(ino)
        self.dirty.pop(ino, None)
        self._hot.pop(ino, None)
        self._cold.pop(ino, None)
        self._touched.pop(ino, None)
        self.count(node, -1)
        self.forget_inode(ino)
        if node.id:
            self.run("DELETE FROM arrived WHERE id=? AND ino=?", node.id, ino)
        self.note(Op.INODE, ino, None)

    def forget_inode(self, ino: int) -> None:
        """Removes the rows and pages of an inode."""
        self.clean_pages(ino, 0, 1 << 62)
        self.run("DELETE FROM inode WHERE ino=?", ino)
        self.run("DELETE FROM extent WHERE ino=?", ino)
        self.run("DELETE FROM xattr WHERE ino=?", ino)
        self.run("DELETE FROM orphan WHERE ino=?", ino)
        self.run("DELETE FROM folded WHERE ino=?", ino)

    def lets_go(self, ino: int, first: int, last: int) -> None:
        """The file gives up its blocks from index `first` to `last`, by an edit made here."""
        if not self.quiet and len(self.let_go) < _LET_GO:
            rows = self.all("SELECT blk FROM extent WHERE ino=? AND idx BETWEEN ? AND ?", ino, first, last)
            self.let_go.update(blk for (blk,) in rows)

    def count(self, node: Inode, sign: int) -> None:
        """Keeps the totals of `status`."""
        if node.is_dir:
            self.directories += sign
        else:
            self.files += sign
            self.bytes += sign * node.size

    # -- names

    def put_name(
        self, parent: int, cookie: int, name: bytes, ino: int, placed: int | None = None, *, was: int | None = None
    ) -> None:
        """The entry now names `ino`; `placed` as in the schema, None: here and now.

        `was`: the inode that it named (0: none), None: the caller has not looked.
        """
        if placed is None:
            placed = self.device << 48 | self.counter
        if self.changes.enabled:
            self.name_changes(parent, cookie, name, was)
        self.set_name(parent, cookie, name, ino, placed)
        self.note(Op.NAME, parent, cookie, name, ino, placed)

    def drop_name(self, parent: int, cookie: int, was: Name | None = None) -> None:
        """The entry is gone; `was`: how it stood there, None: the caller has not looked."""
        if self.changes.enabled:
            if was is None:
                self.name_changes(parent, cookie)
            else:
                self.name_changes(parent, cookie, was.name, was.ino)
        self.run("DELETE FROM dirent WHERE parent=? AND cookie=?", parent, cookie)
        self.note(Op.NAME, parent, cookie, b"", 0, 0)

    def name_changes(self, parent: int, cookie: int, name: bytes | None = None, old: int | None = None) -> None:
        """Records that the entry is about to be changed; `name`, and the inode that it names, where they are known."""
        changes = self.changes
        if name is not None and name != RULES and (not self.recording or (parent, name) in changes.names):
            return
        if old is None:
            name, old = self.one("SELECT name, ino FROM dirent WHERE parent=? AND cookie=?", parent, cookie) or (
                name,
                0,
            )
        if name is None:
            return
        if name == RULES:
            changes.rules_changed.add(parent)
        if self.recording and (parent, name) not in changes.names:
            changes.add_name((parent, name), old, folder=self._is_folder(old))

    def _is_folder(self, ino: int) -> bool:
        if not ino:
            return False  # the name is new: nothing to ask for
        # Not by `find`: that keeps what it finds, and a replay is not done yet with what it would find.
        node = self._hot.get(ino) or self.dirty.get(ino) or self._cold.get(ino)
        if node is None:
            record = self.one("SELECT rec FROM inode WHERE ino=?", ino)
            return record is not None and inodes.decode(record).is_dir
        return node.is_dir

    def block_changes(self, ino: int, idx: int) -> None:
        """Records that block `idx` of the file gets another content."""
        if self.recording:
            self.changes.add_block(ino, idx)

    # -- pages in the journal

    def set_pages(self, ino: int, run: PageRun) -> None:
        """`run` is now the newest content of its pages."""
        pages = self.pages.get(ino)
        if pages is None:
            pages = self.pages[ino] = {}
        first = run.page
        for page in range(first, first + inodes.next_page(run.length)):
            old = pages.get(page)
            if old is not None:
                old.segment.live -= 1
            pages[page] = run
            run.segment.live += 1

    def clean_pages(self, ino: int, first: int, end: int) -> bool:
        """Pages `first` to `end` (exclusive) are no longer taken from the journal; True if there were any."""
        pages = self.pages.get(ino)
        if not pages:
            return False
        if end - first < len(pages):
            gone = [page for page in range(first, end) if page in pages]
        else:
            gone = [page for page in pages if first <= page < end]
        for page in gone:
            pages.pop(page).segment.live -= 1
        if not pages:
            del self.pages[ino]
        return bool(gone)

    @staticmethod
    def run_of(segment: Segment, frame: int, page: int, length: int) -> PageRun:
        """The pages of the frame just written at `frame`."""
        sealed = length + OVERHEAD
        # The sealed data ends where the frame does, but for its padding.
        return PageRun(segment, frame, segment.last_lsn, segment.data_end - sealed, sealed, page, length)

    # -- what comes from commits

    def put_folded(self, ino: int, ref: bytes | None) -> None:
        """What is in the inode, while nobody has looked at it yet; None: it is in the other tables."""
        self.set_folded(ino, ref)
        self.note(Op.FOLD, ino, ref)

    def put_arrived(self, file_id: bytes, ino: int) -> None:
        """The file with this id is (also) this inode."""
        self.set_arrived(file_id, ino)
        self.note(Op.ARRIVED, file_id, ino)

    def put_device(self, number: int, device: Device) -> None:
        """The device in row `number`."""
        self.set_device(number, *device)
        self.note(Op.DEVICE, number, *device)

    # -- xattrs

    def put_xattr(self, ino: int, name: bytes, value: bytes) -> None:
        """The attribute has this value."""
        self.run("INSERT OR REPLACE INTO xattr VALUES(?,?,?)", ino, name, value)
        self.note(Op.XATTR, ino, name, value)

    def drop_xattr(self, ino: int, name: bytes) -> None:
        """The attribute is gone."""
        self.run("DELETE FROM xattr WHERE ino=? AND name=?", ino, name)
        self.note(Op.XATTR, ino, name, None)


__all__ = ["LOW_SPACE", "PROBES", "RULES", "Device", "Name", "Op", "State", "hash_of"]
