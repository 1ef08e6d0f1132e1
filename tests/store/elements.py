"""Elements of commits, and packs on a remote that exists as a directory of files only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.store.stores import KEYS
from vaultfs.format.node import Block, Blocks, Directory, Dot, File, Indirect, Inline, Ref, Symlink, Unit
from vaultfs.format.pack import BLOCK_BYTES, PackCodec, block_id
from vaultfs.tree.incoming import Incoming
from vaultfs.tree.ledger import REMOTE
from vaultfs.tree.packs import PackWriter

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.format.node import Content
    from vaultfs.tree import Tree
    from vaultfs.tree.incoming import NotHereError

OTHER = b"another-device-1"
TIME = 1_700_000_000_000_000_000


def dot(counter: int = 1) -> Dot:
    return Dot(OTHER, counter)


def file_id(name: bytes) -> bytes:
    return name.ljust(16, b".")[:16]


def a_file(
    content: Content | bytes, size: int = -1, *, counter: int = 1, identity: bytes = b"", uid: int | None = None
) -> File:
    if isinstance(content, bytes):
        content = Inline(content)
    if isinstance(content, Inline):
        size = len(content.data)
    identity = identity or os.urandom(16)
    return File(identity, dot(counter), None, TIME + counter, 0o640, uid, uid, TIME, (), size, content)


def a_directory(*, counter: int = 1, mode: int = 0o750, xattrs: tuple[tuple[bytes, bytes], ...] = ()) -> Directory:
    return Directory(os.urandom(16), dot(counter), dot(counter + 1), TIME + counter, mode, None, None, TIME, xattrs)


def a_unit(below: Ref | None, *, counter: int = 1) -> Unit:
    return Unit(os.urandom(16), dot(counter), None, TIME + counter, 0o700, None, None, TIME, (), below)


def a_link(target: bytes, *, counter: int = 1) -> Symlink:
    return Symlink(os.urandom(16), dot(counter), None, TIME + counter, 0o777, None, None, TIME, (), target)


def a_ref(number: int = 1) -> Ref:
    return Ref(number.to_bytes(32, "big"), None, 1, 1, 1, 1, False, (), ())


def named(name: bytes, element: Directory | File | Symlink | Unit, below: Ref | None = None) -> Incoming:
    return Incoming(name, element, below)


class RemotePacks:
    """Packs as they lie on a remote, and what a fetcher does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir()
        self.packs: dict[bytes, bytes] = {}
        self.files: dict[bytes, bytes] = {}
        self.fetched: list[int] = []

    def store(self, data: bytes, *, holes: frozenset[int] = frozenset(), padding: int = 0) -> Blocks:
        """A pack with the blocks of a file; the content that names them."""
        writer = PackWriter(self.directory, KEYS, 0)
        for _ in range(padding):
            other = os.urandom(100)
            writer.add(block_id(KEYS, other), other)
        blocks = []
        for idx in range(-(-len(data) // BLOCK_BYTES)):
            piece = data[idx * BLOCK_BYTES : (idx + 1) * BLOCK_BYTES].rstrip(b"\0")
            if idx in holes or not piece:
                continue
            identity = block_id(KEYS, piece)
            writer.add(identity, piece)
            blocks.append(Block(idx, identity, len(piece)))
        writer.finish()
        self.packs[writer.id] = writer.path.read_bytes()
        return Blocks(tuple(blocks))

    def catalogue(self, tree: Tree) -> None:
        """What the footers say comes into the ledger."""
        for pack_id, data in self.packs.items():
            if not tree.ledger.number_of(pack_id):
                number = tree.ledger.add_pack(pack_id, REMOTE)
                tree.ledger.add_entries(number, enumerate(PackCodec(KEYS, pack_id).read_footer(data)))

    def fetch(self, tree: Tree, lack: NotHereError) -> None:
        """Brings the blocks that are lacking."""
        self.catalogue(tree)
        for blk in lack.blocks:
            self.fetched.append(blk)
            place = tree.ledger.place_of_block(blk)
            assert place is not None
            data = self.packs[tree.ledger.pack_of(place.pack).id]
            entry = place.entry
            tree.cache.put(place.pack, entry.offset, data[entry.offset : entry.offset + entry.length])


def indirect(blocks: Blocks) -> Indirect:
    return Indirect(max(len(blocks.blocks), 17), 1, bytes(32))
