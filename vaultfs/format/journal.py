"""The journal's bytes: segments of frames. Pure functions, no I/O.

A segment is a file of fixed size that is written from its start and used again later under a new random id; the
id gives it a key of its own, so frames of an earlier life never open. Layout in docs/format.md.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import msgspec
from blake3 import blake3

from vaultfs.crypto.keys import ID_BYTES, VaultKeys
from vaultfs.crypto.sealing import OVERHEAD, OpenFailedError, Sealer

VERSION = 1
MAGIC = b"VFSJ"
SEGMENT_BYTES = 16 << 20
HEADER_BYTES = 128  # magic, version, id, sealed body, zeros
ALIGN = 16

_HEADER = struct.Struct("<4sHH16s")
_PREFIX = struct.Struct("<4sIII")  # segment mark, sealed head length, sealed data length, zero
_BODY = struct.Struct("<QQ")  # segment number, lsn of its first frame
_HEAD_MEANING = struct.Struct("<8sQI")
_DATA_MEANING = struct.Struct("<8sQQ")
PREFIX_BYTES = _PREFIX.size
MAX_DATA = (1 << 20) + OVERHEAD
MAX_HEAD = 4 << 20

Change = tuple[Any, ...]


class Head(NamedTuple):
    """What a frame says: its number, the number known to be on disk when it was written, and the changes."""

    lsn: int
    synced: int
    changes: list[Change]


class Frame(NamedTuple):
    """A frame found in a segment. `data_offset`, `data_length`: where its sealed data stands (0: it has none)."""

    head: Head
    data_offset: int
    data_length: int
    end: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, int, list[tuple[Any, ...]]]).decode


class SegmentCodec:
    """Encodes and decodes the frames of one segment."""

    __slots__ = ("first_lsn", "id", "mark", "number", "sealer")

    def __init__(self, keys: VaultKeys, segment_id: bytes, number: int, first_lsn: int) -> None:
        self.id = segment_id
        self.number = number
        self.first_lsn = first_lsn
        self.sealer = Sealer(keys.journal(segment_id))
        # A mark of its own per segment: what an earlier life left behind does not even look like a frame.
        self.mark = blake3(segment_id).digest(4)

    def header(self) -> bytes:
        """The first `HEADER_BYTES` of the segment."""
        start = _HEADER.pack(MAGIC, VERSION, 0, self.id)
        sealed = self.sealer.seal(_BODY.pack(self.number, self.first_lsn), start)
        return (start + sealed).ljust(HEADER_BYTES, b"\0")

    def frame(self, offset: int, head: tuple[int, int, list[Change]], data: bytes | memoryview = b"") -> list[bytes]:
        """One frame to be written at `offset` of the segment, in pieces: the last of them is padding."""
        data_length = len(data) + OVERHEAD if data else 0
        sealed_head = self.sealer.seal(_encode(head), _HEAD_MEANING.pack(b"vfsjhead", offset, data_length))
        prefix = _PREFIX.pack(self.mark, len(sealed_head), data_length, 0)
        padding = bytes(-(len(sealed_head) + data_length) % ALIGN)
        if not data:
            return [prefix, sealed_head, padding]
        return [prefix, sealed_head, self.sealer.seal(data, _DATA_MEANING.pack(b"vfsjdata", offset, head[0])), padding]

    def parse(self, segment: bytes | memoryview, offset: int) -> Frame | None:
        """The frame at `offset`, its data not yet opened; None where there is no authentic frame."""
        if offset + PREFIX_BYTES > len(segment):
            return None
        mark, head_length, data_length, zero = _PREFIX.unpack_from(segment, offset)
        start = offset + PREFIX_BYTES
        end = start + head_length + data_length
        if mark != self.mark or zero or head_length > MAX_HEAD or data_length > MAX_DATA or end > len(segment):
            return None
        try:
            plain = self.sealer.open(
                segment[start : start + head_length], _HEAD_MEANING.pack(b"vfsjhead", offset, data_length)
            )
        except OpenFailedError:
            return None
        lsn, synced, changes = _decode(plain)
        return Frame(Head(lsn, synced, changes), start + head_length, data_length, end + (-end % ALIGN))

    def open_data(self, sealed: bytes, offset: int, lsn: int) -> bytes:
        """The data of the frame at `offset` with number `lsn`. Raises `OpenFailedError`."""
        return self.sealer.open(sealed, _DATA_MEANING.pack(b"vfsjdata", offset, lsn))


def parse_header(keys: VaultKeys, start: bytes) -> SegmentCodec | None:
    """The codec for a segment that begins with `start`; None when it was never used or is damaged.

    Raises `ValueError` with the version found when a newer vaultfs wrote it.
    """
    if len(start) < HEADER_BYTES or start[:4] != MAGIC:
        return None
    _, version, _, segment_id = _HEADER.unpack_from(start)
    if version > VERSION:
        raise ValueError(version)
    codec = SegmentCodec(keys, segment_id, 0, 0)
    plain_length = _HEADER.size
    try:
        body = codec.sealer.open(start[plain_length : plain_length + _BODY.size + OVERHEAD], start[:plain_length])
    except OpenFailedError:
        return None
    codec.number, codec.first_lsn = _BODY.unpack(body)
    return codec


assert _HEADER.size + _BODY.size + OVERHEAD <= HEADER_BYTES  # noqa: S101  # a fact of this file, not of its input
assert ID_BYTES == 16  # noqa: S101, PLR2004  # the struct above says 16s
