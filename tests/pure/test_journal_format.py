"""The journal's bytes: frames come back as they were written, torn or strange ones do not come back at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultfs.crypto.keys import VaultKeys
from vaultfs.crypto.sealing import OpenFailedError
from vaultfs.format.journal import HEADER_BYTES, SegmentCodec, parse_header

KEYS = VaultKeys(bytes(range(32)), bytes(range(16)))
SEGMENT_ID = b"segment-of-tests"

scalars = st.none() | st.integers(-(1 << 62), 1 << 62) | st.binary(max_size=50)
changes = st.lists(st.lists(scalars, min_size=1, max_size=5).map(tuple), max_size=4)


def segment(frames: list[tuple[list[tuple[object, ...]], bytes]]) -> bytes:
    codec = SegmentCodec(KEYS, SEGMENT_ID, 7, 100)
    out = codec.header()
    for number, (frame, data) in enumerate(frames):
        out += b"".join(codec.frame(len(out), (100 + number, 99, frame), data))
    return out


@given(st.lists(st.tuples(changes, st.binary(max_size=300)), min_size=1, max_size=5))
@settings(deadline=None)
def test_round_trip(frames: list[tuple[list[tuple[object, ...]], bytes]]) -> None:
    buffer = segment(frames) + bytes(64)
    codec = parse_header(KEYS, buffer)
    assert codec is not None
    assert (codec.number, codec.first_lsn, codec.id) == (7, 100, SEGMENT_ID)
    offset = HEADER_BYTES
    for number, (expected, data) in enumerate(frames):
        frame = codec.parse(buffer, offset)
        assert frame is not None
        assert (frame.head.lsn, frame.head.synced, frame.head.changes) == (100 + number, 99, expected)
        if data:
            sealed = buffer[frame.data_offset : frame.data_offset + frame.data_length]
            assert codec.open_data(sealed, offset, frame.head.lsn) == data
        assert frame.end % 16 == 0
        offset = frame.end
    assert codec.parse(buffer, offset) is None


def test_every_flipped_bit_of_a_frame_is_found() -> None:
    buffer = segment([([(0, 1, b"record")], b"content of a page")])
    codec = parse_header(KEYS, buffer)
    assert codec is not None
    good = codec.parse(buffer, HEADER_BYTES)
    assert good is not None
    for bit in range(8 * HEADER_BYTES, 8 * (good.data_offset + good.data_length)):
        bad = bytearray(buffer)
        bad[bit // 8] ^= 1 << bit % 8
        frame = codec.parse(bytes(bad), HEADER_BYTES)
        if frame is not None:
            sealed = bytes(bad[frame.data_offset : frame.data_offset + frame.data_length])
            with pytest.raises(OpenFailedError):
                codec.open_data(sealed, HEADER_BYTES, frame.head.lsn)


def test_every_cut_and_every_flip_of_a_header_is_found() -> None:
    header = SegmentCodec(KEYS, SEGMENT_ID, 7, 100).header()
    assert all(parse_header(KEYS, header[:length]) is None for length in range(HEADER_BYTES))
    sealed_end = 24 + 16 + 28
    for bit in range(8 * sealed_end):
        bad = bytearray(header)
        bad[bit // 8] ^= 1 << bit % 8
        try:
            assert parse_header(KEYS, bytes(bad)) is None
        except ValueError as newer:
            assert newer.args[0] > 1  # noqa: PT017  # a version bit: refused as a newer format, also fine


def test_a_frame_opens_only_where_it_was_written() -> None:
    """Invariant 5: a frame moved inside its segment, or into a segment with another life, is no frame."""
    buffer = segment([([(0, 1, b"a")], b""), ([(0, 2, b"b")], b"")])
    codec = parse_header(KEYS, buffer)
    assert codec is not None
    first = codec.parse(buffer, HEADER_BYTES)
    assert first is not None
    frame = buffer[HEADER_BYTES : first.end]
    assert codec.parse(buffer[:HEADER_BYTES] + bytes(16) + frame, HEADER_BYTES + 16) is None
    again = SegmentCodec(KEYS, b"its other life!!", 8, 100)
    assert again.parse(again.header() + frame, HEADER_BYTES) is None


@given(st.binary(min_size=16, max_size=400))
@settings(deadline=None)
def test_random_bytes_are_no_frame(noise: bytes) -> None:
    codec = SegmentCodec(KEYS, SEGMENT_ID, 7, 100)
    assert codec.parse(codec.header() + codec.mark + noise, HEADER_BYTES) is None
