"""The content of a file in a commit, in pieces: what is in its blocks, and the holes between them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Protocol

from vaultfs.format.node import File, Inline
from vaultfs.format.node_blocks import blocks_of
from vaultfs.format.pack import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.format.node import Block, Nodes

AHEAD = 64  # blocks that are announced at once: 4 MiB
_ZEROS = bytes(BLOCK_BYTES)


class Source(Protocol):
    """Where the contents of files are."""

    def block(self, block_id: bytes, /) -> bytes:
        """The whole block of that id, authenticated. May read the remote, so it may raise `RemoteError`."""
        ...  # pragma: no cover

    def coming(self, block_ids: list[bytes], /) -> None:
        """These will be asked for next, in this order."""
        ...  # pragma: no cover


def pieces(nodes: Nodes, source: Source, file: File, start: int = 0, end: int | None = None) -> Iterator[
    tuple[int, bytes]
]:  # fmt: skip
    """What is in the file from `start` to before `end`, as (offset, bytes), ascending. What is between is zeros."""
    stop = file.size if end is None else min(end, file.size)
    if start >= stop:
        return
    if isinstance(file.content, Inline):
        yield start, file.content.data[start:stop]
        return
    for block in _ahead(source, blocks_of(nodes, file.content, start // BLOCK_BYTES, -(-stop // BLOCK_BYTES))):
        first = block.number * BLOCK_BYTES
        data = source.block(block.id)[: block.valid]
        low, high = max(start - first, 0), min(stop - first, len(data))
        if low < high:
            yield first + low, data[low:high]


def _ahead(source: Source, blocks: Iterator[Block]) -> Iterator[Block]:
    while few := list(islice(blocks, AHEAD)):
        if len(few) > 1:
            source.coming([block.id for block in few])
        yield from few


def content(nodes: Nodes, source: Source, file: File, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """All bytes of the file from `start` to before `end`, in pieces of at most a block."""
    place, stop = start, file.size if end is None else min(end, file.size)
    for offset, data in pieces(nodes, source, file, start, end):
        yield from _hole(offset - place)
        yield data
        place = offset + len(data)
    yield from _hole(stop - place)


def _hole(size: int) -> Iterator[bytes]:
    for offset in range(0, size, BLOCK_BYTES):
        yield _ZEROS[: min(BLOCK_BYTES, size - offset)]
