"""A second reader of keys, slots, header and device record, written after docs/format.md.

No code of vaultfs: if the page and the program drift apart, this fails.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.pwhash import argon2id
from nacl.signing import SigningKey

FIXTURES = Path(__file__).parents[2] / "fixtures"


def hkdf(secret: bytes, salt: bytes, label: str) -> bytes:
    prk = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(prk, b"vaultfs/1 " + label.encode() + b"\x01", "sha256")


def unseal(key: bytes, sealed: bytes, meaning: bytes) -> bytes:
    data = AESGCM(hkdf(key, b"", "aead")).decrypt(sealed[:12], sealed[12:], meaning)
    text = data + len(data).to_bytes(8, "little") + meaning
    assert blake3(text, key=hkdf(key, b"", "nonce")).digest(12) == sealed[:12]
    return data


def golden(name: str) -> Any:
    return json.loads((FIXTURES / "golden" / f"{name}.json").read_text())


def read_header(data: bytes) -> dict[str, Any]:
    assert data[:10] == b"VAULTFS\0\x01\x00"
    assert blake3(data[:-16]).digest(16) == data[-16:]
    record: dict[str, Any] = msgspec.msgpack.decode(data[10:-16])
    assert record["mac"] == data[-48:-16]
    assert list(record) == ["number", "vault_id", "name", "slots", "earlier", "granted", "removed", "mac"]
    return record


def open_wallet_slot(vault: bytes, slot: dict[str, Any], wallet: SigningKey) -> bytes:
    message = (
        "vaultfs: open my vault\n\n"
        "Sign this only in vaultfs, on a machine you trust.\n"
        "Whoever gets this signature can open the vault.\n\n"
        "Purpose: unlock one key slot of one vault\n"
        f"Vault: {vault.hex()}\nSlot: {slot['id'].hex()}\nMessage version: 1"
    )
    key = hkdf(wallet.sign(message.encode()).signature, vault + slot["salt"], "slot-wallet")
    meaning = vault + slot["id"] + slot["salt"] + slot["public_key"] + b"\x01\x00"
    return unseal(key, slot["wrapped"], b"vaultfs slot wallet\0" + meaning)


def open_words_slot(vault: bytes, slot: dict[str, Any], words: str) -> bytes:
    cost = {"opslimit": slot["passes"], "memlimit": slot["memory"]}
    key = hkdf(argon2id.kdf(32, words.encode(), slot["salt"], **cost), vault + slot["salt"], "slot-words")
    numbers = slot["passes"].to_bytes(2, "little") + slot["memory"].to_bytes(8, "little")
    return unseal(key, slot["wrapped"], b"vaultfs slot words\0" + vault + slot["id"] + slot["salt"] + numbers)


def test_header_and_slots() -> None:
    expected = golden("header")
    data = bytes.fromhex(expected["bytes"])
    record = read_header(data)
    vault = record["vault_id"]
    seed = bytes(json.loads((FIXTURES / "wallets" / "TEST-ONLY-alice.json").read_text()))[:32]
    assert seed == hashlib.sha256(b"vaultfs TEST wallet alice, never use").digest()
    wallet, words = record["slots"]
    assert (wallet["kind"], words["kind"]) == ("wallet", "words")
    master = open_wallet_slot(vault, wallet, SigningKey(seed))
    assert master.hex() == expected["master"]
    assert open_words_slot(vault, words, expected["words"]) == master
    header_key = hkdf(master, vault, "header")
    assert blake3(data[:-48], key=hkdf(header_key, b"", "header-mac")).digest() == record["mac"]
    name = unseal(header_key, record["name"], b"vaultfs vault name" + vault)
    assert name == expected["name"].encode().ljust(64, b"\0")


def test_derived_keys() -> None:
    keys = golden("keys")
    master, vault = bytes.fromhex(keys["master"]), bytes.fromhex(keys["vault_id"])
    for label in ("block-id", "head", "device-name", "header", "earlier"):
        assert hkdf(master, vault, label).hex() == keys[label]
    for label, which in (("pack", "pack_id"), ("journal", "object_id"), ("local-database", "object_id")):
        assert hkdf(master, vault + bytes.fromhex(keys[which]), label).hex() == keys[label]


def test_sealed_bytes() -> None:
    for sample in golden("sealing"):
        key, data, meaning, sealed = (bytes.fromhex(sample[name]) for name in ("key", "data", "meaning", "sealed"))
        assert unseal(key, sealed, meaning) == data


def test_device_record() -> None:
    expected, keys = golden("device"), golden("keys")
    data = bytes.fromhex(expected["bytes"])
    assert data[:10] == b"VAULTDEV\x01\x00"
    meaning = data[:10] + bytes.fromhex(keys["vault_id"])
    record = msgspec.msgpack.decode(unseal(bytes.fromhex(keys["device-name"]), data[10:], meaning))
    assert list(record) == ["id", "created", "label", "seed"]
    assert {key: value.hex() if isinstance(value, bytes) else value for key, value in record.items()} == {
        key: expected[key] for key in record
    }
