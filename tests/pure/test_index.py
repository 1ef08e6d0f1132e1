"""Index objects: every id is found where it stands, with two ranges; anything else than what was sealed is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pure import golden
from tests.pure.conftest import FIXTURES
from vaultfs.crypto.keys import VaultKeys
from vaultfs.format import index as indexes
from vaultfs.format.head import IndexPlace, PackPlace
from vaultfs.format.index import Front, Index, IndexDamagedError, build_index, joined, records_of
from vaultfs.format.pack import Codec, Entry, Kind, padme

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = golden.KEYS


def pack(number: int) -> PackPlace:
    return PackPlace(number.to_bytes(16, "big"), 1 << 20, 900_000, 1000)


def entry(text: object, at: int = 0) -> Entry:
    name = blake3(str(text).encode()).digest()
    return Entry(Kind.NODE if at % 3 else Kind.BLOCK, name, 24 + at, 100, 72 + at, Codec(at % 2))


def lookup(index: Index, name: bytes) -> indexes.Found | None:
    """As a reader does it: the front, then one chunk."""
    front = Front(KEYS, index.place, index.data[: index.place.front])
    number = front.chunk_of(name)
    if number is None:
        return None
    start = front.offset(number)
    return front.find(front.open_chunk(number, index.data[start : start + front.length(number)]), name)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 500), unique=True, max_size=60), min_size=1, max_size=5).filter(any),
    st.integers(1, 20),
)
def test_everything_is_found(packs: list[list[int]], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexes, "CHUNK_RECORDS", chunk)
        entries = {number: [entry(one, at) for at, one in enumerate(ones)] for number, ones in enumerate(packs)}
        sources = [records_of(pack(number), lines) for number, lines in entries.items()]
        index = build_index(KEYS, joined(sources))
        assert index == build_index(KEYS, joined(sources[::-1])), "the order does not matter"
        assert len(index.data) == index.place.size == padme(index.place.size)
        for one in range(500):
            name = entry(one).id
            holders = [
                (number, at) for number, lines in entries.items() for at, line in enumerate(lines) if line.id == name
            ]
            found = lookup(index, name)
            if not holders:
                assert found is None
                continue
            number, at = min(holders)
            assert found == indexes.Found(pack(number), at, entries[number][at])


def test_an_index_of_indexes_is_the_index_of_all() -> None:
    sources = [records_of(pack(n), [entry((n, at), at) for at in range(50)]) for n in range(6)]
    halves = [joined(sources[:3]), joined(sources[3:])]
    assert build_index(KEYS, joined(halves)) == build_index(KEYS, joined(sources))


def test_size() -> None:
    """A million entries cost one request of a few KB for the front, and one of at most 64 KiB for a chunk."""
    records = indexes.Records((pack(1),), b"".join(sorted(many(100_000))))
    index = build_index(KEYS, records)
    assert index.place.front < 64 << 10
    front = Front(KEYS, index.place, index.data[: index.place.front])
    assert front.length(0) - 28 <= 64 << 10
    assert front.chunks == 84


def many(count: int) -> list[bytes]:
    (record,) = [records_of(pack(1), [entry(1)]).lines]
    return [blake3(number.to_bytes(4, "big")).digest() + record[32:] for number in range(count)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setattr(indexes, "CHUNK_RECORDS", 2)
    return build_index(KEYS, joined([records_of(pack(n), [entry((n, at), at) for at in range(2)]) for n in range(3)]))


def read_all(index: Index, keys: VaultKeys = KEYS) -> list[bytes]:
    front = Front(keys, index.place, index.data[: index.place.front])
    starts = [(number, front.offset(number)) for number in range(front.chunks)]
    return [front.open_chunk(number, index.data[start : start + front.length(number)]) for number, start in starts]


def test_every_flipped_bit_is_noticed(small: Index) -> None:
    good = read_all(small)
    used = small.place.front + 3 * (2 * indexes.RECORD_BYTES + 28)
    for bit in range(8 * len(small.data)):
        flipped = bytearray(small.data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert read_all(small._replace(data=bytes(flipped))) == good
        except IndexDamagedError:
            assert bit // 8 < used
        else:
            assert bit // 8 >= used, "only the padding carries nothing"


def test_every_cut_is_noticed(small: Index) -> None:
    used = small.place.front + 3 * (2 * indexes.RECORD_BYTES + 28)
    for length in range(used):
        with pytest.raises(IndexDamagedError):
            read_all(small._replace(data=small.data[:length]))


def test_swapped_chunks_and_objects(small: Index) -> None:
    front = Front(KEYS, small.place, small.data[: small.place.front])
    start, second = front.offset(0), front.offset(1)
    swapped = small.data[second : second + front.length(1)]
    with pytest.raises(IndexDamagedError, match="altered"):
        front.open_chunk(0, swapped)
    other = build_index(KEYS, records_of(pack(1), [entry(1), entry(2)]))
    with pytest.raises(IndexDamagedError, match="not that index"):
        Front(KEYS, IndexPlace(small.place.id, other.place.size, other.place.front), other.data[: other.place.front])
    with pytest.raises(IndexDamagedError, match="altered"):
        front.open_chunk(0, small.data[start - 1 : start - 1 + front.length(0)])
    with pytest.raises(IndexDamagedError, match="another size"):
        Front(KEYS, small.place._replace(size=small.place.size + 64), small.data[: small.place.front])


def test_of_another_vault(small: Index) -> None:
    for keys in (VaultKeys(bytes(32), golden.VAULT_ID), VaultKeys(golden.MASTER, bytes(16))):
        with pytest.raises(IndexDamagedError, match="another vault"):
            read_all(small, keys)
    theirs = build_index(VaultKeys(golden.MASTER, bytes(16)), records_of(pack(1), [entry(1)]))
    assert theirs.place.id != build_index(KEYS, records_of(pack(1), [entry(1)])).place.id


def test_later_version(small: Index) -> None:
    """Anybody can write that there: it is no reason to read nothing else any more."""
    later = small.data[:4] + (2).to_bytes(2, "little") + small.data[6:]
    with pytest.raises(IndexDamagedError, match="not known here"):
        read_all(small._replace(data=later))


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "out of order": lambda lines: lines[54:] + lines[:54],
    "one twice": lambda lines: lines[:54] * 2,
    "a kind that is none": lambda lines: lines[:32] + b"\xff" + lines[33:],
    "a codec that is none": lambda lines: lines[:33] + b"\x07" + lines[34:],
    "a pack that is none": lambda lines: lines[:34] + b"\x01" + lines[35:],
    "more than its size needs": lambda lines: lines[:50] + bytes(4) + lines[54:],
    "beyond its pack": lambda lines: lines[:45] + b"\x7f" + lines[46:],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_rightly_sealed_but_wrong(change: Callable[[bytes], bytes]) -> None:
    right = records_of(pack(1), [entry(1), entry(2)])
    index = build_index(KEYS, right._replace(lines=change(right.lines)))
    with pytest.raises(IndexDamagedError, match=r"out of place|outside"):
        read_all(index)
    assert read_all(build_index(KEYS, right)) == [right.lines], "the tool is right"


def test_what_has_no_place_in_an_index() -> None:
    with pytest.raises(ValueError, match="nothing"):
        build_index(KEYS, joined([]))
    with pytest.raises(ValueError, match="neither"):
        records_of(pack(1), [entry(1)._replace(kind=255)])
    with pytest.raises(ValueError, match="4 GiB"):
        records_of(pack(1), [entry(1)._replace(offset=1 << 32)])
    with pytest.raises(IndexDamagedError, match="footer"):
        build_index(KEYS, records_of(pack(1)._replace(footer=1 << 20), [entry(1)]))


def test_stored_index_opens() -> None:
    stored = json.loads((FIXTURES / "golden" / "index.json").read_text())
    data = bytes.fromhex(stored["bytes"])
    index = Index(IndexPlace(bytes.fromhex(stored["name"][6:]), len(data), stored["front"]), data)
    for number in range(1210):
        assert lookup(index, blake3(b"entry %d" % number).digest()) is not None
    assert lookup(index, blake3(b"entry 1210").digest()) is None
