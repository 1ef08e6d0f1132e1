"""A second reader of a vault with several epochs, written after docs/format.md. No code of vaultfs."""

from __future__ import annotations

import hashlib
import json

import msgspec
import zstandard
from blake3 import blake3
from nacl.public import SealedBox
from nacl.signing import SigningKey

from tests.pure.test_second_reader import FIXTURES, golden, hkdf, open_wallet_slot, read_header, unseal


def earlier_masters(record: dict[str, object], master: bytes) -> list[bytes]:
    vault, sealed = record["vault_id"], record["earlier"]
    assert isinstance(vault, bytes)
    assert isinstance(sealed, list)
    key = hkdf(master, vault, "earlier")
    return [
        unseal(key, one, b"vaultfs earlier master\0" + vault + epoch.to_bytes(2, "little"))
        for epoch, one in enumerate(sealed, 1)
    ]


def test_header_by_wallet_and_by_grant() -> None:
    expected = golden("epochs")
    data = bytes.fromhex(expected["header"])
    record = read_header(data)
    vault = record["vault_id"]
    (slot,) = record["slots"]
    master = open_wallet_slot(vault, slot, SigningKey(hashlib.sha256(b"vaultfs TEST wallet alice, never use").digest()))
    header_key = hkdf(master, vault, "header")
    assert blake3(data[:-48], key=hkdf(header_key, b"", "header-mac")).digest() == record["mac"]
    assert [one.hex() for one in [*earlier_masters(record, master), master]] == expected["masters"]
    ((device, public_key, grant),) = record["granted"]
    signing = SigningKey(bytes.fromhex(expected["seed"]))
    assert (device.hex(), public_key) == (expected["device"], bytes(signing.verify_key))
    inside = SealedBox(signing.to_curve25519_private_key()).decrypt(grant)
    assert inside == vault + b"\x03\x00" + device + master
    assert [(one[:1], number) for one, number in record["removed"]] == [(b"\xd0", 7), (b"\xd1", 0)]


def test_head_of_the_third_epoch() -> None:
    expected, vault = golden("epochs"), bytes.fromhex(golden("keys")["vault_id"])
    data, name = bytes.fromhex(expected["head"]["bytes"]), expected["head"]["name"]
    assert data[:12] == b"VFSHEAD\0\x01\x00\x03\x00"
    key = hkdf(bytes.fromhex(expected["masters"][2]), vault, "head")
    plain = unseal(key, data[12:], data[:12] + vault + name.encode())
    other = json.loads((FIXTURES / "golden" / "head.json").read_text())
    first = unseal(
        bytes.fromhex(golden("keys")["head"]),
        bytes.fromhex(other["bytes"])[12:],
        bytes.fromhex(other["bytes"])[:12] + vault + name.encode(),
    )
    assert plain == first  # the same head; only the key is another


def test_packs_of_two_epochs() -> None:
    expected, vault = golden("epochs"), bytes.fromhex(golden("keys")["vault_id"])
    for epoch, text in zip((2, 3), expected["packs"], strict=True):
        data = bytes.fromhex(text)
        assert data[:8] == b"VFSP\x01\x00\x00\x00"
        pack_id = data[8:24]
        assert int.from_bytes(pack_id[14:], "little") == epoch
        key = hkdf(bytes.fromhex(expected["masters"][epoch - 1]), vault + pack_id, "pack")
        length, offset = int.from_bytes(data[-12:-8], "little"), int.from_bytes(data[-8:], "little")
        footer = unseal(key, data[offset : offset + length], b"vfspack1" + pack_id + b"\xff" * 5)
        version, entries = msgspec.msgpack.decode(footer)
        opened = []
        for number, (kind, block, at, size, plain_size, codec) in enumerate(entries):
            meaning = b"vfspack1" + pack_id + number.to_bytes(4, "little") + bytes([kind])
            plain = unseal(key, data[at : at + size], meaning)
            plain = zstandard.ZstdDecompressor().decompress(plain, max_output_size=plain_size) if codec else plain
            assert blake3(plain, key=bytes.fromhex(golden("keys")["block-id"])).digest() == block
            opened.append(plain)
        assert (version, opened) == (1, [b"hello", b"agent " * 100])
