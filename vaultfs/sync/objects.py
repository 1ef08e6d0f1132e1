"""The objects that say where things stand, fetched and checked: footers of packs, and indexes piece by piece."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING

from vaultfs.format.index import Front, Index, IndexDamagedError, Records, name_of
from vaultfs.format.node import NODE_MAX
from vaultfs.format.pack import HEADER_BYTES, ID_BYTES, OVERHEAD, Codec, Kind, PackCodec, PackDamagedError
from vaultfs.sync.wary import Once, Wary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.format.head import IndexPlace, PackPlace
    from vaultfs.format.index import Found
    from vaultfs.format.pack import Entry

WHOLE_BYTES = 256 << 10  # an object up to this size is fetched whole: that costs no more requests than a part of it
MAX_PACK = 1 << 31  # far beyond what is written; what an index can name is below 4 GiB
_CHUNKS_BYTES = 16 << 20
_PIECE_CHUNKS = 64
_PACK_NAME = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{30})")


def pack_name(pack_id: bytes) -> str:
    """The name of a pack's object."""
    name = pack_id.hex()
    return f"packs/{name[:2]}/{name}"


def pack_id(name: str) -> bytes | None:
    """The pack that an object of this name can only be; None: it is the name of none."""
    match = _PACK_NAME.fullmatch(name)
    return bytes.fromhex(match[2]) if match is not None else None


class Objects:
    """Fronts are kept as long as their index is in use, chunks up to 16 MiB. All raise `RemoteError`."""

    def __init__(self, wary: Wary, keys: VaultKeys) -> None:
        self._wary = wary
        self._keys = keys
        self._fronts: dict[bytes, Front] = {}
        self._chunks: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._chunk_bytes = 0
        self._fronts_once: Once[Front] = Once()
        self._chunks_once: Once[bytes] = Once()

    async def footer(self, pack: PackPlace) -> tuple[Sequence[Entry], bytes]:
        """What is in a pack; and the whole pack, if it is so small that it came whole, else nothing."""
        end = pack.footer + pack.footer_length
        if pack.size > WHOLE_BYTES:
            entries = await self._wary.get(
                pack_name(pack.id), pack.footer, pack.footer_length, lambda data: self._check_footer(pack, data)
            )
            return entries, b""
        return await self._wary.get(
            pack_name(pack.id), 0, pack.size,
            lambda data: (self._check_footer(pack, data[pack.footer : end], data), data),
        )  # fmt: skip

    async def look_up(self, front: Front, name: bytes) -> Found | None:
        """Where an id stands, by that index."""
        number = front.chunk_of(name)
        if number is None:
            return None
        return front.find(await self._chunk(front, number), name)

    async def whole(self, front: Front) -> Records:
        """All that is in an index."""
        lines = []
        for start in range(0, front.chunks, _PIECE_CHUNKS):
            numbers = range(start, min(start + _PIECE_CHUNKS, front.chunks))
            lines.append(await self._piece(front, numbers))
        return Records(front.packs, b"".join(lines))

    async def _piece(self, front: Front, numbers: range) -> bytes:
        cached = [self._chunks.get((front.place.id, number)) for number in numbers]
        if all(lines is not None for lines in cached):
            return b"".join(lines for lines in cached if lines is not None)
        base, last = front.offset(numbers[0]), numbers[-1]

        def check(data: bytes) -> bytes:
            starts = [(number, front.offset(number) - base) for number in numbers]
            return b"".join(front.open_chunk(n, data[start : start + front.length(n)]) for n, start in starts)

        length = front.offset(last) + front.length(last) - base
        return await self._wary.get(name_of(front.place.id), base, length, check)

    def keep(self, index: Index) -> None:
        """An index that was made here."""
        self._fronts[index.place.id] = Front(self._keys, index.place, index.data[: index.place.front])

    def forget(self, index: bytes) -> None:
        """An index that is not in use any more."""
        self._fronts.pop(index, None)

    def packs(self, index: bytes) -> tuple[PackPlace, ...]:
        """The packs that an index covers; none if its front was not asked for yet."""
        front = self._fronts.get(index)
        return front.packs if front is not None else ()

    def _check_footer(self, pack: PackPlace, sealed: bytes, whole: bytes | None = None) -> Sequence[Entry]:
        if len(sealed) != pack.footer_length or (whole is not None and len(whole) != pack.size):
            raise PackDamagedError("cut off")
        if not 0 < pack.size <= MAX_PACK:
            raise PackDamagedError("larger than any pack")
        entries = PackCodec(self._keys, pack.id).open_footer(sealed)
        for entry in entries:
            if entry.kind not in (Kind.BLOCK, Kind.NODE) or entry.codec not in (Codec.RAW, Codec.ZSTD):
                raise PackDamagedError("an entry of a kind that is none")
            if entry.offset < HEADER_BYTES or entry.length < OVERHEAD or entry.offset + entry.length > pack.footer:
                raise PackDamagedError("an entry outside of its pack")
            if len(entry.id) != ID_BYTES or not 0 <= entry.size <= NODE_MAX or entry.length > entry.size + OVERHEAD:
                raise PackDamagedError("an entry that cannot be")
        return entries

    async def front(self, index: IndexPlace) -> Front:
        """The beginning of an index."""
        front = self._fronts.get(index.id)
        if front is None:
            front = await self._fronts_once.do(index.id, lambda: self._fetch_front(index))
        return front

    async def _fetch_front(self, index: IndexPlace) -> Front:
        # A small index comes whole: its chunks will be wanted next.
        length = index.size if index.size <= WHOLE_BYTES else index.front

        def check(data: bytes) -> tuple[Front, list[bytes]]:
            if len(data) != length:
                raise IndexDamagedError("cut off")
            front = Front(self._keys, index, data[: index.front])
            if length == index.front:
                return front, []
            starts = [front.offset(number) for number in range(front.chunks)]
            return front, [
                front.open_chunk(number, data[start : start + front.length(number)])
                for number, start in enumerate(starts)
            ]

        front, chunks = await self._wary.get(name_of(index.id), 0, length, check)
        self._fronts[index.id] = front
        for number, lines in enumerate(chunks):
            self._keep_chunk((index.id, number), lines)
        return front

    async def _chunk(self, front: Front, number: int) -> bytes:
        key = (front.place.id, number)
        if key in self._chunks:
            self._chunks.move_to_end(key)
            return self._chunks[key]
        return await self._chunks_once.do(key, lambda: self._fetch_chunk(front, number))

    async def _fetch_chunk(self, front: Front, number: int) -> bytes:
        lines = await self._wary.get(
            name_of(front.place.id), front.offset(number), front.length(number),
            lambda data: front.open_chunk(number, data),
        )  # fmt: skip
        self._keep_chunk((front.place.id, number), lines)
        return lines

    def _keep_chunk(self, key: tuple[bytes, int], lines: bytes) -> None:
        self._chunk_bytes += len(lines) - len(self._chunks.pop(key, b""))
        self._chunks[key] = lines
        while self._chunk_bytes > _CHUNKS_BYTES and len(self._chunks) > 1:
            self._chunk_bytes -= len(self._chunks.popitem(last=False)[1])
