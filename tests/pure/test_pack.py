"""The pack codec: what goes in comes out, and nothing else does."""

from __future__ import annotations

import os
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultfs.crypto.keys import VaultKeys
from vaultfs.errors import NewerFormatError
from vaultfs.format import pack as packs
from vaultfs.format.pack import (
    BLOCK_BYTES,
    PACK_BYTES,
    TRAILER_BYTES,
    Codec,
    Entry,
    Kind,
    PackCodec,
    PackDamagedError,
    block_id,
    padme,
    parse_header,
)

KEYS = VaultKeys(bytes(range(32)), bytes(range(16)))
PACK_ID = b"pack-id-of-tes\1\0"


def built(blocks: list[bytes]) -> tuple[bytes, list[Entry]]:
    codec = PackCodec(KEYS, PACK_ID)
    pack, entries = codec.header(), []
    for number, data in enumerate(blocks):
        sealed, how = codec.seal(number, Kind.BLOCK, data)
        entries.append(Entry(Kind.BLOCK, block_id(KEYS, data), len(pack), len(sealed), len(data), how))
        pack += sealed
    return pack + codec.finish(len(pack), entries), entries


@given(st.lists(st.binary(min_size=1, max_size=9000), max_size=6))
@settings(deadline=None)
def test_round_trip(blocks: list[bytes]) -> None:
    pack, entries = built(blocks)
    assert parse_header(pack) == (1, PACK_ID)
    assert len(pack) == padme(len(pack))
    found = PackCodec(KEYS, PACK_ID).read_footer(pack)
    assert found == entries
    codec = PackCodec(KEYS, PACK_ID)
    for number, (entry, data) in enumerate(zip(found, blocks, strict=True)):
        assert codec.open(number, entry, pack[entry.offset : entry.offset + entry.length]) == data


def test_what_compresses_is_compressed_and_what_does_not_is_not() -> None:
    _, entries = built([b"agent " * 2000, os.urandom(BLOCK_BYTES)])
    assert entries[0].codec == Codec.ZSTD
    assert entries[0].length < 300
    assert entries[1].codec == Codec.RAW


def test_an_entry_opens_only_in_its_own_place() -> None:
    """Invariant 5: authenticated with its meaning, so that no host can swap blocks."""
    pack, entries = built([b"first" * 100, b"other" * 100])
    sealed = [pack[entry.offset : entry.offset + entry.length] for entry in entries]
    codec = PackCodec(KEYS, PACK_ID)
    with pytest.raises(PackDamagedError):
        codec.open(1, entries[0], sealed[0])
    with pytest.raises(PackDamagedError):
        codec.open(0, entries[0]._replace(kind=Kind.NODE), sealed[0])
    with pytest.raises(PackDamagedError):
        PackCodec(KEYS, b"another-pack-i\1\0").open(0, entries[0], sealed[0])
    with pytest.raises(PackDamagedError):
        PackCodec(VaultKeys(bytes(range(32)), bytes(16)), PACK_ID).open(0, entries[0], sealed[0])
    with pytest.raises(PackDamagedError):
        codec.open(0, entries[0]._replace(size=3), sealed[0])


def frame(content: int) -> bytes:
    """A Zstandard frame that says it holds so many bytes, and ends at once."""
    return b"\x28\xb5\x2f\xfd\xe0" + content.to_bytes(8, "little") + b"\x01\x00\x00"


def opened(packed: bytes, size: int, name: bytes = bytes(32)) -> bytes:
    """What an entry of `size` bytes and that id opens to whose seal holds `packed`."""
    codec = PackCodec(KEYS, PACK_ID)
    sealed, how = codec.seal(0, Kind.BLOCK, packed)
    assert how == Codec.RAW, "it stands in the seal as it is"
    return codec.open(0, Entry(Kind.BLOCK, name, 24, len(sealed), size, Codec.ZSTD), sealed)


@pytest.mark.parametrize("content", [0, 1, BLOCK_BYTES + 1, 64 << 20, 1 << 46])
def test_a_frame_of_another_size_is_refused_before_it_takes_memory(content: int) -> None:
    assert zstandard.frame_content_size(frame(content)) == content
    tracemalloc.start()
    try:
        with pytest.raises(PackDamagedError):
            opened(frame(content), BLOCK_BYTES)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_only_a_frame_that_names_its_size_opens() -> None:
    data = b"agent " * 12
    packed = zstandard.ZstdCompressor().compress(data)
    name = block_id(KEYS, data)
    assert opened(packed, len(data), name) == data
    unnamed = zstandard.ZstdCompressor(write_content_size=False).compress(data)
    for wrong in (unnamed, packed[:-1], packed[:4], b"", b"not a frame"):
        with pytest.raises(PackDamagedError):
            opened(wrong, len(data), name)


def test_every_flipped_bit_and_every_cut_of_a_pack_is_found() -> None:
    blocks = [b"x" * 50, os.urandom(40)]
    pack, entries = built(blocks)
    codec = PackCodec(KEYS, PACK_ID)
    used = entries[-1].offset + entries[-1].length
    for bit in range(8 * len(pack)):
        bad = bytearray(pack)
        bad[bit // 8] ^= 1 << bit % 8
        same_header = parse_safely(bad) == (1, PACK_ID)
        try:
            whole = codec.read_footer(bytes(bad)) == entries
            for number, entry in enumerate(entries):
                codec.open(number, entry, bytes(bad[entry.offset : entry.offset + entry.length]))
        except PackDamagedError:
            continue
        # What is left are the reserved field, and padding between footer and trailer, which carry nothing.
        assert whole
        assert not same_header or bit // 8 in (6, 7) or bit // 8 >= used
    for length in range(len(pack)):
        with pytest.raises(PackDamagedError):
            codec.read_footer(pack[:length])


def test_the_index_of_a_later_version_is_refused_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(packs, "VERSION", packs.VERSION + 1)
        pack, _ = built([b"block"])
    with pytest.raises(NewerFormatError, match="has format version 2"):
        PackCodec(KEYS, PACK_ID).read_footer(pack)


def parse_safely(pack: bytes) -> object:
    try:
        return parse_header(pack)
    except PackDamagedError:
        return None


def test_two_different_blocks_never_share_a_nonce() -> None:
    codec = PackCodec(KEYS, PACK_ID)
    nonces = {codec.seal(0, Kind.BLOCK, data)[0][:12] for data in (b"a" * 99, b"b" * 99, os.urandom(99))}
    assert len(nonces) == 3
    assert codec.seal(0, Kind.BLOCK, b"a" * 99) == PackCodec(KEYS, PACK_ID).seal(0, Kind.BLOCK, b"a" * 99)


def test_block_ids_differ_between_vaults() -> None:
    assert block_id(KEYS, b"x") != block_id(VaultKeys(bytes(range(32)), bytes(16)), b"x")


@given(st.integers(0, 1 << 40))
def test_padding_is_at_most_12_percent_and_stable(size: int) -> None:
    padded = padme(size)
    assert size <= padded <= max(size * 1.12, size + 1)
    assert padme(padded) == padded
    assert padme(PACK_BYTES) == PACK_BYTES


def test_trailer_size_is_what_the_format_says() -> None:
    assert TRAILER_BYTES == 16
