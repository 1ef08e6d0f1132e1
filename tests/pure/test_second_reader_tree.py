"""A second reader of heads and tree nodes, and a second writer of directories, written after docs/format.md.

No code of vaultfs: if the page and the program drift apart, this fails.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3
from nacl.signing import VerifyKey

from tests.pure.test_second_reader import hkdf, unseal

FIXTURES = Path(__file__).parents[2] / "fixtures" / "golden"
DEVICE, OTHER = bytes(range(0x60, 0x70)), bytes([0xD0] * 16)
pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode


def golden(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def key(name: str) -> bytes:
    return bytes.fromhex(golden("keys")[name])


def test_head() -> None:
    data, name = bytes.fromhex(golden("head")["bytes"]), golden("head")["name"]
    assert data[:12] == b"VFSHEAD\0\x01\x00\x01\x00"
    bound = key("vault_id") + name.encode()
    plain = unseal(key("head"), data[12:], data[:12] + bound)
    assert len(plain) % 512 == 0
    length = int.from_bytes(plain[:4], "little")
    record, signature, padding = plain[4 : 4 + length], plain[4 + length : 68 + length], plain[68 + length :]
    assert not any(padding)
    head = unpack(record)
    assert pack(head) == record
    VerifyKey(head["public_key"]).verify(b"vaultfs head signature\0" + bound + record, signature)
    assert name == f"heads/{head['device'].hex()}/{head['number']:016}"
    assert dict(head["vector"])[head["device"]] == head["number"]
    assert (head["label"], head["open"]) == ("render-box", [[b"hermes/state.db", head["time"]]])
    assert list(head) == [
        "device", "public_key", "number", "root", "vector", "time", "label", "packs", "indexes", "open", "held",
    ]  # fmt: skip


def test_index() -> None:
    data, name = bytes.fromhex(golden("index")["bytes"]), golden("index")["name"]
    index_id = data[8:24]
    assert index_id[14:] == b"\x01\x00"  # epoch
    assert (data[:8], name) == (b"VFSI\x01\x00\x00\x00", f"index/{index_id.hex()}")
    pack_key = hkdf(key("master"), key("vault_id") + index_id, "pack")

    def opened(start: int, length: int, number: int) -> bytes:
        meaning = b"vfsindx1" + index_id + number.to_bytes(4, "little")
        return unseal(pack_key, data[start : start + length], meaning)

    length = int.from_bytes(data[24:28], "little")
    assert golden("index")["front"] == 28 + length
    front = opened(28, length, 2**32 - 1)
    records, packs = int.from_bytes(front[:8], "little"), int.from_bytes(front[8:12], "little")
    assert (records, packs) == (1210, 3)
    pack_rows = [front[at : at + 28] for at in range(12, 12 + 28 * packs, 28)]
    assert [row[0] for row in pack_rows] == [2, 3, 4]
    first = opened(28 + length, 1200 * 54 + 28, 0)
    second = opened(28 + length + 1200 * 54 + 28, 10 * 54 + 28, 1)
    assert front[12 + 28 * packs :] == first[:32] + second[:32]
    lines = [(first + second)[at : at + 54] for at in range(0, 1210 * 54, 54)]
    assert lines == sorted(lines)
    both = next(line for line in lines if line[:32] == blake3(b"entry 999").digest())
    numbers = [int.from_bytes(both[at : at + 4], "little") for at in range(34, 54, 4)]
    assert (both[32], both[33], numbers) == (2, 0, [0, 0, 24, 128, 100])  # of the pack with the lower id
    assert not any(data[28 + length + 1210 * 54 + 56 :])
    hashed = blake3(front + first + second, key=hkdf(key("block-id"), b"", "index-id"))
    assert hashed.digest()[:14] == index_id[:14]


def node_id(data: bytes) -> bytes:
    return blake3(data, key=hkdf(key("block-id"), b"", "node-id")).digest()


def test_nodes() -> None:
    for name, stored in golden("tree").items():
        data = bytes.fromhex(stored["bytes"])
        assert node_id(data).hex() == stored["id"]
        assert data[0] == 1
        assert data[1] == {"leaf": 1, "branch": 2, "blocks": 3, "lists": 3, "commit": 4}[name]
        assert pack(unpack(data[2:])) == data[2:]
    (entries,) = unpack(bytes.fromhex(golden("tree")["leaf"]["bytes"])[2:])
    by_name = {name: (elements, below) for name, elements, below in entries}
    assert [elements[0][0] for elements, below in by_name.values() if elements] == [5, 1, 2, 3, 4, 4]
    (symlink,), _ = by_name[b"link"]
    assert symlink[-1] == b"../there"
    inline, _, blocks = by_name[b"files"][0]
    size, (form, content) = inline[-2:]
    assert (size, form, content) == (5, 0, b"hello")
    assert [(number, valid) for number, _, valid in blocks[-1][1]] == [(0, 65536), (3, 9)]
    assert by_name[b"only-below"][0] == []
    assert by_name[b"only-below"][1][1] == [OTHER, 300]


# A second writer: the shape of a directory follows from the page alone.


def bucket(name: bytes, depth: int) -> int:
    return int.from_bytes(blake3(name).digest()[:8], "little") >> 4 * depth & 15


def weight(entry: list[Any]) -> int:
    return 16 + len(entry[0]) + sum(96 + len(element[-1][1]) for element in entry[1])


def node(kind: int, record: Any) -> bytes:
    return node_id(bytes((1, kind)) + pack(record))


def reference(entries: list[list[Any]], depth: int = 0) -> list[Any] | None:
    """The reference to a directory (or part of one) of files of one device and with one or no `placed`."""
    if not entries:
        return None
    stamps = {tuple(element[3]) if element[3] else None for entry in entries for element in entry[1]}
    stamp = list(stamps.pop()) if stamps != {None} and len(stamps) == 1 else None
    counters = [entry[1][0][2][1] for entry in entries]
    placed = [] if stamp else [element[3] for entry in entries for element in entry[1] if element[3]][:1]
    written = [[entry[0], [[*e[:3], None if stamp else e[3], *e[4:]] for e in entry[1]], None] for entry in entries]
    total = sum(map(weight, entries))
    if total <= 16384 or len(entries) == 1 or depth == 15:
        made = node(1, [sorted(written, key=lambda entry: entry[0])])
    else:
        parts = [[entry for entry in written if bucket(entry[0], depth) == number] for number in range(16)]
        made = node(2, [[reference(part, depth + 1) for part in parts]])
    size = sum(element[-2] for entry in entries for element in entry[1])
    versions = [[DEVICE, min(counters), max(counters)]]
    return [made, stamp, len(entries), total, len(entries), size, False, versions, placed]


def test_directories() -> None:
    for case, placed in (("written", None), ("moved", [OTHER, 300]), ("one-written-since", [OTHER, 300])):
        entries = []
        for number in range(2000):
            here = None if case == "one-written-since" and number == 7 else placed
            attributes = [number.to_bytes(16, "big"), [DEVICE, number + 1], here, 1_790_000_000 * 10**9, 0o644]
            entries.append([b"file-%d" % number, [[2, *attributes, None, None, 0, [], 2, [0, b"hi"]]], None])
        assert pack(reference(entries)).hex() == golden("directories")[case]
