"""What vaultfs makes of the fixtures' known trees and head: everything is fixed, nothing random."""

from __future__ import annotations

import msgspec
from blake3 import blake3
from msgspec.structs import replace
from nacl.signing import SigningKey

from tests.pure.golden import CREATED, KEYS, OBJECT_ID
from tests.support.nodes import MemoryNodes
from vaultfs.crypto.device import DeviceIdentity
from vaultfs.format import pack as pack_format
from vaultfs.format.head import Head, IndexPlace, OpenPath, PackPlace, seal_head
from vaultfs.format.index import build_index, joined, name_of, records_of
from vaultfs.format.node import (
    Block,
    BlockList,
    Blocks,
    Branch,
    Commit,
    Directory,
    Dot,
    Entry,
    File,
    Group,
    Indirect,
    Inline,
    Leaf,
    Member,
    Node,
    Ref,
    Span,
    Symlink,
    Unit,
)
from vaultfs.format.node_codec import encode_node
from vaultfs.format.node_trie import Trie
from vaultfs.format.pack import node_id, node_key

A, B = Dot(OBJECT_ID, 7), Dot(bytes([0xD0] * 16), 300)
TIME = CREATED * 1_000_000_000
DATA = Inline(b"hi")


def device() -> DeviceIdentity:
    return DeviceIdentity(OBJECT_ID, "render-box", CREATED, SigningKey(bytes(range(0x80, 0xA0))))


def head_record() -> Head:
    return Head(
        device=OBJECT_ID,
        public_key=device().public_key,
        number=7,
        root=bytes(range(32)),
        vector=(Dot(bytes([1] * 16), 12), A, B),
        time=TIME,
        label="render-box",
        packs=(PackPlace(bytes([2] * 16), 1 << 20, 900_000, 1000), PackPlace(bytes([3] * 16), 4096, 3000, 1000)),
        indexes=(IndexPlace(bytes([4] * 16), 70_000, 300),),
        open=(OpenPath(b"hermes/state.db", TIME),),
        held=(OpenPath("Notizen/ä.md".encode(), TIME + 1),),
    )


def _attributes(letter: int, version: Dot = A, placed: Dot | None = None) -> tuple[object, ...]:
    return bytes([letter] * 16), version, placed, TIME + letter, 0o644, None, None, TIME - letter, ()


def nodes() -> dict[str, Node]:
    """A node of every kind, with every kind of element and content."""
    ref = Ref(bytes([9] * 32), None, 2, 300, 5, 4096, True, (Span(OBJECT_ID, 1, 7),), (B,))
    stamped = Ref(bytes([8] * 32), B, 1, 150, 1, 0, False, (Span(OBJECT_ID, 7, 7),), ())
    inline = File(*_attributes(1), 5, Inline(b"hello"))
    blocks = File(*_attributes(2, B, A), 200_000, Blocks((Block(0, bytes([5] * 32), 65536), Block(3, bytes(32), 9))))
    indirect = File(*_attributes(3), 200 << 20, Indirect(3200, 2, bytes([6] * 32)))
    attributes = (bytes([4] * 16), A, None, TIME, 0o1777, 0, 65534, -1, ((b"user.a", b"1"), (b"user.b", b"")))
    group = Group(bytes([7] * 16), A, B, TIME, (Member(b"", inline), Member(b"-wal", blocks)))
    leaf = Leaf(
        (
            Entry(b"database", (group,), None),
            Entry(b"directory", (Directory(*attributes),), ref),
            Entry(b"files", (inline, indirect, blocks), None),
            Entry(b"link", (Symlink(*_attributes(5), b"../there"),), None),
            Entry(b"only-below", (), stamped),
            Entry(b"unit", (Unit(*_attributes(6), ref),), None),
            Entry(bytes(range(0x80, 0x90)), (Unit(*_attributes(6), None),), None),
        )
    )
    children: list[Ref | None] = [None] * 16
    children[3], children[15] = ref, stamped
    return {
        "leaf": leaf,
        "branch": Branch(tuple(children)),
        "blocks": BlockList(1, ((0, bytes([5] * 32), 65536), (255, bytes([6] * 32), 1))),
        "lists": BlockList(2, ((0, bytes([5] * 32), 256), (12, bytes([6] * 32), 128))),
        "commit": Commit((Directory(*attributes),), ref, stamped),
    }


def tree() -> dict[str, dict[str, str]]:
    """Every node's bytes and id."""
    key = node_key(KEYS)
    encoded = {name: encode_node(node) for name, node in nodes().items()}
    return {name: {"bytes": data.hex(), "id": node_id(key, data).hex()} for name, data in encoded.items()}


def directories() -> dict[str, str]:
    """The references to a directory of 2000 files: as written; moved as a whole; and one file written since."""
    trie = Trie(MemoryNodes(node_key(KEYS)))
    found = {}
    for case, placed in (("written", None), ("moved", B), ("one-written-since", B)):
        files = [
            File(
                number.to_bytes(16, "big"), Dot(OBJECT_ID, number + 1), placed, TIME, 0o644, None, None, 0, (), 2, DATA
            )
            for number in range(2000)
        ]
        if case == "one-written-since":
            files[7] = replace(files[7], placed=None)
        ref = trie.build(Entry(b"file-%d" % number, (file,), None) for number, file in enumerate(files))
        found[case] = msgspec.msgpack.encode(ref).hex()
    return found


def index() -> dict[str, object]:
    """An index of three packs and 1210 entries, in two chunks; one entry stands in two packs."""
    packs = [PackPlace(bytes([letter] * 16), 1 << 20, 900_000, 70_000) for letter in (3, 2, 4)]
    sources = []
    for pack, numbers in zip(packs, (range(1000), range(999, 1200), range(1200, 1210)), strict=True):
        ids = [blake3(b"entry %d" % number).digest() for number in numbers]
        entries = [
            pack_format.Entry(1 + (at % 5 == 0), name, 24 + 128 * at, 128, 100 + at, at % 2)
            for at, name in enumerate(ids)
        ]
        sources.append(records_of(pack, entries))
    made = build_index(KEYS, joined(sources))
    return {"name": name_of(made.place.id), "front": made.place.front, "bytes": made.data.hex()}


def head() -> dict[str, str]:
    """A head."""
    record = head_record()
    return {"name": record.name, "bytes": seal_head(record, device(), KEYS).hex()}
