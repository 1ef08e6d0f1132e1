"""What the files of a cut hold at its instant, as pictures that no later write disturbs.

A picture refers to pages in the journal and to sealed blocks. Both are immutable; the cut keeps the journal's segments
from being used again (`Segment.pins`), and the packs from being collected (`Blocks.pinned`), until it has ended.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from vaultfs.format.node import INLINE_MAX, Block, Content, Inline
from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.tree.content import PAGES_PER_BLOCK
from vaultfs.tree.inode import Flag, Inode, next_page
from vaultfs.tree.packs import PUBLISHED
from vaultfs.tree.seal import Picture

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultfs.tree.blocks import Blocks, Extent
    from vaultfs.tree.changes import Record
    from vaultfs.tree.journal import PageRun, Segment
    from vaultfs.tree.state import State

_LAST = 1 << 62
_AT_ONCE = 500
_PACKS = "SELECT DISTINCT b.pack FROM block b JOIN pack p ON p.pack=b.pack WHERE p.state<? AND b.blk IN ({})"
_FEW = 16
START = 16

Changed = dict[int, tuple[bytes, int] | None]
_content = msgspec.msgpack.Decoder(Content)


class Held:
    """One file: its blocks by index as far as they are known, `(id, valid)` or None for a hole.

    `whole`: all blocks are here, not only those that changed. `small`: it will be given as its bytes.
    `content`: what it holds, where nobody looked into it since it came from a commit (None: unchanged).
    """

    __slots__ = ("blocks", "content", "folded", "size", "small", "start", "whole")

    def __init__(self, size: int, *, whole: bool) -> None:
        self.size = size
        self.whole = whole
        self.small = size <= INLINE_MAX
        self.folded = False
        self.blocks: Changed = {}
        self.content: Content | None = Inline(bytes(size)) if self.small else None
        self.start = b""

    def given(self) -> Content | Changed | list[Block] | None:
        """The file's content as `Cut.content` gives it."""
        if self.folded or self.small:
            return self.content
        if not self.whole:
            return self.blocks
        return [Block(idx, *found) for idx, found in sorted(self.blocks.items()) if found is not None]


class Pictures:
    """Takes them. `todo`: blocks to be sealed; `peeks`: sealed first blocks whose first bytes are to be read."""

    def __init__(self, state: State, blocks: Blocks, record: Record, writing: set[int]) -> None:
        self._state = state
        self._blocks = blocks
        self._record = record
        self._writing = writing  # packs that are being written: those are not interrupted ones
        self.files: dict[int, Held] = {}
        self.todo: list[Picture] = []
        self.peeks: list[tuple[int, Extent]] = []
        self.packs: set[int] = set()  # with blocks that are not on the remote yet
        self.rows: set[int] = set()  # of such blocks
        self.sealed = 0  # how many of `todo` are
        self.tried = False
        self._segments: set[Segment] = set()

    def take(self, node: Inode, *, whole: bool) -> None:
        """Takes the picture of a file; `whole`: of all of it, even where it did not change."""
        ino = node.ino
        if node.flags & Flag.FOLDED:
            held = self.files[ino] = Held(node.size, whole=whole)
            held.folded = True
            record = self._state.one("SELECT ref FROM folded WHERE ino=?", ino) if whole else None
            held.content = None if record is None else _content.decode(record)
            held.start = held.content.data[:START] if isinstance(held.content, Inline) else b""
            return
        changed = self._record.inodes.get(ino)
        whole = whole or changed is None or changed
        held = self.files[ino] = Held(node.size, whole=whole)
        if not node.size:
            return
        pages = self._state.pages.get(ino, {})
        if whole or held.small:
            self._whole(node, held, pages)
        else:
            changed_blocks = self._record.blocks.get(ino)
            if changed_blocks:
                self._some(node, held, pages, changed_blocks)

    def _whole(self, node: Inode, held: Held, pages: dict[int, PageRun]) -> None:
        ino = node.ino
        if node.size <= BLOCK_BYTES and pages and _covered(pages, node.size):
            self._block(node, held, 0, pages, None, start=True)  # the frequent case: a new small file
            return
        extents = self._blocks.extents(ino, 0, _LAST)
        for idx in sorted(extents.keys() | {page // PAGES_PER_BLOCK for page in pages}):
            self._block(node, held, idx, pages, extents.get(idx), start=True)

    def _some(self, node: Inode, held: Held, pages: dict[int, PageRun], changed: set[int]) -> None:
        # The first block in any case: the base may have these bytes in the element itself.
        ino, some = node.ino, {0, *changed}
        if len(some) > _FEW:
            extents = self._blocks.extents(ino, min(some), max(some))
        else:
            extents = {}
            for idx in some:
                extents.update(self._blocks.extents(ino, idx, idx))
        for idx in sorted(some):
            self._block(node, held, idx, pages, extents.get(idx), start=idx in changed)

    def _block(
        self, node: Inode, held: Held, idx: int, pages: dict[int, PageRun], extent: Extent | None, *, start: bool
    ) -> None:
        first = idx * PAGES_PER_BLOCK
        size = min(BLOCK_BYTES, node.size - idx * BLOCK_BYTES)
        if size <= 0:
            return
        found = [(page, pages[page]) for page in range(first, first + PAGES_PER_BLOCK) if page in pages]
        interrupted = extent is not None and self._is_interrupted(extent)
        if found or interrupted or (held.small and extent is not None):
            self.todo.append(Picture(node.ino, idx, size, found, extent))
            self._segments.update(run.segment for _, run in found)
        elif extent is not None:
            held.blocks[idx] = extent.place.entry.id, min(extent.valid, size)
            if idx == 0 and start and not held.small:
                self.peeks.append((node.ino, extent))
        else:
            held.blocks[idx] = None
        if extent is not None and not extent.on_remote:
            self.packs.add(extent.place.pack)
            if not (found or interrupted or held.small):
                # The commit refers to it there. A small file is in the commit itself, and what a crash interrupted is
                # sealed again: that pack will never be whole, and a commit that names it could not be made.
                self.rows.add(extent.blk)

    def _is_interrupted(self, extent: Extent) -> bool:
        """Whether the block stands in a pack that a crash interrupted: that is never published."""
        if extent.on_remote or extent.place.pack in self._writing:
            return False
        return self._blocks.state_of(extent.place.pack) == 0

    def look_again(self) -> None:
        """Blocks that were missing are here now: where they stand may not have been known before."""
        for number, picture in enumerate(self.todo):
            if number >= self.sealed and picture.extent is not None:
                extent = self._blocks.placed_again(picture.extent)
                self.todo[number] = picture._replace(extent=extent)

    def pin(self) -> None:
        """Keeps the pages that the pictures refer to."""
        for segment in self._segments:
            segment.pins += 1

    def unpin(self) -> None:
        """The cut has ended."""
        for segment in self._segments:
            segment.pins -= 1
        self._segments.clear()


def _covered(pages: dict[int, PageRun], size: int) -> bool:
    """Whether all of a file of one block is in the journal."""
    return all(page in pages for page in range(next_page(size)))


def publishable(state: State, rows: Iterable[int]) -> set[int]:
    """The packs, not on the remote yet, in which these blocks stand now."""
    packs: set[int] = set()
    listed = iter(rows)
    while some := list(islice(listed, _AT_ONCE)):
        sql = _PACKS.format(",".join("?" * len(some)))
        packs.update(number for (number,) in state.all(sql, PUBLISHED, *some))
    return packs
