"""Tree nodes as bytes: one proper form each, everything else is refused (docs/format.md, "Tree node")."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from vaultfs.errors import NewerFormatError
from vaultfs.format.node import (
    BLOCK_FAN,
    INLINE_MAX,
    NODE_MAX,
    XATTRS_MAX,
    BlockList,
    Blocks,
    Branch,
    Commit,
    Directory,
    ElementBase,
    Entry,
    File,
    Group,
    Inline,
    Inode,
    Leaf,
    NodeDamagedError,
    Ref,
    Symlink,
    Unit,
)
from vaultfs.format.pack import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultfs.format.node import Element, Node

VERSION = 1
_KINDS: dict[int, type[Node]] = {1: Leaf, 2: Branch, 3: BlockList, 4: Commit}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_PREFIX_BYTES = 2
_decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {kind: msgspec.msgpack.Decoder(kind) for kind in _NUMBERS}
_encode = msgspec.msgpack.Encoder().encode
_N = TypeVar("_N", Leaf, Branch, BlockList, Commit)


def encode_node(node: Node) -> bytes:
    """Version, kind, then the record in MessagePack: the same bytes for the same node."""
    return bytes((VERSION, _NUMBERS[type(node)])) + _encode(node)


def encode_element(element: Element) -> bytes:
    """An element alone: what orders two that are alike in everything else."""
    return _encode(element)


def decode_node(data: bytes, kind: type[_N]) -> _N:
    """The node in `data`, which must be of that kind.

    Raises:
        NodeDamagedError: another kind, or not exactly what `encode_node` writes.
        NewerFormatError: written by a later vaultfs.
    """
    return _decode(data, kind)  # type: ignore[no-any-return]


def decode_directory(data: bytes) -> Leaf | Branch:
    """The node of a directory in `data`. Raises as `decode_node`."""
    return _decode(data, Leaf, Branch)  # type: ignore[no-any-return]


def _decode(data: bytes, *kinds: type[Node]) -> Any:
    if not _PREFIX_BYTES <= len(data) <= NODE_MAX:
        raise NodeDamagedError("too short or too long")
    if data[0] > VERSION:
        raise NewerFormatError(what="A tree node", found=data[0], known=VERSION)
    kind = _KINDS.get(data[1])
    if data[0] != VERSION or kind not in kinds:
        raise NodeDamagedError("not the kind of node that belongs here")
    try:
        node = _decoders[kind].decode(memoryview(data)[_PREFIX_BYTES:])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise NodeDamagedError("malformed") from None
    # Numbers in a longer form, a float for an integer: what would give a second id to the same node.
    if encode_node(node) != data:
        raise NodeDamagedError("not in its one proper form")
    check_node(node)
    return node


def order(element: Element) -> tuple[object, ...]:
    """The order of siblings in an entry; two with an equal one are the same."""
    return element.version, element.placed or (), element.id, _encode(element)


def check_node(node: Node) -> None:
    """Raise `NodeDamagedError` for what the types alone do not rule out."""
    if isinstance(node, Leaf):
        _ascending([entry.name for entry in node.entries], "names")
        for entry in node.entries:
            _check_entry(entry)
    elif isinstance(node, Branch):
        refs = [ref for ref in node.children if ref is not None]
        _require(bool(refs), "a branch without children")
        for ref in refs:
            _check_ref(ref)
    elif isinstance(node, BlockList):
        _ascending([item[0] for item in node.items], "blocks")
        valid = [item[2] for item in node.items]
        _require(all(valid) and (node.height > 1 or max(valid) <= BLOCK_BYTES), "a length")
        _require(node.height == 1 or max(valid) <= BLOCK_FAN ** (node.height - 1), "a count")
    else:
        _check_elements(node.elements)
        _require(all(isinstance(element, Directory) for element in node.elements), "a root that is no directory")
        for root in (node.below, node.conflicts):
            if root is not None:
                _check_ref(root)


def _check_entry(entry: Entry) -> None:
    name = entry.name
    _require(name not in {b".", b".."} and b"/" not in name and b"\0" not in name, "a name")
    _require(bool(entry.elements) or entry.below is not None, "an empty entry")
    _check_elements(entry.elements)
    if entry.below is not None:
        _check_ref(entry.below)


def _check_elements(elements: tuple[Element, ...]) -> None:
    if len(elements) > 1:
        _ascending([order(element) for element in elements], "siblings")
    for element in elements:
        _check_element(element)


def _check_element(element: ElementBase) -> None:
    if isinstance(element, Group):
        _ascending([member.suffix for member in element.members], "members")
        for member in element.members:
            _require(b"/" not in member.suffix and b"\0" not in member.suffix, "a suffix")
            _check_element(member.file)
        return
    if isinstance(element, Inode) and element.xattrs:
        _ascending([name for name, _ in element.xattrs], "attributes")
        _require(all(b"\0" not in name for name, _ in element.xattrs), "an attribute's name")
        _require(sum(len(name) + len(value) for name, value in element.xattrs) <= XATTRS_MAX, "too many attributes")
    if isinstance(element, File):
        check_content(element)
    elif isinstance(element, Symlink):
        _require(b"\0" not in element.target, "a link")
    elif isinstance(element, Unit) and element.below is not None:
        _check_ref(element.below)


def check_content(file: File) -> None:
    """Raise `NodeDamagedError` unless size and content fit each other, in the one form for them."""
    content = file.content
    if isinstance(content, Inline):
        _require(len(content.data) == file.size, "a size")
        return
    _require(file.size > INLINE_MAX, "a small file that is not inline")
    if isinstance(content, Blocks):
        _ascending([block.number for block in content.blocks], "blocks")
        if content.blocks:  # of ascending ones the last is the only one that can reach beyond the end
            last = content.blocks[-1]
            _require(last.number * BLOCK_BYTES + last.valid <= file.size, "a block beyond the end")
    else:
        height = content.height
        _require(content.count <= BLOCK_FAN**height, "a count")
        _require(height == 1 or BLOCK_FAN ** (height - 1) * BLOCK_BYTES < file.size, "a tree that is too high")


def _check_ref(ref: Ref) -> None:
    _ascending([span.device for span in ref.versions], "devices")
    _ascending([dot.device for dot in ref.placed], "devices")
    for span in ref.versions:
        _require(span.low <= span.high, "a span")
    _require(ref.stamp is None or not ref.placed, "a stamp")
    _require(ref.width <= ref.names, "a number of names")


def _ascending(values: Sequence[Any], what: str) -> None:
    if len(values) > 1 and not all(a < b for a, b in pairwise(values)):
        raise NodeDamagedError(f"{what} out of order")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise NodeDamagedError(f"{what} that cannot be")
