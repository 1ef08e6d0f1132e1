"""The header's bytes: one form only, and every damage noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from tests.pure import golden
from vaultfs.crypto.keys import MAX_EPOCHS
from vaultfs.crypto.records import (
    GRANT_BYTES,
    MAX_DEVICES,
    MAX_SLOTS,
    PREFIX,
    Grant,
    Header,
    Removed,
    WalletSlot,
    WordsSlot,
)
from vaultfs.crypto.slots import unlock
from vaultfs.errors import HeaderDamagedError, NewerFormatError
from vaultfs.format.header import MAX_BYTES, decode_header, encode_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.wallet import Signer

binary16 = st.binary(min_size=16, max_size=16)
labels = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=64)
common = {
    "id": binary16,
    "created": st.integers(0, (1 << 40) - 1),
    "label": labels,
    "salt": binary16,
    "wrapped": st.binary(min_size=60, max_size=60),
}
wallet_slots = st.builds(
    WalletSlot,
    public_key=st.binary(min_size=32, max_size=32),
    message_version=st.integers(1, 65535),
    **common,
)
words_slots = st.builds(WordsSlot, passes=st.integers(1, 16), memory=st.integers(8192, 1 << 28), **common)
devices = st.builds(
    lambda granted, removed: (
        tuple(Grant(*one) for one in sorted(granted, key=lambda one: one[0])),
        tuple(Removed(one, removed[one]) for one in sorted(removed) if one not in {device for device, *_ in granted}),
    ),
    st.lists(
        st.tuples(binary16, binary16.map(lambda half: half * 2), st.just(bytes(GRANT_BYTES))),
        max_size=5,
        unique_by=lambda one: one[0],
    ),
    st.dictionaries(binary16, st.integers(0, 10**16 - 1), max_size=5),
)


def with_devices(header: Header, earlier: int, found: tuple[tuple[Grant, ...], tuple[Removed, ...]]) -> Header:
    granted, removed = found if earlier else ((), ())
    sealed = tuple(bytes([number % 256] * 60) for number in range(earlier))
    return msgspec.structs.replace(header, earlier=sealed, granted=granted, removed=removed)


plain_headers = st.builds(
    Header,
    earlier=st.just(()),
    granted=st.just(()),
    removed=st.just(()),
    number=st.integers(1, (1 << 63) - 1),
    vault_id=binary16,
    name=st.binary(min_size=92, max_size=92),
    slots=st.lists(wallet_slots | words_slots, min_size=1, max_size=MAX_SLOTS, unique_by=lambda slot: slot.id).map(
        tuple
    ),
    mac=st.binary(min_size=32, max_size=32),
)
headers = st.builds(with_devices, plain_headers, st.integers(0, MAX_EPOCHS - 1), devices)


@pytest.fixture(scope="module")
def data(alice: Signer) -> bytes:
    return bytes.fromhex(str(golden.header(alice)["bytes"]))


@given(headers)
def test_round_trip(header: Header) -> None:
    encoded = encode_header(header)
    assert decode_header(encoded, path="here") == header
    assert encode_header(decode_header(encoded, path="here")) == encoded
    assert len(encoded) <= MAX_BYTES
    assert encoded[-48:-16] == header.mac


def test_every_flipped_bit_is_noticed(data: bytes) -> None:
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(HeaderDamagedError, match="/vault/header"):
            decode_header(bytes(flipped), path="/vault/header")


def test_every_flipped_bit_with_the_checksum_mended(data: bytes, alice: Signer) -> None:
    """Somebody malicious mends the checksum: then the form, the slot or the MAC tells."""
    for bit in range(8 * (len(data) - 16)):
        flipped = bytearray(data[:-16])
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is checked below
            unlock(decode_header(mended(bytes(flipped)), path="here"), alice)
        assert type(caught.value).__name__ in {
            "HeaderDamagedError",
            "NewerFormatError",  # the version itself, of the header or of a message
            "WrongWalletError",  # the public key itself
        }


def test_every_cut_is_noticed(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(HeaderDamagedError):
            decode_header(data[:length], path="here")


def test_trailing_bytes(data: bytes) -> None:
    for wrong in (
        data + b"\0",
        data * 2,
        mended(data[:-16] + b"\0"),
        mended(data),
        data.ljust(MAX_BYTES + 1),
    ):
        with pytest.raises(HeaderDamagedError):
            decode_header(wrong, path="here")


@given(st.binary(max_size=300))
def test_garbage(noise: bytes) -> None:
    for wrong in (noise, PREFIX + noise, mended(PREFIX + noise)):
        with pytest.raises(HeaderDamagedError):
            decode_header(wrong, path="here")


def test_size_limit(data: bytes) -> None:
    with pytest.raises(HeaderDamagedError, match=f"larger than {MAX_BYTES}"):
        decode_header(data.ljust(MAX_BYTES + 1), path="here")


def test_the_largest_header_is_not_too_large(data: bytes) -> None:
    header = decode_header(data, path="here")
    slots = tuple(
        msgspec.structs.replace(header.slots[0], id=bytes([n] * 16), label="\U0001f511" * 64) for n in range(32)
    )
    ids = [number.to_bytes(16, "big") for number in range(2 * MAX_DEVICES)]
    largest = msgspec.structs.replace(
        header,
        number=(1 << 63) - 1,
        slots=slots,
        earlier=(bytes(60),) * (MAX_EPOCHS - 1),
        granted=tuple(Grant(one, bytes(32), bytes(GRANT_BYTES)) for one in ids[:MAX_DEVICES]),
        removed=tuple(Removed(one, 10**16 - 1) for one in ids[MAX_DEVICES:]),
    )
    encoded = encode_header(largest)
    assert MAX_BYTES * 3 // 4 < len(encoded) <= MAX_BYTES
    assert decode_header(encoded, path="here") == largest


def test_bombs() -> None:
    for body in (b"\x91" * 30_000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"):
        with pytest.raises(HeaderDamagedError):
            decode_header(mended(PREFIX + body), path="here")


def test_later_version(data: bytes) -> None:
    later = data[:8] + (2).to_bytes(2, "little") + b"what nobody knows yet"
    with pytest.raises(NewerFormatError) as caught:
        decode_header(mended(later), path="here")
    assert caught.value.exit_code == 20
    with pytest.raises(HeaderDamagedError):
        decode_header(mended(data[:8] + bytes(2) + data[10:-16]), path="here")


RECORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown field": lambda record: {**record, "more": 1},
    "missing field": lambda record: {key: record[key] for key in record if key != "name"},
    "fields in another order": lambda record: dict(reversed(record.items())),
    "no slots": lambda record: {**record, "slots": []},
    "too many slots": lambda record: {
        **record,
        "slots": [{**record["slots"][0], "id": bytes([n] * 16)} for n in range(MAX_SLOTS + 1)],
    },
    "slots of one id": lambda record: {**record, "slots": record["slots"][:1] * 2},
    "unknown kind": lambda record: with_slot(record, kind="magic"),
    "unknown field in a slot": lambda record: with_slot(record, more=1),
    "long label": lambda record: with_slot(record, label="x" * 65),
    "label that moves the cursor": lambda record: with_slot(record, label="\x1b[2J"),
    "short key": lambda record: with_slot(record, public_key=bytes(31)),
    "message version 0": lambda record: with_slot(record, message_version=0),
    "text for bytes": lambda record: with_slot(record, salt="x" * 16),
    "costly words": lambda record: {**record, "slots": [{**record["slots"][1], "memory": (1 << 28) + 1}]},
    "slow words": lambda record: {**record, "slots": [{**record["slots"][1], "passes": 1000}]},
    "number 0": lambda record: {**record, "number": 0},
    "negative time": lambda record: with_slot(record, created=-1),
    "fraction": lambda record: {**record, "number": 3.0},
    "a list": lambda record: list(record.values()),
    "too many epochs": lambda record: {**record, "earlier": [bytes(60)] * MAX_EPOCHS},
    "short earlier key": lambda record: {**record, "earlier": [bytes(59)]},
    "removed without new keys": lambda record: {**record, "removed": [[bytes(16), 1]]},
    "granted without new keys": lambda record: {**record, "granted": [granted(1)]},
    "granted out of order": lambda record: new_keys(record, granted=[granted(2), granted(1)]),
    "granted twice": lambda record: new_keys(record, granted=[granted(1), granted(1)]),
    "too many granted": lambda record: new_keys(record, granted=[granted(n) for n in range(MAX_DEVICES + 1)]),
    "short grant": lambda record: new_keys(record, granted=[[*granted(1)[:2], bytes(GRANT_BYTES - 1)]]),
    "grant with more": lambda record: new_keys(record, granted=[[*granted(1), 1]]),
    "short key of a device": lambda record: new_keys(record, granted=[[bytes(16), bytes(31), bytes(GRANT_BYTES)]]),
    "removed twice": lambda record: new_keys(record, removed=[[bytes(16), 1], [bytes(16), 2]]),
    "too many removed": lambda record: new_keys(record, removed=[[granted(n)[0], 1] for n in range(MAX_DEVICES + 1)]),
    "removed below 0": lambda record: new_keys(record, removed=[[bytes(16), -1]]),
    "removed too high": lambda record: new_keys(record, removed=[[bytes(16), 10**16]]),
    "granted and removed": lambda record: new_keys(record, granted=[granted(1)], removed=[[granted(1)[0], 1]]),
}


def granted(number: int) -> list[Any]:
    return [number.to_bytes(16, "big"), bytes(32), bytes(GRANT_BYTES)]


def new_keys(record: dict[str, Any], **fields: object) -> dict[str, Any]:
    return {**record, "earlier": [bytes(60)], **fields}


def with_slot(record: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {**record, "slots": [{**record["slots"][0], **changes}, record["slots"][1]]}


@pytest.mark.parametrize("change", RECORDS.values(), ids=RECORDS)
def test_other_records(change: Callable[[dict[str, Any]], object], data: bytes) -> None:
    record = msgspec.msgpack.decode(data[10:-16])
    for right in (record, new_keys(record, granted=[granted(1), granted(2)], removed=[[bytes(16), 0]])):
        assert decode_header(mended(PREFIX + msgspec.msgpack.encode(right)), path="here")  # the tool is right
    with pytest.raises(HeaderDamagedError):
        decode_header(mended(PREFIX + msgspec.msgpack.encode(change(record))), path="here")


def test_longer_form_of_the_same_record(data: bytes) -> None:
    position = data.index(b"\xa6number") + 7
    longer = data[:position] + b"\xcc" + data[position:-16]  # 3 as `uint 8` instead of one byte
    assert msgspec.msgpack.decode(longer[10:]) == msgspec.msgpack.decode(data[10:-16])
    with pytest.raises(HeaderDamagedError, match="one proper form"):
        decode_header(mended(longer), path="here")


def mended(content: bytes) -> bytes:
    return content + blake3(content).digest(16)
