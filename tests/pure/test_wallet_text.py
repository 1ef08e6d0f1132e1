"""Base58, and the forms in which keys and signatures are handed over."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultfs.wallet import base58
from vaultfs.wallet.text import parse_fixed

# From the Bitcoin Core test vectors.
VECTORS = [
    ("", ""),
    ("61", "2g"),
    ("626262", "a3gV"),
    ("73696d706c792061206c6f6e6720737472696e67", "2cFupjhnEsSn59qHXstmK2ffpLv2"),
    ("00eb15231dfceb60925886b67d065299925915aeb172c06647", "1NS17iag9jJgTHD1VXjvLCEnZuQ3rJDE9L"),
    ("00000000000000000000", "1111111111"),
]


@pytest.mark.parametrize(("data", "text"), VECTORS)
def test_base58_vectors(data: str, text: str) -> None:
    assert base58.encode(bytes.fromhex(data)) == text
    assert base58.decode(text).hex() == data


@given(st.binary(max_size=80))
def test_base58_round_trip(data: bytes) -> None:
    assert base58.decode(base58.encode(data)) == data


@pytest.mark.parametrize("text", ["0", "O", "I", "l", "a b", "é"])
def test_base58_refuses_other_letters(text: str) -> None:
    with pytest.raises(ValueError, match="base58"):
        base58.decode(text)


@given(st.sampled_from([32, 64]).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
def test_every_form_gives_the_same_bytes(data: bytes) -> None:
    forms = [
        data,
        data.hex().encode(),
        data.hex().upper().encode() + b"\n",
        base64.b64encode(data) + b"\n",
        base64.urlsafe_b64encode(data),
        b"  " + base58.encode(data).encode() + b"\r\n",
    ]
    for form in forms:
        # As many letters as bytes wanted are raw bytes; base58 is that short only for many zeros.
        if form is data or len(form) != len(data):
            assert parse_fixed(form, len(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 63,
        b"\xff" * 65,
        b"abc",
        b"zz" * 64,
        b"=",
        b"A" * 88 + b"=",
        b"1" * 10_000,
        "é".encode() * 40,
    ],
)
def test_anything_else_is_none(data: bytes) -> None:
    assert parse_fixed(data, 64) is None
