"""Sealing: what lies in the journal becomes blocks in packs, in a worker thread.

`plan` (tree's thread) takes a picture of what is to be sealed; `run` (worker) reads, hashes, compresses, encrypts
and writes; `apply` (tree's thread) keeps each result only if the file still is as in the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vaultfs.crypto.sealing import OpenFailedError
from vaultfs.format.pack import BLOCK_BYTES, PACK_BYTES, PackDamagedError, block_id
from vaultfs.tree.content import PAGES_PER_BLOCK, overlay
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.inode import next_page
from vaultfs.tree.packs import PackReader, Placed
from vaultfs.tree.state import Op

if TYPE_CHECKING:
    from vaultfs.tree.blocks import Blocks, Extent
    from vaultfs.tree.journal import PageRun
    from vaultfs.tree.packs import PackWriter
    from vaultfs.tree.state import State

_BATCH_BYTES = PACK_BYTES
_BATCH_BLOCKS = 1024
_PAGES_PER_FRAME = 64


class Picture(NamedTuple):
    """A block with dirty pages, as it was when the work was planned."""

    ino: int
    idx: int
    size: int
    pages: list[tuple[int, PageRun]]
    extent: Extent | None


class Sealed(NamedTuple):
    """What became of a picture: the block's id, where it stands now (None: an equal block is there), its size."""

    picture: Picture
    id: bytes
    placed: Placed | None
    size: int


class SealWork:
    """One batch."""

    def __init__(self, state: State, blocks: Blocks, writer: PackWriter, pictures: list[Picture]) -> None:
        self._state = state
        self._blocks = blocks
        self.writer = writer
        self._pictures = pictures
        self._results: list[Sealed] = []
        self.missing: set[int] = set()  # rows of blocks below dirty pages that are on the remote
        # Known ids are asked for in `plan`'s thread, the database belongs to it; here only what this batch adds.
        self._seen: set[bytes] = set()
        self._reader = PackReader(blocks.directory, state.keys)
        self._before = writer.size

    def run(self) -> None:
        """Seals the batch. Raises `OSError` when the disk is full; what is damaged stays as it is."""
        for picture in self._pictures:
            try:
                data = content_of(picture, self._reader)
            except NotHereError as lack:
                self.missing.update(lack.blocks)
                continue
            except (OpenFailedError, PackDamagedError):
                continue  # reading the file reports it, with its path
            # Zeros at the end need no room: what is beyond a block's valid bytes reads as zeros.
            data = data.rstrip(b"\0")
            if not data:
                self._results.append(Sealed(picture, b"", None, 0))
                continue
            identity = block_id(self._state.keys, data)
            placed = None
            if identity not in self._seen:
                self._seen.add(identity)
                placed = self.writer.add(identity, data)
            self._results.append(Sealed(picture, identity, placed, len(data)))

    def apply(self) -> None:
        """Takes over what still holds; nothing follows. What lacks a block is left until that was fetched."""
        state, blocks = self._state, self._blocks
        blocks.wanted |= self.missing
        blocks.to_sync(self.writer)
        blocks.written += self.writer.size - self._before
        results, self._results = self._results, []
        for start in range(0, len(results), _PAGES_PER_FRAME):
            state.begin(grows=False, quiet=True)  # the same content, elsewhere
            for result in results[start : start + _PAGES_PER_FRAME]:
                self._apply(result)
            if state.pending:
                state.end()

    def _apply(self, result: Sealed) -> None:
        blocks, picture = self._blocks, result.picture
        blk = 0
        if result.id:
            blk = blocks.known(result.id)
            if not blk and result.placed is not None:
                blk = blocks.put(result.placed, self.writer.id)
            elif not blk:
                return
        keep(self._state, blocks, picture, blk, result.size)


def content_of(picture: Picture, reader: PackReader) -> bytes:
    """The bytes of the picture. Safe in any thread that has `reader` for itself.

    Raises `NotHereError`, `OpenFailedError`, `PackDamagedError` or `OSError`.
    """
    extent = picture.extent
    base = b""
    if extent is not None and not _covered(picture, extent):
        base = _base(extent, reader)
    if not picture.pages:
        return base
    first = picture.idx * PAGES_PER_BLOCK
    return overlay(base, first, picture.pages, lambda _, run: run.read(), picture.ino)[: picture.size]


def _base(extent: Extent, reader: PackReader) -> bytes:
    try:
        if not extent.pack_id:
            raise NotHereError(blocks=(extent.blk,))
        return reader.read(extent.place, extent.pack_id)[: extent.valid]
    except (PackDamagedError, OSError) as problem:
        if extent.on_remote:
            raise NotHereError(blocks=(extent.blk,)) from problem
        raise


def keep(state: State, blocks: Blocks, picture: Picture, blk: int, size: int) -> None:
    """The picture is sealed in block row `blk` now (0: a hole): the file refers to it if it still is as it was."""
    if not _still(state, blocks, picture):
        return
    blocks.put_extent(picture.ino, picture.idx, blk, size)
    if picture.pages:
        first = picture.idx * PAGES_PER_BLOCK
        state.clean_pages(picture.ino, first, first + PAGES_PER_BLOCK)
        state.note(Op.CLEAN, picture.ino, first, first + PAGES_PER_BLOCK)


def _still(state: State, blocks: Blocks, picture: Picture) -> bool:
    """Whether nothing was written to or cut from the block since the picture."""
    first = picture.idx * PAGES_PER_BLOCK
    pages = state.pages.get(picture.ino, {})
    now = [(page, pages[page]) for page in range(first, first + PAGES_PER_BLOCK) if page in pages]
    if now != picture.pages:
        return False
    extent = blocks.extents(picture.ino, picture.idx, picture.idx).get(picture.idx)
    before = picture.extent
    return (extent and (extent.blk, extent.valid)) == (before and (before.blk, before.valid))


def _covered(picture: Picture, extent: Extent) -> bool:
    """Whether nothing of the sealed bytes is seen any more."""
    first = picture.idx * PAGES_PER_BLOCK
    dirty = {page for page, _ in picture.pages}
    return all(page in dirty for page in range(first, first + next_page(min(extent.valid, picture.size))))


def pictures_of(state: State, blocks: Blocks, inos: list[int]) -> list[Picture]:
    """The dirty blocks of these files, up to one batch."""
    out: list[Picture] = []
    taken = 0
    for ino in inos:
        node = state.find(ino)
        pages = state.pages.get(ino)
        if node is None or not pages:
            continue
        for idx in sorted({page // PAGES_PER_BLOCK for page in pages}):
            first = idx * PAGES_PER_BLOCK
            found = [(page, pages[page]) for page in range(first, first + PAGES_PER_BLOCK) if page in pages]
            size = min(BLOCK_BYTES, node.size - idx * BLOCK_BYTES)
            extent = blocks.extents(ino, idx, idx).get(idx)
            if extent is not None and extent.blk in blocks.wanted:
                continue
            out.append(Picture(ino, idx, size, found, extent))
            taken += size  # whatever of it is in the journal, all of the block goes into the pack
            if taken >= _BATCH_BYTES or len(out) >= _BATCH_BLOCKS:
                return out
    return out
