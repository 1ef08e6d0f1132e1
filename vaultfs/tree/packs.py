"""Local pack files: sealed blocks are appended to one, read from all.

A pack interrupted by a crash is never continued; its blocks stay readable, since the database knows where they
stand, and housekeeping seals the live ones anew.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.crypto.sealing import OVERHEAD
from vaultfs.durable import begin_writing, sync_content, sync_path
from vaultfs.format.pack import (
    BLOCK_BYTES,
    HEADER_BYTES,
    PACK_BYTES,
    Entry,
    Kind,
    PackCodec,
    PackDamagedError,
    parse_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vaultfs.crypto.keys import VaultKeys

OPEN, FINISHED, PUBLISHED, REMOTE = range(4)  # the states of a pack, see `vaultfs.tree.database.SCHEMA`
_OPEN_PACKS = 64
_NOTED_PACKS = 4096
_NOTED_ENTRIES = 1 << 14
_PROBE = 32
_AHEAD_MOST = 4 << 20
_FOOTER_LINE = 64


class Placed(NamedTuple):
    """Where a sealed block stands: pack number, entry number in it, and its index line."""

    pack: int
    number: int
    entry: Entry

    def follows(self, other: Placed) -> bool:
        """Whether it stands right behind another one."""
        return self.pack == other.pack and self.entry.offset == other.entry.offset + other.entry.length


class PackFile:
    """An open pack file. Closed when nothing refers to it any more."""

    __slots__ = ("_ahead", "_next", "_run", "codec", "fd")

    def __init__(self, fd: int, codec: PackCodec) -> None:
        self.fd = fd
        self.codec = codec
        self._next = 0  # where the last read ended
        self._run = 0  # bytes that were read from front to back, up to there
        self._ahead = 0  # up to there the kernel was asked to read

    def read(self, offset: int, length: int) -> bytes:
        """Bytes as they are. Who reads on from where the last read ended finds what follows in memory.

        The kernel's own reading ahead leaves such a disk idle half of the time (measured: 430 MB/s, and 1,000 with
        this). Raises `OSError`.
        """
        data = os.pread(self.fd, length, offset)
        end = offset + length
        if offset != self._next:
            self._run = self._ahead = 0
        else:
            self._run += length
            window = min(2 * self._run, _AHEAD_MOST)
            if self._ahead < end + window // 2:
                start, self._ahead = max(self._ahead, end), end + window
                with suppress(OSError):
                    os.posix_fadvise(self.fd, start, self._ahead - start, os.POSIX_FADV_WILLNEED)
        self._next = end
        return data

    def __del__(self) -> None:
        os.close(self.fd)


def path_of(directory: Path, pack_id: bytes) -> Path:
    """`packs/<aa>/<id>`, as on the remote."""
    name = pack_id.hex()
    return directory / name[:2] / name


class PackWriter:
    """Appends sealed entries to a new pack; one writer for one thread at a time.

    Making one raises `OSError`; then there is no file.
    """

    def __init__(self, directory: Path, keys: VaultKeys, number: int) -> None:
        self.number = number
        self.entries: list[Entry] = []
        pack_id = keys.object_id()
        self.path = path_of(directory, pack_id)
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.file = PackFile(os.open(self.path, flags, 0o600), PackCodec(keys, pack_id))
        self.size = 0
        try:
            self._append(self.file.codec.header())
        except OSError:
            self.path.unlink(missing_ok=True)
            raise
        self._named = False
        self._begun = 0  # up to there it is on its way to the disk

    @property
    def id(self) -> bytes:
        """The pack's random id."""
        return self.file.codec.id

    @property
    def full(self) -> bool:
        """Whether the next entry belongs into a new pack, so that with its footer it fits `PACK_BYTES`.

        That is a padded size itself (`padme`), so a full pack is padded by little.
        """
        footer = (len(self.entries) + 2) * _FOOTER_LINE
        return self.size + BLOCK_BYTES + OVERHEAD + footer > PACK_BYTES

    def _append(self, data: bytes) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self.file.fd, data[done:] if done else data, self.size + done)
        self.size += len(data)

    def add(
        self, identity: bytes, data: bytes | memoryview, kind: Kind = Kind.BLOCK, *, smaller: bool | None = None
    ) -> Placed:
        """Seals a block or a node and appends it. Raises `OSError`; then the pack is as it was.

        `smaller`: whether it compresses, where somebody has looked.
        """
        number, size = len(self.entries), self.size
        sealed, codec = self.file.codec.seal(number, kind, data, smaller=smaller)
        try:
            self._append(sealed)
        except OSError:
            self.size = size
            raise
        entry = Entry(kind, identity, size, len(sealed), len(data), codec)
        self.entries.append(entry)
        return Placed(self.number, number, entry)

    @property
    def behind(self) -> int:
        """How many bytes are not on their way to the disk, unless the kernel sent them by itself."""
        return self.size - self._begun

    def begins(self) -> Callable[[], None]:
        """A call, for any thread, that sends them on their way and waits for nothing: a sync will have less to do."""
        begun, self._begun = self._begun, self.size
        return partial(self._begin, begun, self._begun - begun)

    def _begin(self, offset: int, length: int) -> None:
        begin_writing(self.file.fd, offset, length)

    def finish(self) -> None:
        """Writes footer, padding and trailer. Raises `OSError`."""
        # What did not fit on the disk may stand behind what did, and who reads a pack begins at its end.
        os.ftruncate(self.file.fd, self.size)
        self._append(self.file.codec.finish(self.size, self.entries))

    def sync(self) -> None:
        """Makes what was appended durable, the file's name with it the first time. Safe in any thread."""
        sync_content(self.path, self.file.fd)
        if not self._named:
            for directory in (self.path.parent, self.path.parent.parent):
                sync_path(directory)
            self._named = True


class PackReader:
    """Reads blocks out of packs, keeping the files used last open. Not shared between threads."""

    def __init__(self, directory: Path, keys: VaultKeys) -> None:
        self.directory = directory
        self._keys = keys
        self._open: OrderedDict[int, PackFile] = OrderedDict()
        # By pack, its id and a bit for each entry that is known to stand in the file as its id says. A mirror of a pack
        # on the remote has whatever the remote gave; looking once costs as much as opening, so it is not done at each
        # read.
        self._known: dict[int, tuple[bytes, int]] = {}

    def _file(self, number: int, pack_id: bytes) -> PackFile:
        file = self._open.get(number)
        # A number may come to mean another pack: one that was sealed anew.
        if file is None or file.codec.id != pack_id:
            file = self._open[number] = self._opened(pack_id)
            if len(self._open) > _OPEN_PACKS:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(number)
        return file

    def _opened(self, pack_id: bytes) -> PackFile:
        descriptor = os.open(path_of(self.directory, pack_id), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _, found = parse_header(os.pread(descriptor, HEADER_BYTES, 0))
        except (PackDamagedError, OSError):
            os.close(descriptor)
            raise
        file = PackFile(descriptor, PackCodec(self._keys, pack_id))
        if found != pack_id:
            raise PackDamagedError
        return file

    def read(self, place: Placed, pack_id: bytes, sealed: memoryview | None = None) -> bytes:
        """The plain bytes of a block or node. Raises `PackDamagedError` or `OSError`. `sealed`: read already."""
        file = self._file(place.pack, pack_id)
        if sealed is None:
            sealed = memoryview(file.read(place.entry.offset, place.entry.length))
        known = self._bits(place.pack, pack_id) >> place.number & 1 if place.number < _NOTED_ENTRIES else 0
        data = file.codec.open(place.number, place.entry, sealed, known=bool(known))
        if not known:
            self.note(place, pack_id)
        return data

    def _bits(self, number: int, pack_id: bytes) -> int:
        known = self._known.get(number)
        return known[1] if known is not None and known[0] == pack_id else 0

    def note(self, place: Placed, pack_id: bytes) -> None:
        """The entry stands in the file as its id says: it was read, or sealed just now."""
        if place.number < _NOTED_ENTRIES:
            if len(self._known) >= _NOTED_PACKS:
                self._known.clear()
            self._known[place.pack] = pack_id, self._bits(place.pack, pack_id) | 1 << place.number

    def forget(self, number: int) -> None:
        """Something was written to the file of a pack: what it holds is to be looked at again."""
        self._known.pop(number, None)

    def sealed(self, number: int, pack_id: bytes, offset: int, length: int) -> bytes:
        """Bytes of a pack as they are. Raises `PackDamagedError` or `OSError`."""
        return self._file(number, pack_id).read(offset, length)

    def holds(self, place: Placed, pack_id: bytes) -> bool:
        """Whether there is anything but a hole where the entry should stand."""
        try:
            file = self._file(place.pack, pack_id)
            start = os.pread(file.fd, min(_PROBE, place.entry.length), place.entry.offset)
            end = os.pread(file.fd, _PROBE, place.entry.offset + max(place.entry.length - _PROBE, 0))
        except (PackDamagedError, OSError):
            return False
        return any(start) and any(end)

    def drop(self, number: int) -> None:
        """Forgets an open file of a pack that was removed."""
        self._open.pop(number, None)
        self._known.pop(number, None)

    def clear(self) -> None:
        """Forgets all of them."""
        self._open.clear()
        self._known.clear()
