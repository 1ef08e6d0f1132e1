"""The bytes of files: dirty pages in the journal laid over sealed blocks."""

from __future__ import annotations

import errno
import stat
from collections import OrderedDict
from typing import TYPE_CHECKING

from vaultfs.crypto.sealing import OpenFailedError
from vaultfs.format.node import INLINE_MAX
from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.inode import PAGE, UNWRITTEN, Flag, Inode, next_page
from vaultfs.tree.state import Op, State
from vaultfs.tree.statements import error
from vaultfs.tree.whereabouts import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultfs.tree.blocks import Blocks, Extent
    from vaultfs.tree.folded import Folded
    from vaultfs.tree.journal import PageRun

PAGES_PER_BLOCK = BLOCK_BYTES // PAGE
SIZE_MAX = (1 << 63) - 1 - BLOCK_BYTES
_FRAME_OVERHEAD = 256
_CHUNK = 1 << 20
_CAPABILITY = b"security.capability"
_AHEAD = (1 << 20) // BLOCK_BYTES
_READERS = 64


class Content:
    """Read, write and truncate. All raise `OSError`, and `NotHereError` before anything is changed."""

    def __init__(self, state: State, blocks: Blocks, folds: Folded) -> None:
        self._state = state
        self._blocks = blocks
        self._folds = folds
        self._ends: OrderedDict[int, int] = OrderedDict()  # where the last read of a file that is not here ended

    def read(self, ino: int, offset: int, size: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer at the end of the file."""
        pieces = self.pieces(ino, offset, size)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def pieces(self, ino: int, offset: int, size: int) -> list[bytes]:
        """The same in one or more pieces, for who need not copy them together."""
        node = self._state.inode(ino)
        end = min(offset + size, node.size)
        if offset >= end:
            return []
        if node.flags & Flag.FOLDED:
            inline = self._folds.inline(node)
            if inline is not None:
                return [inline[offset:end]]
            self._folds.open(node)
        pages = self._state.pages.get(ino)
        first, last = offset // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        if pages is not None:
            run = pages.get(offset // PAGE)
            # The frequent case: a small file, or an append, whose bytes are all in one frame of the journal.
            if (
                run is not None
                and offset >= run.page * PAGE
                and end <= run.page * PAGE + run.length
                and all(pages.get(page) is run for page in range(offset // PAGE, next_page(end)))
            ):
                start = offset - run.page * PAGE
                return [self._run(ino, run)[start : start + end - offset]]
        extents = self._blocks.near(ino, first, last)
        read = self._blocks.read_ahead(extents, first, last) if last > first else {}
        pieces: list[bytes] = []
        missing: list[int] = []
        for idx in range(first, last + 1):
            base = idx * BLOCK_BYTES
            low, high = max(offset - base, 0), min(end - base, BLOCK_BYTES)
            dirty = _dirty(pages, base + low, base + high) if pages is not None else []
            # Not looked at where all that is asked for is in the journal.
            needed = idx in extents and len(dirty) < next_page(high) - low // PAGE
            sealed = self._sealed(ino, extents[idx], missing, read.get(idx)) if needed else b""
            if missing:
                continue
            piece = self._laid_over(ino, base, sealed, dirty, low, high) if dirty else sealed[low:high]
            pieces.append(piece)
            if len(piece) < high - low:
                pieces.append(bytes(high - low - len(piece)))
        if missing:
            raise NotHereError(blocks=(*missing, *self._ahead(node, offset, last)))
        return pieces

    def _sealed(self, ino: int, extent: Extent, missing: list[int], read: memoryview | None) -> bytes:
        """The sealed bytes of a block; empty for one that is not here, which is noted."""
        try:
            return self._blocks.read(ino, extent, read)
        except NotHereError:
            missing.append(extent.blk)
            return b""

    def _laid_over(
        self, ino: int, base: int, sealed: bytes, dirty: list[tuple[int, PageRun]], low: int, high: int
    ) -> bytes:
        """Bytes `low` to `high` of the block that begins at `base`, or fewer where it ends before."""
        start = low - low % PAGE
        block = overlay(sealed[start:high], (base + start) // PAGE, dirty, self._run, ino)
        return block[low - start : high - start]

    def _ahead(self, node: Inode, offset: int, last: int) -> list[int]:
        """The next blocks that are not here either, if the file is being read from front to back."""
        ino = node.ino
        sequential = self._ends.pop(ino, 0) == offset // BLOCK_BYTES
        self._ends[ino] = last + 1
        if len(self._ends) > _READERS:
            self._ends.popitem(last=False)
        if not sequential:
            return []
        extents = self._blocks.extents(ino, last + 1, offset // BLOCK_BYTES + _AHEAD - 1)
        return [extents[idx].blk for idx in sorted(extents) if not self._blocks.seems_here(extents[idx])]

    def _run(self, ino: int, run: PageRun) -> bytes:
        try:
            return run.read()
        except (OpenFailedError, OSError) as problem:
            self._state.unhealthy(f"{shown_path(self._state, ino)}: page {run.page} in the journal is damaged")
            raise error(errno.EIO) from problem

    def write(
        self, ino: int, offset: int, data: bytes | memoryview, *, clear_suid: bool = False, times: bool = True
    ) -> int:
        """Writes all of `data`; returns its length. `times`: it was written just now."""
        state = self._state
        node = state.inode(ino)
        if not stat.S_ISREG(node.mode):
            raise error(errno.EINVAL)
        if not data:
            return 0
        end = offset + len(data)
        if end > SIZE_MAX:
            raise error(errno.EFBIG)
        if node.flags & Flag.FOLDED:
            self._folds.open(node)
        length = len(data)
        if offset % PAGE or (end % PAGE and end < node.size):
            offset, data = self._whole_pages(node, offset, data)
        view = memoryview(data)
        for start in range(0, len(data), _CHUNK):
            self._write(node, offset + start, view[start : start + _CHUNK], end, clear_suid=clear_suid, times=times)
        return length

    def _write(self, node: Inode, offset: int, view: memoryview, end: int, *, clear_suid: bool, times: bool) -> None:
        """Writes whole pages; the file grows to `end` at most."""
        state = self._state
        now = state.begin(BLOCK_BYTES + _FRAME_OVERHEAD)
        if times:
            node.mtime = node.ctime = now
        elif node.ctime == node.mtime - UNWRITTEN:
            node.ctime = node.mtime  # most likely what the kernel is about to send, and then there is nothing to note
        if clear_suid:
            drop_suid(node)
        drop_capability(state, node)
        state.stamp(node, now)
        if offset > node.size:
            node.holes += gap(node.size, offset)
        try:
            if offset % BLOCK_BYTES + len(view) < BLOCK_BYTES:
                self._put(node, offset, view, 0, end)  # most are a part of one block
            else:
                self._put_blocks(node, offset, view, end)
        finally:
            if state.pending:
                state.end()

    def _put_blocks(self, node: Inode, offset: int, view: memoryview, end: int) -> None:
        pieces = list(_by_block(offset, view))
        rows = iter(self._blocks.seal([piece for _, piece in pieces if len(piece) == BLOCK_BYTES]))
        for position, piece in pieces:
            if not self._state.pending:
                self._state.begin(BLOCK_BYTES + _FRAME_OVERHEAD)  # the piece before is in a frame of its own
            self._put(node, position, piece, next(rows) if len(piece) == BLOCK_BYTES else 0, end)

    def _put(self, node: Inode, position: int, piece: memoryview, blk: int, end: int) -> None:
        """Writes pages of one block: into the journal, unless all of it is sealed in row `blk`."""
        ino, idx = node.ino, position // BLOCK_BYTES
        if node.holes:
            node.holes = max(node.holes - self._missing(node, position, len(piece)), 0)
        if blk:
            self._clean(ino, idx * PAGES_PER_BLOCK, (idx + 1) * PAGES_PER_BLOCK)
            self._blocks.put_extent(ino, idx, blk, BLOCK_BYTES, new=position >= node.size)
        # The size follows the data, so that a crash in between shows no zeros that nobody wrote.
        self._grow(node, min(position + len(piece), end))
        if not blk:
            self._journal(ino, position // PAGE, piece)

    def _missing(self, node: Inode, position: int, length: int) -> int:
        """How many bytes of a piece of one block, whole pages, were a hole so far."""
        if position >= node.size or self._blocks.extents(node.ino, position // BLOCK_BYTES, position // BLOCK_BYTES):
            return 0
        pages = self._state.pages.get(node.ino, {})
        first = position // PAGE
        absent = sum(page not in pages for page in range(first, next_page(position + length)))
        return min(absent * PAGE, node.size - position)

    def _stored(self, ino: int, size: int) -> int:
        """The bytes of the first `size` that are in blocks or pages."""
        blocks: set[int] = {row[0] for row in self._state.all("SELECT idx FROM extent WHERE ino=?", ino)}
        pages = [page for page in self._state.pages.get(ino, {}) if page // PAGES_PER_BLOCK not in blocks]
        return sum(min(BLOCK_BYTES, max(size - idx * BLOCK_BYTES, 0)) for idx in blocks) + len(pages) * PAGE

    def _grow(self, node: Inode, size: int) -> None:
        if size > node.size:
            self._state.bytes += size - node.size
            node.size = size
            self._state.put_inode(node)

    def _whole_pages(self, node: Inode, offset: int, data: bytes | memoryview) -> tuple[int, bytes]:
        """The write widened to whole pages with what the file already has there."""
        end = offset + len(data)
        start = offset - offset % PAGE
        head = self.read(node.ino, start, offset - start)
        head += bytes(offset - start - len(head))
        tail = b""
        if end % PAGE and end < node.size:
            tail = self.read(node.ino, end, PAGE - end % PAGE)
        return start, b"".join((head, data, tail))

    def _journal(self, ino: int, page: int, data: memoryview) -> None:
        """Puts pages of one block into the journal."""
        state = self._state
        state.block_changes(ino, page // PAGES_PER_BLOCK)
        state.note(Op.PAGES, ino, page, len(data))
        segment, offset = state.end(data)
        state.set_pages(ino, state.run_of(segment, offset, page, len(data)))

    def _clean(self, ino: int, first: int, end: int) -> None:
        if self._state.clean_pages(ino, first, end):
            self._state.note(Op.CLEAN, ino, first, end)

    def before_truncate(self, node: Inode, size: int | None) -> None:
        """What `truncate` needs, before the change is begun; None: there will be none."""
        if node.flags & Flag.FOLDED and size not in {None, 0, node.size}:
            self._folds.open(node)

    def truncate(self, node: Inode, size: int) -> None:
        """Cuts or extends a file, as part of a change already begun; the caller stamps the inode.

        What is beyond the new end never comes back: extending again shows zeros.
        """
        if size > SIZE_MAX:
            raise error(errno.EFBIG)
        ino = node.ino
        if node.flags & Flag.FOLDED:
            self._folds.drop_content(node)  # cut to nothing: whatever was in it
        if size < node.size:
            idx, inside = divmod(size, BLOCK_BYTES)
            self._blocks.cut(ino, idx + bool(inside))
            if inside:
                extent = self._blocks.extents(ino, idx, idx).get(idx)
                if extent is not None and extent.valid > inside:
                    self._blocks.put_extent(ino, idx, extent.blk, inside)
            self._clean(ino, next_page(size), 1 << 62)
            self._cut_page(node, size)
            if node.holes:
                node.holes = max(size - self._stored(ino, size), 0)
        else:
            node.holes += gap(node.size, size)
            if outgrows(node.size, size):
                self._state.block_changes(ino, 0)
        self._state.bytes += size - node.size
        node.size = size

    def _cut_page(self, node: Inode, size: int) -> None:
        """Writes the dirty page that the new end falls into anew, without what was behind the end."""
        page, inside = divmod(size, PAGE)
        run = self._state.pages.get(node.ino, {}).get(page) if inside else None
        if run is None:
            return
        start = (page - run.page) * PAGE
        kept = self._run(node.ino, run)[start : start + inside]
        self._journal(node.ino, page, memoryview(kept))


def _by_block(offset: int, view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """What is to be written at `offset`, each block's part with its own offset."""
    position, stop = offset, offset + len(view)
    while position < stop:
        end = min(stop, position - position % BLOCK_BYTES + BLOCK_BYTES)
        yield position, view[position - offset : end - offset]
        position = end


def outgrows(size: int, new: int) -> bool:
    """Whether a file of that size stands in its element in commits, and no longer does with its new size."""
    return size <= INLINE_MAX < new


def gap(size: int, offset: int) -> int:
    """The bytes of the whole pages between the end of a file and `offset`."""
    return max(offset - next_page(size) * PAGE, 0)


def drop_suid(node: Inode) -> None:
    """Clears set-user-id, and set-group-id where the group may execute (else it marks mandatory locking)."""
    if node.mode & (stat.S_ISUID | stat.S_ISGID):
        node.mode &= ~stat.S_ISUID
        if node.mode & stat.S_IXGRP:
            node.mode &= ~stat.S_ISGID


def drop_capability(state: State, node: Inode) -> None:
    """Removes file capabilities, as every change of the content does on Linux."""
    if node.flags & Flag.CAPABILITY:
        node.flags &= ~Flag.CAPABILITY
        state.drop_xattr(node.ino, _CAPABILITY)


def _dirty(pages: dict[int, PageRun], start: int, end: int) -> list[tuple[int, PageRun]]:
    """Those of a file's pages in the journal that have bytes from `start` to `end` (exclusive)."""
    return [(page, pages[page]) for page in range(start // PAGE, next_page(end)) if page in pages]


def overlay(
    sealed: bytes, first: int, found: list[tuple[int, PageRun]], read: Callable[[int, PageRun], bytes], ino: int
) -> bytes:
    """`sealed`, which begins at page `first`, with the pages `found` (number, run) laid over it."""
    end = (found[-1][0] - first + 1) * PAGE
    block = bytearray(max(len(sealed), end))
    block[: len(sealed)] = sealed
    last_run, plain = None, b""
    for page, run in found:
        if run is not last_run:
            last_run, plain = run, read(ino, run)
        start = (page - run.page) * PAGE
        piece = plain[start : start + PAGE]
        at = (page - first) * PAGE
        block[at : at + len(piece)] = piece
        if len(piece) < PAGE:
            block[at + len(piece) : at + PAGE] = bytes(PAGE - len(piece))
    return bytes(block)
