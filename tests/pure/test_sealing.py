"""Sealing: what was sealed opens, and nothing else does (invariant 5)."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vaultfs.crypto.keys import VaultKeys
from vaultfs.crypto.sealing import NONCE_BYTES, OVERHEAD, OpenFailedError, Sealer

KEY, OTHER_KEY = bytes(32), bytes([1] * 32)
SEALED = Sealer(KEY).seal(b"some content", b"meaning")


@given(st.binary(max_size=5000), st.binary(max_size=100), st.binary(min_size=32, max_size=32))
def test_round_trip(data: bytes, meaning: bytes, key: bytes) -> None:
    sealed = Sealer(key).seal(data, meaning)
    assert len(sealed) == len(data) + OVERHEAD
    assert Sealer(key).open(sealed, meaning) == data
    assert Sealer(key).open(memoryview(sealed), meaning) == data
    assert Sealer(key).seal(memoryview(data), meaning) == sealed


@pytest.mark.parametrize("bit", range(8 * len(SEALED)))
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    flipped = bytearray(SEALED)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(OpenFailedError):
        Sealer(KEY).open(bytes(flipped), b"meaning")


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_every_cut_is_noticed(length: int) -> None:
    with pytest.raises(OpenFailedError):
        Sealer(KEY).open(SEALED[:length], b"meaning")


def test_trailing_bytes_other_meaning_other_key() -> None:
    for key, sealed, meaning in [
        (KEY, SEALED + b"\0", b"meaning"),
        (KEY, SEALED, b"meaning "),
        (KEY, SEALED, b""),
        (OTHER_KEY, SEALED, b"meaning"),
    ]:
        with pytest.raises(OpenFailedError):
            Sealer(key).open(sealed, meaning)


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_no_nonce_serves_two_different_things(a: bytes, b: bytes, c: bytes, d: bytes) -> None:
    assume((a, b) != (c, d))
    sealer = Sealer(KEY)
    assert sealer.seal(a, b)[:NONCE_BYTES] != sealer.seal(c, d)[:NONCE_BYTES]


def test_moving_the_border_between_content_and_meaning() -> None:
    sealer = Sealer(KEY)
    assert sealer.seal(b"ab", b"c")[:NONCE_BYTES] != sealer.seal(b"a", b"bc")[:NONCE_BYTES]


def test_keys_differ_by_purpose_object_and_vault() -> None:
    ids = [bytes([number] * 16) for number in range(3)]
    derived = []
    for vault in ids:
        keys = VaultKeys(KEY, vault)
        derived += [
            keys.block_id,
            keys.head(1),
            keys.device_name(),
            keys.header(),
            keys.earlier(),
            keys.master() + vault,
        ]
        for one in ids:
            derived += [keys.pack(one[:14] + b"\1\0"), keys.journal(one), keys.database(one)]
    assert len(set(derived)) == len(derived)


def test_keys_show_nothing_of_themselves() -> None:
    keys = VaultKeys(bytes(range(100, 132)), bytes(16))
    shown = f"{keys} {keys!r} {Sealer(KEY)!r} {vars(type(keys)).keys()}"
    assert bytes(range(100, 132)).hex() not in shown
    assert repr(bytes(range(100, 132))) not in shown
    assert repr(keys) == f"VaultKeys(vault_id={bytes(16).hex()})"
    with pytest.raises(ValueError, match="32 bytes"):
        VaultKeys(bytes(31), bytes(16))
