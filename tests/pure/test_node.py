"""Tree nodes as bytes: one form each, and everything else refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.pure import golden, golden_tree
from tests.pure.conftest import FIXTURES
from tests.support.nodes import MemoryNodes
from vaultfs.errors import NewerFormatError
from vaultfs.format.head import open_head
from vaultfs.format.node import (
    Blocks,
    Branch,
    Commit,
    Directory,
    Dot,
    Entry,
    File,
    Inline,
    Leaf,
    Node,
    NodeDamagedError,
    Ref,
    Span,
    Symlink,
)
from vaultfs.format.node_codec import decode_directory, decode_node, encode_node, order
from vaultfs.format.pack import block_id, node_id, node_key

if TYPE_CHECKING:
    from collections.abc import Callable

NODES = golden_tree.nodes()
KINDS = {"leaf": 1, "branch": 2, "blocks": 3, "lists": 3, "commit": 4}

ids = st.binary(min_size=16, max_size=16)
dots = st.builds(Dot, ids, st.integers(1, (1 << 63) - 1))
times = st.integers(-(1 << 62), 1 << 62)
names = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 47} & set(name) and name not in {b".", b".."})
common: dict[str, Any] = {
    "id": ids,
    "version": dots,
    "placed": st.none() | dots,
    "time": times,
    "mode": st.integers(0, 0o7777),
    "uid": st.none() | st.integers(0, (1 << 32) - 2),
    "gid": st.none() | st.integers(0, (1 << 32) - 2),
    "mtime": times,
    "xattrs": st.dictionaries(names, st.binary(max_size=9), max_size=2).map(lambda found: tuple(sorted(found.items()))),
}
files = st.builds(File, **common, size=st.just(0), content=st.binary(max_size=512).map(Inline)).map(
    lambda file: replace(file, size=len(file.content.data))
)
things = files | st.builds(Directory, **common) | st.builds(Symlink, **common, target=names)
sets = st.lists(things, min_size=1, max_size=3, unique_by=order).map(lambda found: tuple(sorted(found, key=order)))
leaves = st.dictionaries(names, sets, min_size=1, max_size=4).map(
    lambda found: Leaf(tuple(Entry(name, found[name], None) for name in sorted(found)))
)


def kind_of(name: str) -> type[Node]:
    return type(NODES[name])


@pytest.mark.parametrize("name", NODES)
def test_every_kind_comes_back(name: str) -> None:
    assert decode_node(encode_node(NODES[name]), kind_of(name)) == NODES[name]


@given(leaves)
def test_round_trip(leaf: Leaf) -> None:
    data = encode_node(leaf)
    assert decode_directory(data) == leaf
    assert encode_node(decode_directory(data)) == data


def test_bytes_are_as_ever() -> None:
    assert golden_tree.tree() == json.loads((FIXTURES / "golden" / "tree.json").read_text())
    assert golden_tree.directories() == json.loads((FIXTURES / "golden" / "directories.json").read_text())
    stored = json.loads((FIXTURES / "golden" / "head.json").read_text())
    assert golden_tree.head() == stored
    assert open_head(bytes.fromhex(stored["bytes"]), stored["name"], golden.KEYS) == golden_tree.head_record()
    assert golden_tree.index() == json.loads((FIXTURES / "golden" / "index.json").read_text())


def test_ids() -> None:
    """A node's id depends on the vault and is no block's, whatever the bytes."""
    data = encode_node(NODES["leaf"])
    key = node_key(golden.KEYS)
    assert node_id(key, data) != block_id(golden.KEYS, data)
    assert node_id(bytes(32), data) != node_id(key, data)
    nodes = MemoryNodes(key)
    assert nodes.get(nodes.put(data)) == data
    over = MemoryNodes(key, nodes)
    assert over.get(node_id(key, data)) == data
    assert over.new == {}
    with pytest.raises(KeyError):
        over.get(bytes(32))


@pytest.mark.parametrize("name", NODES)
def test_every_flipped_bit_changes_the_id(name: str) -> None:
    """The id vouches for every bit; what still parses says something else and has another id."""
    data = encode_node(NODES[name])
    key = node_key(golden.KEYS)
    right = node_id(key, data)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert node_id(key, bytes(flipped)) != right
        try:
            node = decode_node(bytes(flipped), kind_of(name))
        except (NodeDamagedError, NewerFormatError):
            continue
        assert node != NODES[name]
        assert encode_node(node) == bytes(flipped)


@pytest.mark.parametrize("name", NODES)
def test_every_cut_and_addition_is_refused(name: str) -> None:
    data = encode_node(NODES[name])
    for length in range(len(data)):
        with pytest.raises(NodeDamagedError):
            decode_node(data[:length], kind_of(name))
    with pytest.raises(NodeDamagedError):
        decode_node(data + b"\xc0", kind_of(name))


def test_one_kind_is_not_another() -> None:
    for name, node in NODES.items():
        for kind in set(map(type, NODES.values())) - {type(node)}:
            with pytest.raises(NodeDamagedError, match="kind"):
                decode_node(encode_node(node), kind)
        if name not in {"leaf", "branch"}:
            with pytest.raises(NodeDamagedError, match="kind"):
                decode_directory(encode_node(node))


def test_later_version() -> None:
    data = encode_node(NODES["leaf"])
    with pytest.raises(NewerFormatError):
        decode_directory(b"\2" + data[1:])
    with pytest.raises(NodeDamagedError):
        decode_directory(b"\0" + data[1:])


FILE = File(bytes(16), golden_tree.A, None, 0, 0, None, None, 0, (), 5, Inline(b"hello"))
LINK = Symlink(bytes(16), golden_tree.A, None, 0, 0, None, None, 0, (), b"there")
BLOCK = (0, bytes(32), 600)
LIST = [(n, bytes(32), 65536) for n in range(3)]
REF = Ref(bytes(32), None, 1, 1, 1, 0, crowded=False, versions=(), placed=())


def entry(**changes: Any) -> Entry:
    return replace(Entry(b"name", (FILE,), None), **changes)


WRONG: dict[str, Node | Callable[[], Node]] = {
    "no entries": Leaf(()),
    "names out of order": Leaf((entry(name=b"b"), entry(name=b"a"))),
    "one name twice": Leaf((entry(), entry())),
    "dot": Leaf((entry(name=b"."),)),
    "dots": Leaf((entry(name=b".."),)),
    "slash": Leaf((entry(name=b"a/b"),)),
    "zero": Leaf((entry(name=b"a\0"),)),
    "long name": Leaf((entry(name=b"x" * 256),)),
    "empty name": Leaf((entry(name=b""),)),
    "nothing there": Leaf((entry(elements=()),)),
    "one element twice": Leaf((entry(elements=(FILE, FILE)),)),
    "wrong size": Leaf((entry(elements=(replace(FILE, size=4),)),)),
    "small but in a block": Leaf((entry(elements=(replace(FILE, size=512, content=Blocks((BLOCK,))),)),)),
    "block beyond the end": Leaf((entry(elements=(replace(FILE, size=599, content=Blocks((BLOCK,))),)),)),
    "blocks out of order": Leaf(
        (entry(elements=(replace(FILE, size=1 << 20, content=Blocks((*LIST[1:], LIST[0]))),)),)  # type: ignore[arg-type]
    ),
    "mode with a type": Leaf((entry(elements=(replace(FILE, mode=0o100644),)),)),
    "negative owner": Leaf((entry(elements=(replace(FILE, uid=-1),)),)),
    "attributes out of order": Leaf((entry(elements=(replace(FILE, xattrs=((b"b", b""), (b"a", b""))),)),)),
    "too many attributes": Leaf(
        (entry(elements=(replace(FILE, xattrs=((b"a", bytes(40000)), (b"b", bytes(40000)))),)),)
    ),
    "empty link": Leaf((entry(elements=(replace(LINK, target=b""),)),)),
    "zero in a link": Leaf((entry(elements=(replace(LINK, target=b"\0"),)),)),
    "counter 0": Leaf((entry(elements=(replace(FILE, version=Dot(bytes(16), 0)),)),)),
    "short device": Leaf((entry(elements=(replace(FILE, version=Dot(bytes(15), 1)),)),)),
    "empty branch": Branch((None,) * 16),
    "15 children": Branch((REF,) * 15),
    "placed under a stamp": Branch((replace(REF, stamp=golden_tree.A, placed=(golden_tree.A,)), *(None,) * 15)),
    "span upside down": Branch((replace(REF, versions=(Span(bytes(16), 2, 1),)), *(None,) * 15)),
    "fewer names than here": Branch((replace(REF, width=2), *(None,) * 15)),
    "a root that is a file": Commit((FILE,), None, None),
}


@pytest.mark.parametrize("node", WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_refused(node: Node) -> None:
    with pytest.raises(NodeDamagedError):
        decode_node(encode_node(node), type(node))


@pytest.mark.parametrize(
    "body",
    [b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\x91\xdd\x7f\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"", b"\xc1"],
)
def test_bombs(body: bytes) -> None:
    for kind in range(256):
        with pytest.raises(NodeDamagedError):
            decode_directory(bytes((1, kind)) + body)


@given(st.binary(max_size=200))
def test_garbage(noise: bytes) -> None:
    for wrong in (noise.replace(b"\1", b"\0", 1), b"\1\1" + noise, b"\1\2" + noise):
        with pytest.raises((NodeDamagedError, NewerFormatError)):
            decode_directory(wrong)


def test_longer_form_of_the_same_record() -> None:
    data = encode_node(Leaf((entry(),)))
    position = data.index(b"\x05", len(data) - 12)
    longer = data[:position] + b"\xcc" + data[position:]
    assert msgspec.msgpack.decode(longer[2:]) == msgspec.msgpack.decode(data[2:])
    with pytest.raises(NodeDamagedError, match="proper form"):
        decode_directory(longer)


def test_too_long() -> None:
    with pytest.raises(NodeDamagedError, match="too long"):
        decode_directory(bytes((16 << 20) + 1))
