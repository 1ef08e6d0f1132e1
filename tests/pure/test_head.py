"""Heads: what goes in comes out, and anything else is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from nacl.signing import SigningKey

from tests.pure import golden, golden_tree
from vaultfs.crypto.device import DeviceIdentity
from vaultfs.crypto.keys import VaultKeys
from vaultfs.crypto.sealing import Sealer
from vaultfs.errors import NewerFormatError
from vaultfs.format import head as heads
from vaultfs.format.head import (
    Head,
    HeadForgedError,
    HeadKeyError,
    HeadRefusedError,
    IndexPlace,
    OpenPath,
    PackPlace,
    head_name,
    open_head,
    parse_name,
    seal_head,
)
from vaultfs.format.node import Dot

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = golden.KEYS
DEVICE = golden_tree.device()
HEAD = golden_tree.head_record()
DATA = seal_head(HEAD, DEVICE, KEYS)
PREFIX = heads.PREFIX + (1).to_bytes(2, "little")

ids = st.binary(min_size=16, max_size=16)
counts = st.integers(0, (1 << 63) - 1)
paths = st.lists(st.binary(min_size=1, max_size=20).map(lambda name: name.hex().encode()), min_size=1, max_size=3)
open_paths = st.dictionaries(paths.map(b"/".join), st.integers(-(1 << 62), 1 << 62), max_size=3).map(
    lambda found: tuple(OpenPath(path, found[path]) for path in sorted(found))
)


@st.composite
def records(draw: st.DrawFn) -> Head:
    number = draw(st.integers(1, 10**16 - 1))
    vector = draw(st.dictionaries(ids, st.integers(1, (1 << 63) - 1), max_size=4)) | {DEVICE.id: number}
    packs = draw(st.dictionaries(ids, st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40)), max_size=3))
    indexes = draw(st.dictionaries(ids, st.integers(0, 1 << 40), max_size=3))
    return Head(
        device=DEVICE.id,
        public_key=DEVICE.public_key,
        number=number,
        root=draw(st.binary(min_size=32, max_size=32)),
        vector=heads.vector_of(vector),
        time=draw(st.integers(-(1 << 62), 1 << 62)),
        label=draw(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=64)),
        packs=tuple(PackPlace(pack, sum(packs[pack]), *packs[pack]) for pack in packs),
        indexes=tuple(IndexPlace(index, 2 * size, size) for index, size in sorted(indexes.items())),
        open=draw(open_paths),
        held=draw(open_paths),
    )


@given(records())
def test_round_trip(head: Head) -> None:
    data = seal_head(head, DEVICE, KEYS)
    assert data == seal_head(head, DEVICE, KEYS)
    assert open_head(data, head.name, KEYS, public_key=DEVICE.public_key) == head
    assert (len(data) - heads.PREFIX_BYTES - 28) % heads.PADDING == 0


def test_names() -> None:
    assert parse_name(HEAD.name) == (HEAD.device, HEAD.number)
    assert head_name(bytes(16), 9) < head_name(bytes(16), 10)
    good = HEAD.name
    for wrong in ("", "heads", good + "0", good[:-1], good.upper(), "/" + good, good[:-16] + "0" * 16, good + "\n"):
        with pytest.raises(HeadRefusedError, match="name"):
            parse_name(wrong)


def test_every_flipped_bit_is_noticed() -> None:
    for bit in range(8 * len(DATA)):
        flipped = bytearray(DATA)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((HeadRefusedError, NewerFormatError)):
            open_head(bytes(flipped), HEAD.name, KEYS)


def test_every_cut_is_noticed() -> None:
    for length in range(len(DATA)):
        with pytest.raises(HeadRefusedError):
            open_head(DATA[:length], HEAD.name, KEYS)
    with pytest.raises(HeadRefusedError):
        open_head(DATA + b"\0", HEAD.name, KEYS)


def test_a_head_under_another_name() -> None:
    for name in (head_name(HEAD.device, HEAD.number + 1), head_name(bytes(16), HEAD.number)):
        with pytest.raises(HeadRefusedError, match="another name"):
            open_head(DATA, name, KEYS)


def test_a_head_of_another_vault() -> None:
    """Also of one with the same master key, which a copied vault under a new id would be."""
    for keys in (VaultKeys(bytes(32), golden.VAULT_ID), VaultKeys(golden.MASTER, bytes(16))):
        with pytest.raises(HeadRefusedError):
            open_head(DATA, HEAD.name, keys)


def test_a_device_forged_by_somebody_with_the_vaults_keys() -> None:
    other = DeviceIdentity(DEVICE.id, DEVICE.label, DEVICE.created, SigningKey(bytes(32)))
    forged = seal_head(replace(HEAD, public_key=other.public_key), other, KEYS)
    assert open_head(forged, HEAD.name, KEYS)  # whoever never saw the device cannot tell
    with pytest.raises(HeadKeyError, match="not its device's"):
        open_head(forged, HEAD.name, KEYS, public_key=DEVICE.public_key)
    with pytest.raises(ValueError, match="own device"):
        seal_head(HEAD, other, KEYS)


def test_a_signature_that_is_not_the_devices() -> None:
    with pytest.raises(HeadForgedError, match="not signed"):
        open_head(resealed(record(), signer=SigningKey(bytes(32))), HEAD.name, KEYS)
    assert open_head(resealed(record()), HEAD.name, KEYS) == HEAD  # the tool is right


def test_later_version() -> None:
    with pytest.raises(NewerFormatError) as caught:
        open_head(DATA[:8] + (2).to_bytes(2, "little") + DATA[10:], HEAD.name, KEYS)
    assert caught.value.exit_code == 20
    with pytest.raises(HeadRefusedError, match="never was"):
        open_head(DATA[:8] + bytes(2) + DATA[10:], HEAD.name, KEYS)


def record() -> dict[str, Any]:
    return dict(msgspec.to_builtins(HEAD, builtin_types=(bytes,)))


def resealed(fields: dict[str, Any] | bytes, *, signer: SigningKey = DEVICE.signing_key, padding: int = 0) -> bytes:
    data = fields if isinstance(fields, bytes) else msgspec.msgpack.encode(fields)
    name = HEAD.name
    signature = signer.sign(b"vaultfs head signature\0" + golden.VAULT_ID + name.encode() + data).signature
    plain = len(data).to_bytes(4, "little") + data + signature
    plain += bytes(-len(plain) % 512 + padding)
    return PREFIX + Sealer(KEYS.head(1)).seal(plain, PREFIX + golden.VAULT_ID + name.encode())


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "unknown field": lambda fields: {**fields, "more": 1},
    "missing field": lambda fields: {key: fields[key] for key in fields if key != "root"},
    "other order": lambda fields: dict(reversed(fields.items())),
    "other device": lambda fields: {**fields, "device": bytes(16)},
    "other number": lambda fields: {**fields, "number": fields["number"] + 1},
    "does not include itself": lambda fields: {**fields, "vector": fields["vector"][:1]},
    "empty vector": lambda fields: {**fields, "vector": []},
    "vector out of order": lambda fields: {**fields, "vector": fields["vector"][::-1]},
    "one device twice": lambda fields: {**fields, "vector": [fields["vector"][0], *fields["vector"]]},
    "counter 0": lambda fields: {**fields, "vector": [[bytes(16), 0], *fields["vector"]]},
    "short root": lambda fields: {**fields, "root": bytes(31)},
    "no label": lambda fields: {**fields, "label": ""},
    "label that moves the cursor": lambda fields: {**fields, "label": "\x1b[2J"},
    "long label": lambda fields: {**fields, "label": "x" * 65},
    "footer outside": lambda fields: {**fields, "packs": [[bytes(16), 10, 5, 6]]},
    "one pack twice": lambda fields: {**fields, "packs": fields["packs"][:1] * 2},
    "index without a size": lambda fields: {**fields, "indexes": [index[:1] for index in fields["indexes"]]},
    "front outside": lambda fields: {**fields, "indexes": [[bytes(16), 10, 11]]},
    "indexes out of order": lambda fields: {**fields, "indexes": [[bytes([1] * 16), 9, 1], [bytes(16), 9, 1]]},
    "absolute path": lambda fields: {**fields, "open": [[b"/etc", 0]]},
    "path that climbs": lambda fields: {**fields, "open": [[b"a/../b", 0]]},
    "path with a zero": lambda fields: {**fields, "held": [[b"a\0", 0]]},
    "one path twice": lambda fields: {**fields, "held": [[b"a", 0], [b"a", 1]]},
    "fraction": lambda fields: {**fields, "time": 1.0},
    "a list": lambda fields: list(fields.values()),
    "number in a longer form": lambda fields: longer(msgspec.msgpack.encode(fields)),
    "bomb": lambda _: b"\xdd\xff\xff\xff\xff",
    "deep": lambda _: b"\x91" * 100_000,
    "nothing": lambda _: b"",
}


def longer(data: bytes) -> bytes:
    position = data.index(b"\xa6number") + 7
    return data[:position] + b"\xcd\0" + data[position:]  # 7 as `uint 16`


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_records_rightly_signed(change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(HeadRefusedError):
        open_head(resealed(change(record())), HEAD.name, KEYS)


def test_padding() -> None:
    with pytest.raises(HeadRefusedError, match="malformed"):
        open_head(resealed(record(), padding=512), HEAD.name, KEYS)
    with pytest.raises(HeadRefusedError, match="malformed"):
        open_head(resealed(record(), padding=1), HEAD.name, KEYS)


@pytest.mark.parametrize(
    "fields",
    [
        {"vector": (Dot(bytes(16), 1),)},
        {"label": "\n"},
        {"open": (OpenPath(b"..", 0),)},
        {"root": b"short"},
        {"packs": tuple(PackPlace(n.to_bytes(16, "big"), 1 << 60, 0, 0) for n in range(16385))},
    ],
)
def test_what_would_be_refused_is_not_written(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        seal_head(replace(HEAD, **fields), DEVICE, KEYS)


@settings(max_examples=50)
@given(st.binary(max_size=600))
def test_garbage(noise: bytes) -> None:
    for wrong in (noise, heads.PREFIX + bytes(2) + noise, PREFIX + noise):
        with pytest.raises(HeadRefusedError):
            open_head(wrong, HEAD.name, KEYS)
