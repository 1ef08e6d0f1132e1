"""Golden vectors: the bytes vaultfs writes today are the bytes it wrote when these files were made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.pure import golden
from tests.pure.conftest import FIXTURES
from vaultfs.crypto.device import load_device
from vaultfs.crypto.slots import unlock, unlock_with_words, vault_name
from vaultfs.format.header import decode_header

if TYPE_CHECKING:
    from vaultfs.wallet import Signer


def stored(name: str) -> dict[str, str]:
    content: dict[str, str] = json.loads((FIXTURES / "golden" / f"{name}.json").read_text())
    return content


@pytest.mark.parametrize("name", ["keys", "sealing", "words", "device"])
def test_bytes_are_as_ever(name: str) -> None:
    assert getattr(golden, name)() == stored(name)


@pytest.mark.parametrize("name", ["wallet", "header"])
def test_bytes_made_with_a_wallet_are_as_ever(name: str, alice: Signer) -> None:
    assert getattr(golden, name)(alice) == stored(name)


def test_stored_header_opens(alice: Signer) -> None:
    header = decode_header(bytes.fromhex(stored("header")["bytes"]), path="fixture")
    for keys in (unlock(header, alice), unlock_with_words(header, stored("header")["words"])):
        assert keys.master() == golden.MASTER
        assert vault_name(header, keys) == golden.NAME


def test_stored_device_opens() -> None:
    device = load_device(bytes.fromhex(stored("device")["bytes"]), golden.KEYS)
    assert (device.id, device.label, device.created) == (golden.OBJECT_ID, "render-box", golden.CREATED)
    assert bytes(device.signing_key).hex() == stored("device")["seed"]
