"""What is here of packs on the remote: files with holes, each byte where it stands in the pack.

A mirror is at `packs/<aa>/<id>` like a pack written here; nothing says which of its ranges are there, since whatever
is read is compared with its id anyway, and what is something else counts as not here. Whole packs that were published
go to the cache, too. Over the limit, the packs not read for longest go first. What only this machine has is never
touched.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import TYPE_CHECKING

from vaultfs.format.pack import HEADER_BYTES, PackCodec, PackDamagedError
from vaultfs.tree.packs import PUBLISHED, REMOTE, Placed, path_of
from vaultfs.tree.state import LOW_SPACE

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.tree.blocks import Blocks
    from vaultfs.tree.ledger import Ledger
    from vaultfs.tree.state import State

_SECTOR = 512
_Bytes = bytes  # the cache has a property of that name
_CODECS = 64
_MORE = 16 << 20


class Cache:
    """Puts in, and evicts. Calls raise `OSError` as the disk does; KeyError for a pack that is not known.

    `limit`: bytes that it keeps to by itself; None: only `evict` makes room. While the disk is nearly full it gets
    smaller, too.
    """

    def __init__(self, state: State, blocks: Blocks, ledger: Ledger) -> None:
        self._state = state
        self._blocks = blocks
        self._ledger = ledger
        self._sizes: OrderedDict[int, int] | None = None  # bytes on disk, the pack used last at the end
        self._total = 0
        self.limit: int | None = None
        self._codecs: OrderedDict[int, PackCodec] = OrderedDict()
        blocks.used = self._used
        blocks.lost = self._lost

    @property
    def bytes(self) -> int:
        """The room on disk that packs take which are on the remote as well."""
        self._known()
        return self._total

    def holds(self, number: int, start: int, end: int) -> bool:
        """Whether all of that range was put, or at least no hole of the file is in it. `end` is past `start`."""
        try:
            descriptor = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return os.lseek(descriptor, start, os.SEEK_HOLE) >= end
        except OSError:  # past the end of what is here
            return False
        finally:
            os.close(descriptor)

    def put(self, number: int, offset: int, data: _Bytes) -> None:
        """Keeps a range of a pack on the remote. It need not be authentic: whoever reads it finds out."""
        path = self._path(number)
        self._blocks.reader.forget(number)
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(path, flags | os.O_CREAT, 0o600)
            self._blocks.reader.drop(number)
        try:
            _write(descriptor, data, offset)
            header = self._codec(number).header()
            if os.pread(descriptor, HEADER_BYTES, 0) != header:
                # Always there, so that the file can be told for what it is.
                _write(descriptor, header, 0)
            self._note(number, os.fstat(descriptor).st_blocks * _SECTOR)
        finally:
            os.close(descriptor)
        self._blocks.wanted.clear()
        if self.limit is not None and self._total > self.limit:
            self._evict(self.limit * 9 // 10, keep=number)  # by more than a little, so that not every range does it
        elif self._state.disk_full():
            self._evict(self._total // 2, keep=number)

    def read(self, place: Placed) -> _Bytes | None:
        """The plain bytes of a block or node, from whatever pack is here; None where it is not."""
        pack_id = self._ledger.pack_of(place.pack).id
        try:
            data = self._blocks.reader.read(place, pack_id)
        except (PackDamagedError, OSError):
            return None
        self._used(place.pack)
        return data

    def evict(self, limit: int) -> int:
        """Removes what was not read for longest until `limit` bytes are left at most; returns how many went.

        Packs that are still to be published stay, even if they are on the remote already, and so do those of which a
        crash would make the database say that they are.
        """
        self._known()
        return self._evict(limit)

    def make_room(self) -> None:
        """On a disk that is nearly full, as much goes as it lacks, and a little more."""
        self.evict(max(self.bytes - max(LOW_SPACE - self._state.room(), 0) - _MORE, 0))

    def _evict(self, limit: int, keep: int = 0) -> int:
        sizes, before = self._known(), self._total
        if before <= limit:
            return 0
        staying = self._ledger.waiting_packs() | self._blocks.pinned | self._state.settling | {keep}
        for number in list(sizes):
            if self._total <= limit:
                break
            if number not in staying:
                self._remove(number)
        return before - self._total

    def stored(self, number: int) -> None:
        """The pack, written here, is on the remote now, so that it can be evicted."""
        if self._sizes is not None:
            try:
                self._note(number, self._path(number).stat().st_blocks * _SECTOR)
            except FileNotFoundError:
                self._note(number, 0)

    def _remove(self, number: int) -> None:
        path, state = self._path(number), self._ledger.pack_of(number).state
        if state < PUBLISHED:
            return  # a lost transaction took back that it was published: nobody else is known to have it
        if state == PUBLISHED:
            self._ledger.set_pack_state(number, REMOTE)
        path.unlink(missing_ok=True)
        self._blocks.reader.drop(number)
        if self._sizes is not None:
            self._total -= self._sizes.pop(number, 0)

    def _path(self, number: int) -> Path:
        return path_of(self._blocks.directory, self._ledger.pack_of(number).id)

    def _codec(self, number: int) -> PackCodec:
        codec, pack_id = self._codecs.get(number), self._ledger.pack_of(number).id
        if codec is None or codec.id != pack_id:
            codec = self._codecs[number] = PackCodec(self._state.keys, pack_id)
            if len(self._codecs) > _CODECS:
                self._codecs.popitem(last=False)
        return codec

    def _lost(self) -> None:
        self._codecs.clear()
        self._sizes = None

    def _used(self, number: int) -> None:
        if self._sizes is not None and number in self._sizes:
            self._sizes.move_to_end(number)

    def _note(self, number: int, size: int) -> None:
        sizes = self._known()
        self._total += size - sizes.get(number, 0)
        sizes[number] = size
        sizes.move_to_end(number)

    def _known(self) -> OrderedDict[int, int]:
        """The sizes; looked up once, in the order in which the files were last read as far as the disk knows."""
        if self._sizes is None:
            found = []
            rows = self._state.all("SELECT pack, id FROM pack WHERE state>=?", PUBLISHED)
            numbers = {pack_id.hex(): number for number, pack_id in rows}
            for path in self._blocks.directory.glob("*/*"):
                number = numbers.get(path.name)
                if number is not None:
                    status = path.stat()
                    found.append((max(status.st_atime_ns, status.st_mtime_ns), number, status.st_blocks * _SECTOR))
            self._sizes = OrderedDict((number, size) for _, number, size in sorted(found))
            self._total = sum(self._sizes.values())
        return self._sizes


def _write(descriptor: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)
