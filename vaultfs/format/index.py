"""The index object `index/<id>`: where the nodes and blocks of many packs stand (docs/format.md, "Index").

It is `header | sealed front | sealed chunk ... | zeros`. A chunk is a fixed number of records of one length, sorted
by id; the front has the first id of every chunk, and the packs. So one request brings the front, one more the only
chunk that an id can be in, however large the vault is. Pure functions, no I/O.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from heapq import merge as merge_sorted
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from vaultfs.crypto.keys import EPOCH_BYTES, UnknownEpochError, derive
from vaultfs.crypto.keys import ID_BYTES as KEY_ID_BYTES
from vaultfs.crypto.sealing import OVERHEAD, OpenFailedError, Sealer
from vaultfs.format.head import IndexPlace, PackPlace
from vaultfs.format.node import NODE_MAX
from vaultfs.format.pack import ID_BYTES, Codec, Entry, Kind, padme

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from vaultfs.crypto.keys import VaultKeys

MAGIC = b"VFSI"
VERSION = 1
CHUNK_RECORDS = 1200
MAX_FRONT = 64 << 20
_HEADER = struct.Struct("<4sHH16sI")
_COUNTS = struct.Struct("<QI")
_PACK = struct.Struct("<16sIII")
_RECORD = struct.Struct("<32sBBIIIII")
_MEANING = struct.Struct("<8s16sI")
_FRONT_NUMBER = 0xFFFFFFFF
HEADER_BYTES = _HEADER.size
RECORD_BYTES = _RECORD.size
_KINDS = {Kind.BLOCK, Kind.NODE}
_CODECS = set(Codec)


class IndexDamagedError(Exception):
    """The index object's bytes are not what was sealed. The message says what is wrong."""


class Found(NamedTuple):
    """Where a node or block stands: its pack, entry number in it, and its index line."""

    pack: PackPlace
    number: int
    entry: Entry


class Records(NamedTuple):
    """Sorted records as bytes, each of `RECORD_BYTES`, and the packs that they name by position; packs ascend."""

    packs: tuple[PackPlace, ...]
    lines: bytes


class Index(NamedTuple):
    """A whole index object: what a head says of it, and its bytes."""

    place: IndexPlace
    data: bytes


def name_of(index_id: bytes) -> str:
    """The name of the object."""
    return f"index/{index_id.hex()}"


def records_of(pack: PackPlace, entries: Sequence[Entry]) -> Records:
    """The records of one pack, from its footer. Raises `ValueError` for what has no place in an index."""
    lines: dict[bytes, bytes] = {}
    for number, entry in enumerate(entries):
        if entry.kind not in _KINDS or len(entry.id) != ID_BYTES:
            raise ValueError("neither a node nor a block")
        fields = (entry.kind, entry.codec, 0, number, entry.offset, entry.length, entry.size)
        try:
            lines.setdefault(entry.id, _RECORD.pack(entry.id, *fields))
        except struct.error as error:
            raise ValueError("a place beyond 4 GiB") from error
    return Records((pack,), b"".join(lines[name] for name in sorted(lines)))


def joined(sources: Iterable[Records]) -> Records:
    """All records together. What stands in several packs is found in the one with the lowest id."""
    sources = list(sources)
    packs = tuple(sorted({pack.id: pack for source in sources for pack in source.packs}.values()))
    position = {pack.id: number for number, pack in enumerate(packs)}
    streams = [_renumbered(source, [position[pack.id] for pack in source.packs]) for source in sources]
    kept, last = bytearray(), b""
    for name, _, line in merge_sorted(*streams):
        if name != last:
            kept += line
            last = name
    return Records(packs, bytes(kept))


def found_in(records: Records) -> Iterator[Found]:
    """All places in the records, by ascending id."""
    for name, kind, codec, pack, number, offset, length, size in _RECORD.iter_unpack(records.lines):
        yield Found(records.packs[pack], number, Entry(kind, name, offset, length, size, codec))


def without(records: Records, packs: Container[bytes]) -> Records:
    """The records that are not in these packs; the packs are still named."""
    keep = [pack.id not in packs for pack in records.packs]
    size = RECORD_BYTES
    lines = (records.lines[at : at + size] for at in range(0, len(records.lines), size))
    return Records(records.packs, b"".join(line for line in lines if keep[_RECORD.unpack(line)[3]]))


def _renumbered(source: Records, positions: list[int]) -> Iterator[tuple[bytes, int, bytes]]:
    for name, kind, codec, pack, *rest in _RECORD.iter_unpack(source.lines):
        yield name, positions[pack], _RECORD.pack(name, kind, codec, positions[pack], *rest)


def build_index(keys: VaultKeys, records: Records) -> Index:
    """The index object of these records, under the newest keys: a function of both. Raises `ValueError`."""
    count = len(records.lines) // RECORD_BYTES
    if not count or not records.packs:
        raise ValueError("an index of nothing")
    chunks = [
        records.lines[start : start + CHUNK_RECORDS * RECORD_BYTES]
        for start in range(0, len(records.lines), CHUNK_RECORDS * RECORD_BYTES)
    ]
    plain = _COUNTS.pack(count, len(records.packs))
    plain += b"".join(_PACK.pack(*pack) for pack in records.packs)
    plain += b"".join(chunk[:ID_BYTES] for chunk in chunks)
    hasher = blake3(plain, key=derive(keys.block_id, salt=b"", label="index-id"))
    index_id = keys.object_id(hasher.update(records.lines).digest(KEY_ID_BYTES - EPOCH_BYTES))
    sealer = Sealer(keys.pack(index_id))
    front = sealer.seal(plain, _meaning(index_id, _FRONT_NUMBER))
    data = _HEADER.pack(MAGIC, VERSION, 0, index_id, len(front)) + front
    data += b"".join(sealer.seal(chunk, _meaning(index_id, number)) for number, chunk in enumerate(chunks))
    place = IndexPlace(index_id, padme(len(data)), HEADER_BYTES + len(front))
    index = Index(place, data + bytes(place.size - len(data)))
    _check_front(Front(keys, place, index.data[: place.front]))
    return index


class Front:
    """The beginning of an index object, opened: which packs it covers, and where to look for an id.

    Raises `IndexDamagedError` when `data` is not the first `place.front` bytes of that object as they were sealed.
    """

    def __init__(self, keys: VaultKeys, place: IndexPlace, data: bytes) -> None:
        self.place = place
        try:
            self._sealer = Sealer(keys.pack(place.id))
        except UnknownEpochError as error:
            raise IndexDamagedError(f"its keys, of epoch {error}, are not known here") from None
        if not HEADER_BYTES + OVERHEAD < place.front == len(data) <= MAX_FRONT:
            raise IndexDamagedError("cut off")
        magic, version, zero, index_id, length = _HEADER.unpack_from(data)
        if magic != MAGIC or index_id != place.id:
            raise IndexDamagedError("not that index")
        if version > VERSION:
            # Nothing authenticates these bytes. A later index comes with a later head, which is refused before this.
            raise IndexDamagedError("of a format version that is not known here: altered, or by a later vaultfs")
        if version != VERSION or zero or HEADER_BYTES + length != place.front:
            raise IndexDamagedError("a header that never was")
        plain = self._open(_FRONT_NUMBER, data[HEADER_BYTES:])
        if len(plain) < _COUNTS.size:
            raise IndexDamagedError("a front without counts")
        self.count, packs = _COUNTS.unpack_from(plain)
        firsts = _COUNTS.size + packs * _PACK.size
        self.chunks = -(-self.count // CHUNK_RECORDS)
        if len(plain) != firsts + self.chunks * ID_BYTES:
            raise IndexDamagedError("a front of another length than it says")
        self.packs = tuple(PackPlace(*row) for row in _PACK.iter_unpack(plain[_COUNTS.size : firsts]))
        self._firsts = [plain[at : at + ID_BYTES] for at in range(firsts, len(plain), ID_BYTES)]
        _check_front(self)

    @property
    def firsts(self) -> list[bytes]:
        """The first id of every chunk."""
        return self._firsts

    def chunk_of(self, name: bytes) -> int | None:
        """The only chunk that this id can be in; None: it is in none."""
        number = bisect_right(self._firsts, name) - 1
        return number if number >= 0 else None

    def length(self, number: int) -> int:
        """The length of a sealed chunk, in bytes."""
        last = self.count - (self.chunks - 1) * CHUNK_RECORDS
        return (CHUNK_RECORDS if number < self.chunks - 1 else last) * RECORD_BYTES + OVERHEAD

    def offset(self, number: int) -> int:
        """Where a sealed chunk begins in the object."""
        return self.place.front + number * (CHUNK_RECORDS * RECORD_BYTES + OVERHEAD)

    def open_chunk(self, number: int, sealed: bytes) -> bytes:
        """The records of a chunk. Raises `IndexDamagedError`."""
        if len(sealed) != self.length(number):
            raise IndexDamagedError("cut off")
        lines = self._open(number, sealed)
        end = self._firsts[number + 1] if number + 1 < self.chunks else b"\xff" * (ID_BYTES + 1)
        last = b""
        for name, kind, codec, pack, _, offset, length, size in _RECORD.iter_unpack(lines):
            if not last < name < end or kind not in _KINDS or codec not in _CODECS or pack >= len(self.packs):
                raise IndexDamagedError("a record out of place")
            if offset + length > self.packs[pack].footer or size > NODE_MAX or length > size + OVERHEAD:
                raise IndexDamagedError("a record outside of its pack")
            last = name
        if lines[:ID_BYTES] != self._firsts[number]:
            raise IndexDamagedError("a chunk that begins with another id than it should")
        return lines

    def find(self, lines: bytes, name: bytes) -> Found | None:
        """The place of an id in an opened chunk; None: it is not in the index."""
        low, high = 0, len(lines) // RECORD_BYTES
        while low < high:
            middle = (low + high) // 2
            if lines[middle * RECORD_BYTES : middle * RECORD_BYTES + ID_BYTES] < name:
                low = middle + 1
            else:
                high = middle
        if low * RECORD_BYTES == len(lines):
            return None
        found, kind, codec, pack, number, offset, length, size = _RECORD.unpack_from(lines, low * RECORD_BYTES)
        if found != name:
            return None
        return Found(self.packs[pack], number, Entry(kind, found, offset, length, size, codec))

    def _open(self, number: int, sealed: bytes) -> bytes:
        try:
            return self._sealer.open(sealed, _meaning(self.place.id, number))
        except OpenFailedError:
            raise IndexDamagedError("altered, or of another vault") from None


def _meaning(index_id: bytes, number: int) -> bytes:
    return _MEANING.pack(b"vfsindx1", index_id, number)


def _check_front(front: Front) -> None:
    if not front.count or not front.packs:
        raise IndexDamagedError("an index of nothing")
    if padme(front.offset(front.chunks - 1) + front.length(front.chunks - 1)) != front.place.size:
        raise IndexDamagedError("another size than it should have")
    if not all(a < b for a, b in pairwise(front.firsts)):
        raise IndexDamagedError("chunks out of order")
    if not all(a.id < b.id for a, b in pairwise(front.packs)):
        raise IndexDamagedError("packs out of order")
    if any(pack.footer + pack.footer_length > pack.size for pack in front.packs):
        raise IndexDamagedError("a footer outside of its pack")
