"""Tree nodes: the immutable records a commit is made of (docs/format.md, "Tree node").

A directory is a trie of `Leaf` and `Branch` nodes over the hash of its names. A name has a set of *elements*,
nearly always one: siblings are what machines wrote there without knowing of each other (docs/merging.md). Records
are immutable and compare by value; what they mean in a tree is in `node_trie`, their bytes in `node_codec`.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, Protocol

import msgspec
from msgspec import Meta

from vaultfs.crypto.keys import ID_BYTES
from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.format.pack import ID_BYTES as HASH_BYTES

NAME_MAX = 255
TARGET_MAX = 4095
XATTRS_MAX = 65536  # names and values of one element together, bytes
INLINE_MAX = 512  # a file up to here stands in its element; chosen so that a leaf stays small
BLOCKS_MAX = 16  # a file with more blocks has them in a tree of `BlockList` nodes
BLOCK_FAN = 256
BRANCHES = 16
DEPTH_MAX = 15
LEAF_WEIGHT = 16 << 10
GROUP_MAX = 8
ELEMENTS_MAX = 4096
NODE_MAX = 16 << 20

_INT63 = (1 << 63) - 1
DeviceId = Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
FileId = Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
Hash = Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
Counter = Annotated[int, Meta(ge=1, le=_INT63)]
Count = Annotated[int, Meta(ge=0, le=_INT63)]
Time = Annotated[int, Meta(ge=-_INT63, le=_INT63)]  # nanoseconds since 1970, UTC
Name = Annotated[bytes, Meta(min_length=1, max_length=NAME_MAX)]
Mode = Annotated[int, Meta(ge=0, le=0o7777)]
Owner = Annotated[int, Meta(ge=0, lt=(1 << 32) - 1)] | None  # nil: whoever mounts
Xattrs = tuple[tuple[Name, Annotated[bytes, Meta(max_length=XATTRS_MAX)]], ...]


class Dot(NamedTuple):
    """Commit `counter` of `device`: who did something, and when in that device's own order."""

    device: DeviceId
    counter: Counter


class Span(NamedTuple):
    """The lowest and highest counter of one device."""

    device: DeviceId
    low: Counter
    high: Counter


class Block(NamedTuple):
    """Block `number` of a file is the first `valid` bytes of the block `id`, then zeros."""

    number: Count
    id: Hash
    valid: Annotated[int, Meta(ge=1, le=BLOCK_BYTES)]


class Record(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """What all records share: arrays in MessagePack, immutable."""


class Inline(Record, frozen=True, tag=0):
    """A file of at most `INLINE_MAX` bytes."""

    data: Annotated[bytes, Meta(max_length=INLINE_MAX)]


class Blocks(Record, frozen=True, tag=1):
    """A longer file of at most `BLOCKS_MAX` blocks. Holes are not stored."""

    blocks: Annotated[tuple[Block, ...], Meta(max_length=BLOCKS_MAX)]


class Indirect(Record, frozen=True, tag=2):
    """A file of `count` blocks in a tree of block lists; `root` covers `BLOCK_FAN ** height` blocks."""

    count: Annotated[int, Meta(gt=BLOCKS_MAX, le=_INT63)]
    height: Annotated[int, Meta(ge=1, le=6)]
    root: Hash


Content = Inline | Blocks | Indirect


class Ref(Record, frozen=True):
    """A node that holds (a part of) a directory, and what a reader may want to know without reading it.

    `stamp`: the `placed` that every element below has; then none is written in the node, nor in any below it. So a
    directory is renamed by stamping the reference to it. `width`: names here. `weight`: see `node_summary.weight`.
    `names`, `size`: names and bytes of files, all the way down. `crowded`: somewhere below, a name has siblings.
    `versions`: for every device the lowest and highest counter of a `version` below; `placed`: the highest of a
    `placed`, empty with a stamp.
    """

    id: Hash
    stamp: Dot | None
    width: Counter
    weight: Counter
    names: Counter
    size: Count
    crowded: bool
    versions: tuple[Span, ...]
    placed: tuple[Dot, ...]


class ElementBase(Record, frozen=True):
    """What may stand under a name.

    `id`: the file, wherever it is named; two names with one id and one version are hard links. `version`: when its
    content or attributes last changed, `time` the wall time of that. `placed`: when it came to stand under this name,
    if that was later; nil: it has been written since, and who knows the version knows that. Everything but `placed`
    is a function of id and version.
    """

    id: FileId
    version: Dot
    placed: Dot | None
    time: Time


class Inode(ElementBase, frozen=True):
    """With attributes. `mode`: permission bits. `uid`, `gid`: nil for whoever mounts the vault."""

    mode: Mode
    uid: Owner
    gid: Owner
    mtime: Time
    xattrs: Xattrs


class Directory(Inode, frozen=True, tag=1):
    """A directory's attributes; what is in it belongs to the path (`Entry.below`), not to the element."""


class File(Inode, frozen=True, tag=2):
    """A regular file of `size` bytes."""

    size: Count
    content: Content


class Symlink(Inode, frozen=True, tag=3):
    """A symbolic link."""

    target: Annotated[bytes, Meta(min_length=1, max_length=TARGET_MAX)]


class Unit(Inode, frozen=True, tag=4):
    """A directory that only makes sense as a whole: what is in it belongs to the element."""

    below: Ref | None


class Member(NamedTuple):
    """A file of a group, under the group's name with `suffix` behind it."""

    suffix: Annotated[bytes, Meta(max_length=NAME_MAX)]
    file: File


class Group(ElementBase, frozen=True, tag=5):
    """Files side by side that only make sense as a whole: a database with its `-wal` and `-journal`."""

    members: Annotated[tuple[Member, ...], Meta(min_length=1, max_length=GROUP_MAX)]


Element = Directory | File | Symlink | Unit | Group
Elements = Annotated[tuple[Directory | File | Symlink | Unit | Group, ...], Meta(max_length=ELEMENTS_MAX)]


class Entry(Record, frozen=True):
    """A name of a directory: its elements in their order, and what is below it if it is a directory.

    Something below but no `Directory` among the elements: one side removed the directory, another put something
    into it.
    """

    name: Name
    elements: Elements
    below: Ref | None


class Leaf(Record, frozen=True):
    """The entries of a directory, or of a part of it, sorted by name."""

    entries: Annotated[tuple[Entry, ...], Meta(min_length=1)]


class Branch(Record, frozen=True):
    """A part of a directory that is too large for a leaf: a child for every value of the next bits of the hash."""

    children: Annotated[tuple[Ref | None, ...], Meta(min_length=BRANCHES, max_length=BRANCHES)]


class BlockList(Record, frozen=True):
    """A part of a long file: its blocks by position (height 1), or the lists one level down."""

    height: Annotated[int, Meta(ge=1, le=6)]
    items: Annotated[
        tuple[tuple[Annotated[int, Meta(ge=0, lt=BLOCK_FAN)], Hash, Count], ...],
        Meta(min_length=1, max_length=BLOCK_FAN),
    ]


class Commit(Record, frozen=True):
    """The root of a commit: the vault's top directory, and the conflicts that were moved out of the way."""

    elements: Elements
    below: Ref | None
    conflicts: Ref | None


Node = Leaf | Branch | BlockList | Commit


class Nodes(Protocol):
    """Where nodes are. Pure code neither knows nor cares whether that is a dict, packs or a remote."""

    def get(self, node_id: bytes, /) -> bytes:
        """The bytes of a node. They must be authentic."""
        ...  # pragma: no cover

    def put(self, data: bytes, /) -> bytes:
        """Keep a node; its id."""
        ...  # pragma: no cover


class NodeDamagedError(Exception):
    """Bytes that are not a node in its one proper form. The message says what is wrong, and names no content."""
