"""The blocks of a file: inline, listed, or in a tree of lists where there are many.

The tree covers fixed ranges of the file (`BLOCK_FAN` to the power of the height), so one changed block writes one
list of at most 10 KB, and one per further level. Like a directory's, its form depends on the blocks alone.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from vaultfs.format.node import BLOCK_FAN, BLOCKS_MAX, Block, BlockList, Blocks, Indirect, NodeDamagedError
from vaultfs.format.node_codec import decode_node, encode_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vaultfs.format.node import Nodes


def content_of(nodes: Nodes, blocks: Iterable[Block]) -> Blocks | Indirect:
    """The content that has these blocks, which ascend. A file up to `INLINE_MAX` is `Inline` instead."""
    listed = list(blocks)
    if len(listed) <= BLOCKS_MAX:
        return Blocks(tuple(listed))
    height = _height(listed[-1].number)
    root = _store(nodes, height, {block.number: (block.id, block.valid) for block in listed})
    return Indirect(len(listed), height, root)


def blocks_of(nodes: Nodes, content: Blocks | Indirect, start: int = 0, end: int | None = None) -> Iterator[Block]:
    """The blocks with an index from `start` to before `end`, ascending. Reads the lists that cover them."""
    stop = 1 << 63 if end is None else end
    if isinstance(content, Blocks):
        yield from (block for block in content.blocks if start <= block.number < stop)
    else:
        yield from _walk(nodes, content.root, content.height, 0, start, stop)


def change_blocks(
    nodes: Nodes, content: Blocks | Indirect, changes: Mapping[int, tuple[bytes, int] | None]
) -> Blocks | Indirect:
    """The content with the blocks at these indexes put in, `(id, valid)`, or taken out (None).

    In a long file only the lists around a change are read and written.
    """
    if isinstance(content, Blocks):
        merged = {block.number: (block.id, block.valid) for block in content.blocks}
        return content_of(nodes, _blocks({**merged, **changes}))
    height = max(content.height, _height(max(changes, default=0)))
    root: bytes | None = content.root
    for level in range(content.height, height):
        root = _put(nodes, level + 1, [(0, root, content.count)]) if root else None
    root, count = _change(nodes, root, height, changes)
    if root is None or count <= BLOCKS_MAX:
        return content_of(nodes, _walk(nodes, root, height, 0, 0, 1 << 63) if root else ())
    # Cut off at the end, the tree may have become too high for what is left.
    while height > 1:
        items = _list(nodes, root, height).items
        if items[-1][0] != 0:
            break
        root, height = items[0][1], height - 1
    return Indirect(count, height, root)


def _height(index: int) -> int:
    height = 1
    while index >= BLOCK_FAN**height:
        height += 1
    return height


def _blocks(by_index: Mapping[int, tuple[bytes, int] | None]) -> list[Block]:
    return [Block(index, *found) for index in sorted(by_index) if (found := by_index[index]) is not None]


def _list(nodes: Nodes, node_id: bytes, height: int) -> BlockList:
    node = decode_node(nodes.get(node_id), BlockList)
    if node.height != height:
        raise NodeDamagedError("a block list of another height than belongs here")
    return node


def _put(nodes: Nodes, height: int, items: list[tuple[int, bytes, int]]) -> bytes:
    return nodes.put(encode_node(BlockList(height, tuple(items))))


def _store(nodes: Nodes, height: int, blocks: Mapping[int, tuple[bytes, int]]) -> bytes:
    if height == 1:
        return _put(nodes, 1, [(index % BLOCK_FAN, *blocks[index]) for index in sorted(blocks)])
    step = BLOCK_FAN ** (height - 1)
    items = []
    for number, group in groupby(sorted(blocks), lambda index: index // step):
        few = {index: blocks[index] for index in group}
        items.append((number % BLOCK_FAN, _store(nodes, height - 1, few), len(few)))
    return _put(nodes, height, items)


def _walk(nodes: Nodes, node_id: bytes, height: int, base: int, start: int, stop: int) -> Iterator[Block]:
    step = BLOCK_FAN ** (height - 1)
    for position, item_id, count in _list(nodes, node_id, height).items:
        first = base + position * step
        if first >= stop or first + step <= start:
            continue
        if height == 1:
            yield Block(first, item_id, count)
        else:
            yield from _walk(nodes, item_id, height - 1, first, start, stop)


def _change(
    nodes: Nodes, node_id: bytes | None, height: int, changes: Mapping[int, tuple[bytes, int] | None]
) -> tuple[bytes | None, int]:
    """The list with the changes in it, None when nothing is left, and its number of blocks."""
    step = BLOCK_FAN ** (height - 1)
    items = {item[0]: item[1:] for item in _list(nodes, node_id, height).items} if node_id else {}
    for number, group in groupby(sorted(changes), lambda index: index // step):
        few = {index: changes[index] for index in group}
        position = number % BLOCK_FAN
        if height == 1:
            found = few[number]
        else:
            old = items.get(position)
            changed, count = _change(nodes, old[0] if old else None, height - 1, few)
            found = (changed, count) if changed else None
        if found is None:
            items.pop(position, None)
        else:
            items[position] = found
    if not items:
        return None, 0
    total = len(items) if height == 1 else sum(count for _, count in items.values())
    return _put(nodes, height, [(position, *items[position]) for position in sorted(items)]), total
