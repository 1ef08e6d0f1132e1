"""The pack codec: an immutable object of sealed entries and a sealed footer. Pure functions, no I/O.

A pack is `header | entry ... | sealed footer | zeros | trailer`. It has a random id and a key of its own; every
entry is sealed with the pack id, its number and its type as associated data. Layout in docs/format.md.
"""

from __future__ import annotations

import struct
import threading
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import zstandard
from blake3 import blake3

from vaultfs.crypto.keys import UnknownEpochError, derive
from vaultfs.crypto.sealing import OVERHEAD, OpenFailedError, Sealer
from vaultfs.errors import NewerFormatError

if TYPE_CHECKING:
    from vaultfs.crypto.keys import VaultKeys

VERSION = 1
MAGIC = b"VFSP"
BLOCK_BYTES = 64 << 10
PACK_BYTES = 16 << 20
ID_BYTES = 32
_HEADER = struct.Struct("<4sHH16s")
_TRAILER = struct.Struct("<4sIQ")
_ENTRY_MEANING = struct.Struct("<8s16sIB")
HEADER_BYTES = _HEADER.size
TRAILER_BYTES = _TRAILER.size
MAX_FOOTER = 64 << 20
_SAMPLE = 2048
_FOOTER_NUMBER = 0xFFFFFFFF


class Kind(IntEnum):
    """What an entry is."""

    BLOCK = 1
    NODE = 2
    FOOTER = 255


class Codec(IntEnum):
    """How the bytes were made smaller before sealing."""

    RAW = 0
    ZSTD = 1


class Entry(NamedTuple):
    """One line of a pack's index: `length` sealed bytes at `offset` open to `size` bytes whose id is `id`."""

    kind: int
    id: bytes
    offset: int
    length: int
    size: int
    codec: int


class Footer(msgspec.Struct, array_like=True, frozen=True):
    """The index of a pack, in the order of its entries."""

    version: int
    entries: list[tuple[int, bytes, int, int, int, int]]


class PackDamagedError(Exception):
    """The pack's bytes are not what was sealed."""


def block_id(keys: VaultKeys, data: bytes | memoryview) -> bytes:
    """Keyed BLAKE3 of a block's plaintext: equal blocks of one vault have equal ids, elsewhere they do not."""
    return blake3(data, key=keys.block_id).digest()


def node_key(keys: VaultKeys) -> bytes:
    """The key of node ids: of the block-id key, but apart from it, so that no block is ever taken for a node."""
    return derive(keys.block_id, salt=b"", label="node-id")


def node_id(key: bytes, data: bytes) -> bytes:
    """The id of the node `data`, 32 bytes. `key`: `node_key`."""
    return blake3(data, key=key).digest()


class _Zstd(threading.local):
    """What compresses, one of each for a thread: they keep up to 150 KiB of tables, which each open pack would have."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=1)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


def compresses(data: bytes | memoryview) -> bool:
    """Whether it is worth trying: a sample tells, so that a video does not pay for what cannot help."""
    return len(data) <= _SAMPLE or len(_zstd.compressor.compress(data[:_SAMPLE])) < _SAMPLE * 9 // 10


class PackCodec:
    """Seals and opens the entries of one pack, always under the key of the epoch that its id names.

    Raises `PackDamagedError` when the id names an epoch that is not known here.
    """

    __slots__ = ("_keys", "_node_key", "_sealer", "id")

    def __init__(self, keys: VaultKeys, pack_id: bytes) -> None:
        self.id = pack_id
        self._keys = keys
        self._node_key = b""
        try:
            self._sealer = Sealer(keys.pack(pack_id))
        except UnknownEpochError as error:
            raise PackDamagedError(f"its keys, of epoch {error}, are not known here") from None

    def header(self) -> bytes:
        """The first `HEADER_BYTES` of the pack."""
        return _HEADER.pack(MAGIC, VERSION, 0, self.id)

    def _meaning(self, number: int, kind: int) -> bytes:
        return _ENTRY_MEANING.pack(b"vfspack1", self.id, number, kind)

    def seal(
        self, number: int, kind: int, data: bytes | memoryview, *, smaller: bool | None = None
    ) -> tuple[bytes, int]:
        """The sealed entry and its codec; compressed only where that makes it smaller. `smaller`: as `compresses`."""
        codec = Codec.RAW
        if compresses(data) if smaller is None else smaller:
            packed = _zstd.compressor.compress(data)
            if len(packed) < len(data):
                data, codec = packed, Codec.ZSTD
        return self._sealer.seal(data, self._meaning(number, kind)), codec

    def open(self, number: int, entry: Entry, sealed: bytes | memoryview, *, known: bool = False) -> bytes:
        """The entry's bytes. Raises `PackDamagedError` when anything is not as it was sealed.

        That it opens says that somebody sealed it who had the key of this pack, and so has a device that was removed
        since; only its id says that it is what is asked for. `known`: these very bytes were seen to have that id.
        """
        try:
            data = self._sealer.open(sealed, self._meaning(number, entry.kind))
            if entry.codec == Codec.ZSTD:
                # What the frame says of itself is allocated at once, however little follows.
                if zstandard.frame_content_size(data) != entry.size:
                    raise PackDamagedError
                data = _zstd.decompressor.decompress(data)
        except (OpenFailedError, zstandard.ZstdError):
            raise PackDamagedError from None
        if len(data) != entry.size:
            raise PackDamagedError
        if not known and not self._is(entry, data):
            raise PackDamagedError("an entry that is not what its index says")
        return data

    def _is(self, entry: Entry, data: bytes) -> bool:
        if entry.kind == Kind.NODE:
            self._node_key = self._node_key or node_key(self._keys)
            return node_id(self._node_key, data) == entry.id
        return block_id(self._keys, data) == entry.id

    def reseal(self, number: int, kind: int, sealed: bytes | memoryview, other: PackCodec) -> bytes:
        """The sealed entry as it stands under the same number in the pack of `other`: just as long, same codec.

        Raises `PackDamagedError`.
        """
        try:
            data = self._sealer.open(sealed, self._meaning(number, kind))
        except OpenFailedError:
            raise PackDamagedError from None
        return other._sealer.seal(data, other._meaning(number, kind))

    def finish(self, size: int, entries: list[Entry]) -> bytes:
        """What follows the last entry of a pack that is `size` bytes long: footer, padding, trailer."""
        plain = msgspec.msgpack.encode(Footer(VERSION, [entry[:] for entry in entries]))
        footer = self._sealer.seal(plain, self._meaning(_FOOTER_NUMBER, Kind.FOOTER))
        total = size + len(footer) + TRAILER_BYTES
        return footer + bytes(padme(total) - total) + _TRAILER.pack(MAGIC, len(footer), size)

    def read_footer(self, pack: bytes) -> list[Entry]:
        """The index in a whole pack. Raises `PackDamagedError`, `NewerFormatError`."""
        if len(pack) < HEADER_BYTES + TRAILER_BYTES:
            raise PackDamagedError
        offset, length = parse_trailer(pack)
        if offset + length > len(pack):
            raise PackDamagedError
        return self.open_footer(pack[offset : offset + length])

    def open_footer(self, sealed: bytes) -> list[Entry]:
        """The index of the pack from its sealed footer alone. Raises `PackDamagedError`, `NewerFormatError`."""
        try:
            plain = self._sealer.open(sealed, self._meaning(_FOOTER_NUMBER, Kind.FOOTER))
            footer = msgspec.msgpack.decode(plain, type=Footer)
        except (OpenFailedError, msgspec.MsgspecError):
            raise PackDamagedError from None
        if footer.version > VERSION:
            raise NewerFormatError(what=f"The pack {self.id.hex()}", found=footer.version, known=VERSION)
        return [Entry(*line) for line in footer.entries]


def parse_header(start: bytes) -> tuple[int, bytes]:
    """Format version and pack id. Raises `PackDamagedError`."""
    if len(start) < HEADER_BYTES:
        raise PackDamagedError
    magic, version, _, pack_id = _HEADER.unpack_from(start)
    if magic != MAGIC:
        raise PackDamagedError
    return version, pack_id


def parse_trailer(end: bytes) -> tuple[int, int]:
    """Where the sealed footer stands and its length, by the last bytes of a pack. Raises `PackDamagedError`."""
    if len(end) < TRAILER_BYTES:
        raise PackDamagedError("cut off")
    magic, length, offset = _TRAILER.unpack(end[-TRAILER_BYTES:])
    if magic != MAGIC or length > MAX_FOOTER:
        raise PackDamagedError("it does not end as a pack does")
    return offset, length


def padme(size: int) -> int:
    """The padded size for `size` bytes: at most 12 % more, and few different sizes (Nikitin et al., 2019)."""
    if size < 2:  # noqa: PLR2004  # the logarithm below needs it
        return size
    exponent = size.bit_length() - 1
    low_bits = exponent - exponent.bit_length()
    mask = (1 << max(low_bits, 0)) - 1
    return (size + mask) & ~mask


__all__ = ["BLOCK_BYTES", "HEADER_BYTES", "OVERHEAD", "PACK_BYTES", "Codec", "Entry", "Kind", "PackCodec"]
