"""The blocks of a file: one form for the same blocks, and small changes in long files stay small."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.nodes import MemoryNodes
from tests.sync.pictures import KEY, file
from vaultfs.format.node import BLOCK_FAN, BLOCKS_MAX, Block, BlockList, Blocks, Indirect, NodeDamagedError
from vaultfs.format.node_blocks import blocks_of, change_blocks, content_of
from vaultfs.format.node_codec import check_content, encode_node

NUMBERS = st.integers(0, 300) | st.integers(0, BLOCK_FAN**3 + 10)
FILES = st.dictionaries(NUMBERS, st.integers(1, 65536), max_size=40)


def blocks(valid: dict[int, int], mark: bytes = b"\0") -> list[Block]:
    return [Block(number, mark + number.to_bytes(31, "big"), valid[number]) for number in sorted(valid)]


@settings(max_examples=150, deadline=None)
@given(FILES, st.dictionaries(NUMBERS, st.none() | st.integers(1, 65536), max_size=30))
def test_changes_lead_to_what_building_leads_to(before: dict[int, int], changes: dict[int, int | None]) -> None:
    nodes = MemoryNodes(KEY)
    content = content_of(nodes, blocks(before))
    assert list(blocks_of(nodes, content)) == blocks(before)
    by_number = {
        number: None if valid is None else (number.to_bytes(32, "big"), valid) for number, valid in changes.items()
    }
    changed = change_blocks(nodes, content, by_number)
    wanted = {number: valid for number, valid in {**before, **changes}.items() if valid is not None}
    assert changed == content_of(nodes, blocks(wanted))
    assert list(blocks_of(nodes, changed, 5, 200)) == [block for block in blocks(wanted) if 5 <= block.number < 200]
    if wanted and (size := (max(wanted) + 1) * 65536):
        check_content(replace(file(bytes(16), b""), size=size, content=changed))


def test_from_a_list_to_a_tree_and_back() -> None:
    nodes = MemoryNodes(KEY)
    few = content_of(nodes, blocks(dict.fromkeys(range(BLOCKS_MAX), 1)))
    assert isinstance(few, Blocks)
    many = change_blocks(nodes, few, {99: (bytes(32), 1)})
    assert isinstance(many, Indirect)
    assert (many.count, many.height) == (BLOCKS_MAX + 1, 1)
    high = change_blocks(nodes, many, {BLOCK_FAN**2: (bytes(32), 1)})
    assert isinstance(high, Indirect)
    assert high.height == 3
    assert change_blocks(nodes, high, {BLOCK_FAN**2: None}) == many
    assert change_blocks(nodes, many, {99: None}) == few
    assert change_blocks(nodes, few, dict.fromkeys(range(BLOCKS_MAX))) == Blocks(())


def test_a_change_in_a_200_mb_database() -> None:
    """One transaction's few pages: one list of 256 blocks for each block in another 16 MiB, and the one above."""
    nodes, rnd = MemoryNodes(KEY), random.Random(1)
    content = content_of(nodes, (Block(number, rnd.randbytes(32), 65536) for number in range(3200)))
    over = MemoryNodes(KEY, nodes)
    changed = change_blocks(over, content, {7: (bytes(32), 65536), 8: (bytes(32), 65536)})
    assert changed != content
    assert sum(map(len, over.new.values())) < 12_000
    over.reads = 0
    assert [block.number for block in blocks_of(over, changed, 1000, 1002)] == [1000, 1001]
    assert over.reads == 2


def test_a_tree_that_is_not_as_high_as_it_says() -> None:
    nodes = MemoryNodes(KEY)
    content = content_of(nodes, blocks(dict.fromkeys(range(400), 1)))
    assert isinstance(content, Indirect)
    with pytest.raises(NodeDamagedError, match="height"):
        list(blocks_of(nodes, replace(content, height=1)))


@pytest.mark.parametrize(
    ("height", "items"),
    [
        (1, [(0, bytes(32), 65537)]),
        (1, [(0, bytes(32), 0)]),
        (1, [(1, bytes(32), 1), (0, bytes(32), 1)]),
        (1, [(256, bytes(32), 1)]),
        (1, []),
        (2, [(0, bytes(32), 257)]),
        (7, [(0, bytes(32), 1)]),
    ],
)
def test_wrong_lists(height: int, items: list[tuple[int, bytes, int]]) -> None:
    nodes = MemoryNodes(KEY)
    root = nodes.put(encode_node(BlockList(height, tuple(items))))
    with pytest.raises(NodeDamagedError):
        list(blocks_of(nodes, Indirect(17, height, root)))
