"""Directories that nobody looked into yet, and files whose blocks nobody asked for.

Both come from commits. `expand` and `unfold` take in what was fetched for them, in as many frames as it needs; a
crash in between leaves them as they were, with a few rows already there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from vaultfs.format.node import Blocks as Listed
from vaultfs.format.node import Content, Inline, Ref
from vaultfs.tree.bringing import stored, weigh
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.inode import Flag, Inode
from vaultfs.tree.state import Op

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vaultfs.format.node import Block
    from vaultfs.tree.blocks import Blocks
    from vaultfs.tree.bringing import Bringer
    from vaultfs.tree.incoming import Incoming
    from vaultfs.tree.leaving import Leaving
    from vaultfs.tree.state import State

_FRAME_BYTES = 64 << 10
_FRAME_NAMES = 64
_FRAME_BLOCKS = 256
_BLOCK_BYTES = 160  # the changes for one block

_content = msgspec.msgpack.Decoder(Content)
_ref = msgspec.msgpack.Decoder(Ref)


class Folded:
    """Opens what is folded. Calls raise `OSError` as all changes do."""

    def __init__(self, state: State, blocks: Blocks, bringer: Bringer, leaving: Leaving) -> None:
        self._state = state
        self._blocks = blocks
        self._bringer = bringer
        self._leaving = leaving

    def of(self, ino: int) -> Ref | Content | None:
        """What is in a folded directory or file; None: it is not folded. Raises ENOENT."""
        node = self._state.inode(ino)
        if not node.flags & Flag.FOLDED:
            return None
        record = self._state.one("SELECT ref FROM folded WHERE ino=?", ino)
        if record is None:
            return None
        return _ref.decode(record) if node.is_dir else _content.decode(record)

    def is_folded(self, ino: int) -> bool:
        """Whether there is such an inode, and it is folded."""
        node = self._state.find(ino)
        return node is not None and bool(node.flags & Flag.FOLDED)

    # -- files

    def inline(self, node: Inode) -> bytes | None:
        """The whole content of a folded file if it stands in its element."""
        content = self.of(node.ino)
        return content.data if isinstance(content, Inline) else None

    def open(self, node: Inode) -> None:
        """Puts the file's content into the tables. Raises `NotHereError` if its list of blocks must be fetched."""
        content = self.of(node.ino)
        if isinstance(content, Inline):
            self._to_journal(node, content.data)
        elif isinstance(content, Listed):
            self.unfold(node.ino, content.blocks)
        elif content is not None:
            raise NotHereError(content=node.ino)

    def _to_journal(self, node: Inode, data: bytes) -> None:
        state, ino = self._state, node.ino
        state.begin(len(data), quiet=True)
        self._opened(node)
        state.note(Op.PAGES, ino, 0, len(data))
        segment, offset = state.end(data)
        state.set_pages(ino, state.run_of(segment, offset, 0, len(data)))

    def _opened(self, node: Inode) -> None:
        node.flags &= ~Flag.FOLDED
        self._state.put_folded(node.ino, None)
        self._state.put_inode(node)

    def clear(self, node: Inode) -> None:
        """Takes the file's content out of all tables: as part of a change already begun."""
        self._blocks.cut(node.ino, 0)
        if self._state.clean_pages(node.ino, 0, 1 << 62):
            self._state.note(Op.CLEAN, node.ino, 0, 1 << 62)

    def drop_content(self, node: Inode) -> None:
        """The file was cut to nothing: as part of a change already begun."""
        self._opened(node)

    def unfold(self, ino: int, blocks: Sequence[Block]) -> None:
        """The folded file consists of these blocks; nothing happens if it is not folded any more."""
        state = self._state
        node = state.inode(ino)
        if not node.flags & Flag.FOLDED:
            return
        for start in range(0, len(blocks), _FRAME_BLOCKS):
            some = blocks[start : start + _FRAME_BLOCKS]
            state.begin(len(some) * _BLOCK_BYTES, quiet=True)
            for block in some:
                self._blocks.put_extent(ino, block.number, self._blocks.row_of(block.id), block.valid)
            state.end()
        state.begin(grows=False, quiet=True)
        node.holes = max(node.size - stored(node.size, blocks), 0)
        self._opened(node)
        state.end()

    # -- directories

    def expand(self, ino: int, entries: Iterable[Incoming], *, last: bool = True) -> None:
        """The folded directory holds these; nothing happens if it is not folded any more.

        A large one may be given in several calls, all but the last with `last=False`, so that others get their turn
        in between; until then it stays folded. What is there already stays as it is.
        """
        state = self._state
        node = state.inode(ino)
        if not node.flags & Flag.FOLDED:
            return
        for some, size in _frames(entries):
            self._bringer.meet(incoming.element for incoming in some)
            state.begin(size, quiet=True)
            directories = sum(self._bring(ino, incoming) for incoming in some)
            if directories:
                node.nlink += directories
                state.put_inode(node)
            state.end()
        if last:
            state.begin(grows=False, quiet=True)
            self._opened(node)
            state.end()

    def _bring(self, parent: int, incoming: Incoming) -> bool:
        """Makes one entry; True if it is a new directory."""
        state, element = self._state, incoming.element
        existing, cookie = state.place(parent, incoming.name)
        if existing is not None:
            return False
        node = self._bringer.linked(element)
        if node is not None and node.nlink:
            node.nlink += 1
            state.put_inode(node)
        else:
            node = self._bringer.make(element, incoming.below, parent, 1)
            if node.is_dir:
                node.nlink = 2
        state.put_name(parent, cookie, incoming.name, node.ino, self._bringer.dot(element.placed))
        return node.is_dir

    def is_empty(self, ino: int) -> bool:
        """Whether somebody has looked into the directory, and there was nothing in it."""
        found = self._state.one("SELECT 1 FROM dirent WHERE parent=? LIMIT 1", ino)
        return found is None and not self.is_folded(ino)

    def refold(self, ino: int, ref: Ref | None) -> None:
        """In the folded directory is now what `ref` says (None: nothing). Does nothing to one that is expanded."""
        state = self._state
        node = state.inode(ino)
        if not node.flags & Flag.FOLDED or not node.is_dir:
            return
        self.clear_remains(ino)
        state.begin(quiet=True)
        self.turn(node, ref)
        state.end()

    def clear_remains(self, ino: int) -> None:
        """What a crash left of an expansion of the folded directory goes: it is of an older version than the next."""
        if self.is_folded(ino):
            self._leaving.empty(ino)

    def turn(self, node: Inode, ref: Ref | None) -> None:
        """In the directory, folded or empty, is now what `ref` says: as part of a change already begun."""
        node.nlink = 2
        self._bringer.fold_directory(node, ref)
        self._state.put_inode(node)


def _frames(entries: Iterable[Incoming]) -> Iterator[tuple[list[Incoming], int]]:
    """The entries in lots that one frame can take, each with its size in bytes."""
    lot: list[Incoming] = []
    size = 0
    for incoming in entries:
        weight = weigh(incoming)
        if lot and (size + weight > _FRAME_BYTES or len(lot) == _FRAME_NAMES):
            yield lot, size
            lot, size = [], 0
        lot.append(incoming)
        size += weight
    if lot:
        yield lot, size
