"""What merging and editing cost where a directory is large."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.support.nodes import MemoryNodes
from tests.sync.merging import A, B, C, do, path, put
from tests.sync.pictures import KEY, directory, start
from vaultfs.format.node import Dot, Entry, File, Inline
from vaultfs.format.node_trie import Trie
from vaultfs.sync.conflicts import conflicts
from vaultfs.sync.edits import Editor
from vaultfs.sync.merge import State, merge
from vaultfs.sync.workspace import Folder

if TYPE_CHECKING:
    from collections.abc import Callable


# Cost (invariant 10): node reads are counted, not timed.

MANY = 100_000


@pytest.fixture(scope="module")
def large() -> tuple[MemoryNodes, State]:
    """A directory of 100,000 files two levels down."""
    nodes, empty = start()
    rnd = random.Random(1)
    dot = Dot(C, 1)

    def small(number: int) -> Entry:
        data = Inline(rnd.randbytes(4))
        made = File(rnd.randbytes(16), dot, None, number, 0, None, None, number, (), 4, data)
        return Entry(b"%06d" % number, (made,), None)

    big = Trie(nodes).build(small(number) for number in range(MANY))
    editor = Editor(nodes, empty, dot, 0)
    editor.write(path("d"), directory(b"d" * 16))
    editor.write(path("d/big"), directory(b"b" * 16))
    editor._slot(path("d/big")).below = Folder(big)
    return nodes, editor.commit()


def test_one_change_in_100_000(large: tuple[MemoryNodes, State]) -> None:
    """Each side changed one file: the paths to both are read, and the merged one is written."""
    nodes, base = large
    nodes = MemoryNodes(KEY, nodes)
    nodes.reads = 0
    a, b = do(nodes, base, A, put("d/big/000007")), do(nodes, base, B, put("d/big/077777"))
    assert nodes.reads <= 20
    over = MemoryNodes(KEY, nodes)
    both = merge(over, a, b)
    assert over.reads <= 30
    assert len(over.new) <= 12
    assert sum(map(len, over.new.values())) <= 40_000
    assert both == merge(over, b, a)
    over.reads = 0
    assert merge(over, both, a) == both
    assert over.reads == 0  # known to be included without a look


CHEAP: dict[str, Callable[[Editor], object]] = {
    "rename": lambda editor: editor.rename(path("d/big"), path("moved")),
    "delete": lambda editor: editor.delete(path("d/big")),
    "rename above": lambda editor: editor.rename(path("d"), path("moved")),
    "exchange": lambda editor: editor.exchange(path("d/big"), path("x")),
}


@pytest.mark.parametrize("edit", CHEAP.values(), ids=CHEAP)
def test_one_edit_of_100_000_files(edit: Callable[[Editor], object], large: tuple[MemoryNodes, State]) -> None:
    """What happens to a directory as a whole costs no more to do or to merge than what happens to a file."""
    nodes = MemoryNodes(KEY, large[0])
    base = do(nodes, large[1], C, put("x"))
    nodes.reads = 0
    a = do(nodes, base, A, edit)
    assert nodes.reads <= 8
    b = do(nodes, base, B, put("y"))
    over = MemoryNodes(KEY, nodes)
    both = merge(over, a, b)
    assert over.reads <= 12
    assert len(over.new) <= 5
    # One changed one file in it meanwhile: that one stays where it was, and nothing else of it is looked at.
    c = do(nodes, base, B, put("d/big/000007"))
    over = MemoryNodes(KEY, nodes)
    both = merge(over, a, c)
    assert over.reads <= 30
    assert both == merge(over, c, a)


def test_a_new_directory_of_100_000_files_is_not_read(large: tuple[MemoryNodes, State]) -> None:
    nodes, (fresh, empty) = MemoryNodes(KEY, large[0]), start()
    nodes.put(fresh.get(empty.root))
    other = do(nodes, empty, B, put("y"))
    over = MemoryNodes(KEY, nodes)
    both = merge(over, large[1], other)
    assert over.reads <= 6
    assert list(conflicts(over, both.root)) == []
    assert over.reads <= 10
