"""The local journal: every change is here, sealed, before its request is answered.

A ring of segment files of fixed size. Frames are written in place into space that was filled with zeros before,
so that making them durable is one `fdatasync` that flushes data and changes no file size. A segment is used again
once its frames are in the database on disk and none of its pages is the newest of its file.
"""

from __future__ import annotations

import os
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from vaultfs.crypto.keys import ID_BYTES, VaultKeys
from vaultfs.crypto.sealing import OpenFailedError
from vaultfs.durable import AHEAD_BYTES, begin_writing, sync_path
from vaultfs.format.journal import HEADER_BYTES, SEGMENT_BYTES, Change, SegmentCodec, parse_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CHUNK = bytes(1 << 20)
_NOTE_BYTES = 256
_PAGE = 4096
_SHORT = 16 << 10  # what is shorter is copied together: that costs less than to write it in pieces


class Slot:
    """One segment file, open for as long as the store is."""

    __slots__ = ("fd", "path")

    def __init__(self, path: Path, *, create: bool, read_only: bool = False) -> None:
        self.path = path
        flags = os.O_RDONLY if read_only else os.O_RDWR | (os.O_CREAT if create else 0)
        self.fd = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Closes the file; once is enough."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Segment:
    """A segment in use. `live`: pages in it that are the newest of their file. `pins`: who else still reads in it."""

    __slots__ = ("codec", "data_end", "last_lsn", "live", "pins", "slot", "used")

    def __init__(self, slot: Slot, codec: SegmentCodec) -> None:
        self.slot = slot
        self.codec = codec
        self.used = HEADER_BYTES
        self.live = 0
        self.pins = 0
        self.data_end = 0  # of the newest frame: where its sealed data ends
        self.last_lsn = codec.first_lsn - 1


class PageRun:
    """The data of one frame: `length` bytes of a file from page `page`. Shared by all the pages it holds."""

    __slots__ = ("frame_offset", "length", "lsn", "offset", "page", "sealed", "segment")

    def __init__(
        self, segment: Segment, frame_offset: int, lsn: int, offset: int, sealed: int, page: int, length: int
    ) -> None:
        self.segment = segment
        self.frame_offset = frame_offset
        self.lsn = lsn
        self.offset = offset
        self.sealed = sealed
        self.page = page
        self.length = length

    def read(self) -> bytes:
        """The plain bytes. Safe in any thread. Raises `OpenFailedError` when the journal is damaged there."""
        sealed = os.pread(self.segment.slot.fd, self.sealed, self.offset)
        if len(sealed) != self.sealed:
            raise OpenFailedError
        return self.segment.codec.open_data(sealed, self.frame_offset, self.lsn)


class Journal:
    """Appends frames; knows which segments are in use, free, and not yet on disk."""

    def __init__(self, directory: Path, keys: VaultKeys, slots: list[Slot], lsn: int) -> None:
        self.directory = directory
        self._keys = keys
        self._slots = slots
        self.free: deque[Slot] = deque()
        self.segments: deque[Segment] = deque()
        self.lsn = lsn  # of the last frame written
        self.synced = lsn  # of the last frame known to be on disk
        #: Has another thread call what does not wait for anything, but could be long at it; nobody does of itself.
        self.beside: Callable[[Callable[[], None]], None] = lambda _: None
        self._tail = b""  # what the newest segment has in its last page
        self._begun = 0  # up to there it is on its way to the disk, but for its last page
        self.note = -1  # of the last frame that only said so
        self.bytes_since_checkpoint = 0
        self._number = 0
        self._slot_count = 1 + max((int(slot.path.name.rpartition("-")[2]) for slot in slots), default=-1)
        self._frozen = True  # the newest segment was written by an earlier run: it is never continued

    @staticmethod
    def find_slots(directory: Path, *, read_only: bool = False) -> list[Slot]:
        """The segment files of a store, opened."""
        return [Slot(path, create=False, read_only=read_only) for path in sorted(directory.glob("segment-*"))]

    @property
    def newest(self) -> int:
        """The number of the newest segment."""
        return self._number

    def take_number(self) -> int:
        """The number of the next segment file."""
        self._slot_count += 1
        return self._slot_count - 1

    def prepare_slot(self, number: int) -> Slot:
        """A new segment file filled with zeros, durable in its directory. Safe in any thread."""
        slot = Slot(self.directory / f"segment-{number:04d}", create=True)
        try:
            for offset in range(0, SEGMENT_BYTES, len(_CHUNK)):
                os.pwrite(slot.fd, _CHUNK, offset)
            os.fdatasync(slot.fd)
            sync_path(self.directory)
        except OSError:
            os.close(slot.fd)
            slot.path.unlink(missing_ok=True)
            raise
        return slot

    def add_slot(self, slot: Slot) -> None:
        """Takes a slot made by `prepare_slot` into use."""
        self._slots.append(slot)
        self.free.append(slot)

    def adopt(self, segments: list[Segment], number: int) -> None:
        """Segments found at start, which are read but never written again."""
        self.segments.extend(segments)
        self._number = number
        used = {id(segment.slot) for segment in segments}
        self.free.extend(slot for slot in self._slots if id(slot) not in used)

    def begin_segment(self) -> None:
        """Starts a segment with a new id in a free slot. Raises `OSError` when the disk is full."""
        if not self.free:
            self.add_slot(self.prepare_slot(self.take_number()))
        slot = self.free[0]
        codec = SegmentCodec(self._keys, os.urandom(ID_BYTES), self._number + 1, self.lsn + 1)
        self._tail, self._begun = b"", 0
        self._put(slot.fd, [codec.header()], 0)
        self.free.popleft()
        self._number += 1
        self.segments.append(Segment(slot, codec))

    def _put(self, descriptor: int, pieces: list[bytes], offset: int) -> int:
        """Writes them at `offset`, where the last write ended, as whole pages; returns where they end.

        The first page is written again with what was in it already, the last one is filled up with zeros: the kernel
        need not read a page that has left its cache to change a part of it (measured: 60 to 100 µs for each).
        """
        start, end = offset - len(self._tail), offset + sum(map(len, pieces))
        pages = [self._tail, *pieces, bytes(-end % _PAGE)]
        if end - start < _SHORT:
            pages = [b"".join(pages)]
            done = start + os.pwrite(descriptor, pages[0], start)
        else:
            done = start + os.pwritev(descriptor, pages, start)
        while done < end:  # the disk is about to be full
            done += os.pwrite(descriptor, b"".join(pages)[done - start :], done)
        if len(pages) > 1:  # no more is looked at than could be in the last page
            pages = [b"".join([piece[-_PAGE:] for piece in pages])]
        last = len(pages[0]) - (-end % _PAGE)
        self._tail = pages[0][last - end % _PAGE : last]
        return end

    def reserve(self, size: int) -> None:
        """Makes sure that a frame of `size` bytes fits, before anything is changed. Raises `OSError`."""
        if not self.segments or self.segments[-1].used + size > SEGMENT_BYTES or self._frozen:
            self.begin_segment()
            self._frozen = False

    def append(self, changes: list[Change], data: bytes | memoryview = b"") -> tuple[Segment, int]:
        """Writes one frame; returns its segment and its offset there. `reserve` comes first."""
        segment = self.segments[-1]
        offset = segment.used
        lsn = self.lsn + 1
        frame = segment.codec.frame(offset, (lsn, self.synced, changes), data)
        segment.used = self._put(segment.slot.fd, frame, offset)
        self.lsn = segment.last_lsn = lsn
        segment.data_end = segment.used - len(frame[-1])
        self.bytes_since_checkpoint += segment.used - offset
        if segment.used - self._begun > AHEAD_BYTES:
            self.beside(self._begins(segment))
        return segment, offset

    def begin_writing(self) -> None:
        """Sends what was appended on its way to the disk, and waits for nothing: an fsync will have less to do."""
        if self.segments:  # else nothing was: not since the start either
            self._begins(self.segments[-1])()

    def _begins(self, segment: Segment) -> Callable[[], None]:
        begun, self._begun = self._begun, segment.used - segment.used % _PAGE
        return partial(begin_writing, segment.slot.fd, begun, segment.used - begun)

    def confirm(self) -> None:
        """Notes, in an empty frame, what is now known to be on disk.

        The note itself is not synced. It survives SIGKILL, and then tells damage in what fsync had confirmed from
        what a power cut may have taken.
        """
        segment = self.segments[-1] if self.segments else None
        if segment is None or self._frozen or segment.used + _NOTE_BYTES > SEGMENT_BYTES:
            return
        self.append([])
        self.note = self.lsn

    @property
    def all_synced(self) -> bool:
        """Whether every change is on disk; a note that stands behind changes of others proves nothing of them."""
        return self.lsn == self.synced or (self.lsn == self.note == self.synced + 1)

    def unsynced(self) -> list[Slot]:
        """The files of segments that are not known to be on disk up to their end.

        One that was just begun counts: its header must be there before the database says that it is needed.
        """
        return [segment.slot for segment in self.segments if segment.last_lsn >= self.synced]

    def needed(self, lsn: int, *, closing: bool = False) -> int:
        """The number of the oldest segment that is needed once the database has everything up to `lsn`."""
        for position, segment in enumerate(self.segments):
            newest = position == len(self.segments) - 1
            if segment.last_lsn > lsn or segment.live or segment.pins or (newest and not closing):
                return segment.codec.number
        return self._number + 1

    def release(self, number: int) -> None:
        """Frees the segments before `number`; the database that says so is on disk."""
        while self.segments and self.segments[0].codec.number < number:
            self.free.append(self.segments.popleft().slot)

    def shrink(self, keep: int) -> None:
        """Removes free segment files beyond `keep` files in all; a segment in use is never touched."""
        while self.free and len(self._slots) > keep:
            slot = self.free.pop()
            self._slots.remove(slot)
            slot.close()
            slot.path.unlink()

    @property
    def size(self) -> int:
        """Bytes in segments in use."""
        return sum(segment.used for segment in self.segments)

    @property
    def file_bytes(self) -> int:
        """Bytes that the journal takes on disk."""
        return len(self._slots) * SEGMENT_BYTES

    def close(self) -> None:
        """Closes the files; nothing is written."""
        for slot in self._slots:
            slot.close()
        self._slots.clear()


def read_segments(keys: VaultKeys, slots: list[Slot]) -> list[Segment]:
    """The segments that were ever used, by number; which of them count, the database says."""
    found = []
    for slot in slots:
        codec = parse_header(keys, os.pread(slot.fd, HEADER_BYTES, 0))
        if codec is not None:
            found.append(Segment(slot, codec))
    return sorted(found, key=lambda segment: segment.codec.number)
