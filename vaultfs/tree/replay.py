"""Start after a crash: the journal's frames are applied again, in order.

Every change is an absolute statement about one row, so applying one twice does no harm. The journal ends at the
first frame that is torn, or whose block never reached the disk, as long as no later frame says that it had been
durable; where one does, the store is damaged, and what can be had is had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaultfs import clock
from vaultfs.crypto.sealing import OpenFailedError
from vaultfs.durable import from_the_disk
from vaultfs.errors import StoreDamagedError
from vaultfs.format.journal import HEADER_BYTES, PREFIX_BYTES, Frame
from vaultfs.format.pack import Entry, Kind, PackDamagedError
from vaultfs.tree import inode as inodes
from vaultfs.tree.content import PAGES_PER_BLOCK, outgrows
from vaultfs.tree.inode import ROOT, Inode
from vaultfs.tree.journal import PageRun, Segment
from vaultfs.tree.packs import Placed, path_of
from vaultfs.tree.state import Op

if TYPE_CHECKING:
    from vaultfs.tree.blocks import Blocks
    from vaultfs.tree.state import State


class StartupReport:
    """What was found and done when the store was opened. Sizes in bytes, times in seconds."""

    def __init__(self) -> None:
        self.clean = True
        self.records = 0
        self.bytes = 0
        self.seconds = 0.0
        self.dropped_bytes = 0
        self.notes: list[str] = []


class Replay:
    """One pass over the segments that the database still needs."""

    def __init__(self, state: State, blocks: Blocks, report: StartupReport, *, record: bool = True) -> None:
        self._state = state
        self._blocks = blocks
        self._report = report
        self._record = record  # whether changes are recorded for the next commit
        self._synced = 0
        self._packs: dict[int, bytes] = {}
        self._counted: dict[int, Inode | None] = {}
        self.touched: set[int] = set()  # packs that the frames began or ended

    def run(self, segments: list[Segment], after: int) -> int:
        """Applies the frames of `segments`; `after` is the lsn up to which the database has everything.

        Returns the last lsn.
        """
        started = clock.steady()
        self._synced = max(self._proven(segments), after)
        segments = _followed(segments)
        lsn = after
        for position, segment in enumerate(segments):
            first = segment.codec.first_lsn
            if (position and first != lsn + 1) or first > lsn + 1:
                if first > self._synced + 1 and lsn >= self._synced:
                    break  # it follows on a part that never became durable
                self._damage(f"records {lsn + 1} to {first - 1} are missing before {segment.slot.path.name}")
            limit = segments[position + 1].codec.first_lsn if position + 1 < len(segments) else None
            lsn = self._segment(segment, self._load(segment), limit, after)
        if lsn < self._synced:
            self._damage(f"records {lsn + 1} to {self._synced} are missing")
        self._finish()
        self._report.seconds = (clock.steady() - started) / 1e9
        return max(lsn, self._synced)

    @staticmethod
    def _load(segment: Segment) -> bytes:
        with segment.slot.path.open("rb") as file:
            return file.read()

    def _proven(self, segments: list[Segment]) -> int:
        """The highest lsn that some frame says was on disk: up to there nothing may be missing."""
        for segment in reversed(segments):
            buffer, known = self._load(segment), -1
            at = buffer.find(segment.codec.mark, HEADER_BYTES)
            while at >= 0:
                frame = segment.codec.parse(buffer, at)
                if frame is not None:
                    known = max(known, frame.head.synced)
                at = buffer.find(segment.codec.mark, at + 1 if frame is None else frame.end)
            if known >= 0:
                return known
        return 0

    def _segment(self, segment: Segment, buffer: bytes, limit: int | None, after: int) -> int:
        """Applies a segment's frames up to its end; `limit` is the first lsn of the next segment."""
        offset, expected = HEADER_BYTES, segment.codec.first_lsn
        while limit is None or expected < limit:
            frame = segment.codec.parse(buffer, offset)
            if frame is None or frame.head.lsn != expected:
                if expected > self._synced:
                    self._tail(segment, buffer, offset)
                    break
                self._damage(f"{segment.slot.path.name} at byte {offset}")
                following = self._following(segment, buffer, offset)
                if following is None:
                    break
                offset, frame = following
                expected = frame.head.lsn
            if expected > self._synced and not self._all_there(segment, buffer, offset, frame):
                self._tail(segment, buffer, offset)
                break
            self._apply(segment, offset, frame, after)
            offset, expected = frame.end, expected + 1
        segment.used = offset
        segment.last_lsn = expected - 1
        return expected - 1

    @staticmethod
    def _following(segment: Segment, buffer: bytes, offset: int) -> tuple[int, Frame] | None:
        """The next authentic frame."""
        at = buffer.find(segment.codec.mark, offset + 1)
        while at >= 0:
            frame = segment.codec.parse(buffer, at)
            if frame is not None:
                return at, frame
            at = buffer.find(segment.codec.mark, at + 1)
        return None

    def _tail(self, segment: Segment, buffer: bytes, offset: int) -> None:
        """Reports what stands behind the last good frame: nothing, or a frame that was being written."""
        if buffer[offset : offset + 4] == segment.codec.mark:
            end = len(buffer.rstrip(b"\0"))
            self._report.dropped_bytes += max(end - offset, PREFIX_BYTES)
            self._report.notes.append(
                f"{segment.slot.path.name}: the last records were incomplete and are dropped, as after a power cut;"
                " no later record says that they had been on disk"
            )

    def _damage(self, what: str) -> None:
        self._report.clean = False
        self._state.unhealthy(f"the journal is damaged ({what}); changes written there are lost")

    def _all_there(self, segment: Segment, buffer: bytes, offset: int, frame: Frame) -> bool:
        """Whether the data of a frame not known to be durable reached the disk, and the blocks it speaks of."""
        if frame.data_length:
            sealed = buffer[frame.data_offset : frame.data_offset + frame.data_length]
            try:
                segment.codec.open_data(sealed, offset, frame.head.lsn)
            except OpenFailedError:
                return False
        for change in frame.head.changes:
            if change[0] == Op.PACK:
                self._met(change[1], change[2])
            elif change[0] == Op.BLOCK and change[3]:  # else it is on the remote, and nobody knows where
                _, _, identity, pack, number, offset, length, size, codec = change
                place = Placed(pack, number, Entry(Kind.BLOCK, identity, offset, length, size, codec))
                try:
                    self._blocks.reader.read(place, self._pack_id(pack))
                except (PackDamagedError, FileNotFoundError):
                    return False
        return True

    def _pack_id(self, number: int) -> bytes:
        known = self._packs.get(number)
        if known is None:
            known = self._met(number, self._state.one("SELECT id FROM pack WHERE pack=?", number))
        return known

    def _met(self, number: int, pack_id: bytes | None) -> bytes:
        """A pack of which it is not known whether its blocks are on disk; None: gone, or nobody knows of it."""
        self._packs[number] = pack_id or bytes(16)
        if pack_id:
            from_the_disk(path_of(self._blocks.directory, pack_id))
        return self._packs[number]

    def _apply(self, segment: Segment, offset: int, frame: Frame, after: int) -> None:
        state = self._state
        if frame.head.lsn <= after:
            state.recording = False
            # The database has it; only which pages are still taken from the journal stands nowhere else.
            for change in frame.head.changes:
                if change[0] in (Op.PAGES, Op.CLEAN):
                    self._change(segment, offset, frame, change)
                elif change[0] == Op.INODE and change[2] is None:
                    self._state.clean_pages(change[1], 0, 1 << 62)
            return
        self._report.records += bool(frame.head.changes)
        self._report.bytes += frame.end - offset
        quiet = frame.head.changes[:1] == [(Op.QUIET,)]
        state.recording = self._record and state.changes.enabled and not quiet
        for change in frame.head.changes:
            self._change(segment, offset, frame, change)

    def _change(  # noqa: C901, PLR0912  # one kind of change after the other
        self, segment: Segment, offset: int, frame: Frame, change: tuple[object, ...]
    ) -> None:
        state = self._state
        kind, rest = change[0], change[1:]
        if kind == Op.INODE:
            self._inode(*rest)  # type: ignore[arg-type]  # authenticated: our own records
        elif kind == Op.NAME:
            parent, cookie, name, ino, placed = rest
            if self._record and state.changes.enabled:
                state.name_changes(parent, cookie, name or None)  # type: ignore[arg-type]
            if ino:
                state.set_name(parent, cookie, name, ino, placed)  # type: ignore[arg-type]
            else:
                state.run("DELETE FROM dirent WHERE parent=? AND cookie=?", parent, cookie)
        elif kind == Op.PAGES:
            ino, page, length = rest
            state.block_changes(ino, page // PAGES_PER_BLOCK)  # type: ignore[arg-type,operator]
            run = PageRun(segment, offset, frame.head.lsn, frame.data_offset, frame.data_length, page, length)  # type: ignore[arg-type]
            state.set_pages(ino, run)  # type: ignore[arg-type]
        elif kind == Op.CLEAN:
            state.clean_pages(*rest)  # type: ignore[arg-type]
        elif kind == Op.EXTENT:
            ino, idx, blk, valid = rest
            state.block_changes(ino, idx)  # type: ignore[arg-type]
            if blk:
                state.run("INSERT OR REPLACE INTO extent VALUES(?,?,?,?)", ino, idx, blk, valid)
            else:
                state.run("DELETE FROM extent WHERE ino=? AND idx=?", ino, idx)
        elif kind == Op.CUT:
            if state.recording:
                state.changes.add_inode(rest[0], whole=True)  # type: ignore[arg-type]
            state.run("DELETE FROM extent WHERE ino=? AND idx>=?", *rest)
        elif kind == Op.BLOCK:
            state.run("INSERT OR REPLACE INTO block VALUES(?,?,?,?,?,?,?,?)", *rest)
            state.next_blk = max(state.next_blk, rest[0] + 1)  # type: ignore[operator]
        elif kind == Op.PACK:
            number, pack_id, finished = rest
            self.touched.add(number)  # type: ignore[arg-type]
            if pack_id is None:
                state.run("DELETE FROM block WHERE pack=?", number)
                state.run("DELETE FROM pack WHERE pack=?", number)
            else:
                state.run("INSERT OR REPLACE INTO pack VALUES(?,?,?)", number, pack_id, finished)
            state.next_pack = max(state.next_pack, rest[0] + 1)  # type: ignore[operator]
        elif kind == Op.QUIET:
            pass  # it says something of the frame, not of a row
        elif kind == Op.XATTR:
            self._xattr(*rest)  # type: ignore[arg-type]
        elif not self._from_commits(kind, *rest):
            raise StoreDamagedError(detail="the journal has a record of an unknown kind", object=segment.slot.path.name)

    def _from_commits(self, kind: object, *rest: Any) -> bool:
        """What has to do with what comes from commits; False for any other kind of change."""
        state = self._state
        if kind == Op.FOLD:
            state.set_folded(*rest)
        elif kind == Op.ARRIVED:
            state.set_arrived(*rest)
        elif kind == Op.CAUGHT_UP:
            state.run("DELETE FROM lag WHERE parent=? AND name=?", *rest)
        elif kind == Op.DEVICE:
            state.set_device(*rest)
        else:
            return False
        return True

    def _xattr(self, ino: int, name: bytes, value: bytes | None) -> None:
        if self._state.recording and ino not in self._state.changes.inodes:
            self._state.changes.add_inode(ino, whole=False)
        if value is None:
            self._state.run("DELETE FROM xattr WHERE ino=? AND name=?", ino, name)
        else:
            self._state.run("INSERT OR REPLACE INTO xattr VALUES(?,?,?)", ino, name, value)

    def _inode(self, ino: int, record: bytes | None) -> None:
        state = self._state
        if ino not in self._counted:
            old = state.one("SELECT rec FROM inode WHERE ino=?", ino)
            self._counted[ino] = None if old is None else inodes.decode(old)
        state.next_ino = max(state.next_ino, ino + 1)
        if record is None:
            state.changes.forget(ino)
            state.forget_inode(ino)
        else:
            node = inodes.decode(record)
            if state.recording and not state.changes.inodes.get(ino):
                old = state.one("SELECT rec FROM inode WHERE ino=?", ino)
                before = None if old is None else inodes.decode(old)
                if before is None or _edited(before, node):
                    state.changes.add_inode(ino, whole=before is None)
                    if before is not None and outgrows(before.size, node.size):
                        state.block_changes(ino, 0)
            state.run("INSERT OR REPLACE INTO inode VALUES(?,?)", ino, record)
            if node.writer == state.device:
                state.counter = max(state.counter, node.counter)
            if not node.nlink and ino != ROOT:
                state.put_orphan(ino)

    def _finish(self) -> None:
        """The totals, from the difference between before and now; pages of files that are gone."""
        state = self._state
        for ino, old in self._counted.items():
            if old is not None:
                state.count(old, -1)
            record = state.one("SELECT rec FROM inode WHERE ino=?", ino)
            if record is not None:
                state.count(inodes.decode(record), 1)
        for ino in list(state.pages):
            if state.one("SELECT 1 FROM inode WHERE ino=?", ino) is None:
                state.clean_pages(ino, 0, 1 << 62)


def _edited(before: Inode, after: Inode) -> bool:
    """Whether somebody changed content or attributes, as `State.stamp` would have recorded it."""
    if after.is_dir:
        # A directory is stamped by what happens to its names too.
        return (before.mode, before.uid, before.gid, before.scope) != (after.mode, after.uid, after.gid, after.scope)
    return (before.writer, before.counter, before.written) != (after.writer, after.counter, after.written)


def _followed(segments: list[Segment]) -> list[Segment]:
    """Without those that an earlier start gave up, since they followed on what never became durable.

    It went on with a new segment, from a number that is not above theirs: they are not what is missing before it.
    """
    out: list[Segment] = []
    for segment in reversed(segments):
        if not out or segment.codec.first_lsn <= out[-1].codec.first_lsn:
            out.append(segment)
    return out[::-1]


def restore(state: State, blocks: Blocks) -> None:
    """Brings the open transaction back after SQLite had to give it up: the journal has all of it.

    Nothing is written, so it works on a full disk. Raises `OSError` or `StoreDamagedError`.
    """
    journal = state.journal
    state.forget_all()
    blocks.forget_all()
    for segment in journal.segments:
        segment.live = 0
    lsn, synced = journal.lsn, journal.synced
    state.changes.lost()  # it forgets nothing, so nothing is recorded again
    Replay(state, blocks, StartupReport(), record=False).run(list(journal.segments), state.meta("lsn"))
    journal.lsn, journal.synced = lsn, synced
    # The changes are there again and still to be committed.
    state.changed = 1
    state.failed = 0
