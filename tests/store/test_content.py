"""Content at its edges: sparse files, cuts inside blocks and pages, file capabilities and set-user-id."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.store.stores import content, make_file, work_off
from vaultfs.tree import ROOT, blocks
from vaultfs.tree.blocks import Blocks
from vaultfs.tree.content import SIZE_MAX
from vaultfs.tree.inode import PAGE
from vaultfs.tree.journal import PageRun
from vaultfs.tree.state import State

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker
    from vaultfs.tree.blocks import Extent

BLOCK = 65536


def test_a_sparse_file_takes_no_room(stores: StoreMaker) -> None:
    tree = stores.new()
    node = make_file(tree, b"sparse")
    tree.content.write(node.ino, 5 << 30, b"end")
    assert node.size == (5 << 30) + 3
    assert node.blocks <= 8
    assert tree.content.read(node.ino, 3 << 30, 10) == bytes(10)
    work_off(tree.keeper.seal(everything=True))
    assert tree.content.read(node.ino, (5 << 30) - 2, 10) == b"\0\0end"
    assert tree.stats().pack_bytes < 4096
    tree.content.write(node.ino, 0, b"x" * 2 * BLOCK)
    assert 256 <= node.blocks <= 264
    tree.attributes.set(node.ino, size=BLOCK)
    assert node.blocks == 128
    tree.attributes.set(node.ino, size=1 << 30)
    assert node.blocks == 128


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 100_000])
def test_what_was_cut_off_never_comes_back(stores: StoreMaker, cut: int, *, sealed: bool) -> None:
    tree = stores.new()
    node = make_file(tree, b"f", b"y" * 100_001)
    if sealed:
        work_off(tree.keeper.seal(everything=True))
        assert not tree.state.pages
    tree.attributes.set(node.ino, size=cut)
    assert content(tree, node.ino) == b"y" * cut
    tree.attributes.set(node.ino, size=200_000)
    assert content(tree, node.ino) == b"y" * cut + bytes(200_000 - cut)
    work_off(tree.keeper.seal(everything=True))
    tree = stores.crash(tree)
    assert content(tree, node.ino) == b"y" * cut + bytes(200_000 - cut)


def test_a_write_while_a_block_is_being_sealed_wins(stores: StoreMaker) -> None:
    tree = stores.new()
    node = make_file(tree, b"f", b"old" * 1000)
    work = tree.keeper.seal(everything=True)
    work.run()
    tree.content.write(node.ino, 0, b"new" * 1000)
    work.apply()
    assert content(tree, node.ino) == b"new" * 1000
    work = tree.keeper.seal(everything=True)
    work.run()
    tree.attributes.set(node.ino, size=10)
    work.apply()
    assert content(tree, node.ino) == (b"new" * 4)[:10]
    work = tree.keeper.seal(everything=True)
    work.run()
    tree.names.unlink(ROOT, b"f")
    tree.forget(node.ino)
    work.apply()
    assert stores.crash(tree).health == []


def test_a_file_cannot_grow_past_what_offsets_can_say(stores: StoreMaker) -> None:
    tree = stores.new()
    node = make_file(tree, b"f")
    for call in (
        lambda: tree.content.write(node.ino, SIZE_MAX, b"xx"),
        lambda: tree.attributes.set(node.ino, size=SIZE_MAX + 1),
    ):
        with pytest.raises(OSError, match="File too large") as raised:
            call()
        assert raised.value.errno == errno.EFBIG
    assert stores.crash(tree).inode(node.ino).size == 0


def test_a_write_clears_what_gave_the_old_content_its_rights(stores: StoreMaker) -> None:
    tree = stores.new()
    node = make_file(tree, b"f", b"program")
    tree.attributes.set(node.ino, mode=0o6755)
    tree.xattrs.set(node.ino, b"security.capability", bytes(20))
    tree.content.write(node.ino, 0, b"P", clear_suid=True)
    assert stat.S_IMODE(node.mode) == 0o755
    with pytest.raises(OSError, match="No data available"):
        tree.xattrs.get(node.ino, b"security.capability")
    again = stores.crash(tree)
    assert b"security.capability" not in again.xattrs.list(node.ino)


def test_who_reads_anywhere_in_a_large_file_does_not_drive_out_what_is_kept(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where blocks stand is asked for in windows; those of a file that has too many of them must not come and go."""
    for name, value in {"_WINDOW": 2, "_WINDOWS": 3, "_MISSES": 50}.items():
        monkeypatch.setattr(f"vaultfs.tree.blocks.{name}", value)
    tree = stores.new()
    data = os.urandom(BLOCK)
    large = make_file(tree, b"large", data * 20).ino
    small = make_file(tree, b"small", data * 4).ino
    blocks = tree.blocks
    asked: list[tuple[int, int, int]] = []
    ask = blocks.extents

    def extents(ino: int, first: int, last: int) -> dict[int, Extent]:
        asked.append((ino, first, last))
        return ask(ino, first, last)

    monkeypatch.setattr(blocks, "extents", extents)
    for _ in range(5):
        blocks.near(small, 0, 0)
    assert asked[-1] == (small, 0, 1), "a window"
    for idx in (4, 10):
        assert idx in blocks.near(large, idx, idx)
    before = len(asked)
    for idx in (16, 2, 12, 18, 8) * 5:
        assert idx in blocks.near(large, idx, idx)
    assert asked[before:] == [(large, idx, idx) for idx in (16, 2, 12, 18, 8) * 5], "one block each"
    del asked[:]
    for ino, idx in ((small, 0), (large, 5), (large, 11)):
        assert idx in blocks.near(ino, idx, idx)
    assert asked == [], "these are still kept"
    for idx in range(20):
        assert idx in blocks.near(large, idx, idx)
    assert len(asked) == 11, "who reads on gets windows, once that is seen"
    for idx in (0, 6, 0, 6) * 20:
        assert idx in blocks.near(large, idx, idx)
    del asked[:]
    for idx in (0, 6):
        assert idx in blocks.near(large, idx, idx)
    assert asked == [], "in the long run those that are read now"


def test_a_read_opens_no_more_than_what_it_asks_for(stores: StoreMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the pages of a block that are in the journal, and of the block where all that is asked for is there."""
    opened: list[int | str] = []
    read_run, read_block = PageRun.read, Blocks.read
    monkeypatch.setattr(PageRun, "read", lambda run: opened.append(run.page) or read_run(run))
    monkeypatch.setattr(Blocks, "read", lambda *call: opened.append("block") or read_block(*call))
    tree = stores.new()
    expected = bytearray(os.urandom(2 * BLOCK + 1000))
    node = make_file(tree, b"f", bytes(expected))
    work_off(tree.keeper.seal(everything=True))
    for page in (1, 2, 5, 15, 16, 32):
        data = os.urandom(min(PAGE, len(expected) - page * PAGE))
        expected[page * PAGE : (page + 1) * PAGE] = data
        tree.content.write(node.ino, page * PAGE, data)

    def opens(start: int, end: int) -> list[int | str]:
        opened.clear()
        assert tree.content.read(node.ino, start, end - start) == expected[start:end]
        return opened

    assert opens(0, PAGE) == ["block"]
    assert opens(PAGE + 1, 2 * PAGE - 1) == [1]
    assert opens(PAGE + 100, 3 * PAGE - 100) == [1, 2]
    assert opens(2 * PAGE + 100, 3 * PAGE + 1) == ["block", 2]
    assert opens(6 * PAGE, 7 * PAGE) == ["block"]
    assert opens(15 * PAGE + 1, 17 * PAGE) == [15, 16]
    assert opens(15 * PAGE, 17 * PAGE + 5) == [15, "block", 16]
    assert opens(2 * BLOCK - 1, 3 * BLOCK) == ["block", 32]
    assert opens(0, len(expected)) == ["block", 1, 2, 5, 15, "block", 16, 32]


def test_what_has_to_be_compressed_waits_in_the_journal(stores: StoreMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = stores.new()
    text = b"what an agent says, over and over " * 10_000
    written = os.urandom(BLOCK) + text[: 2 * BLOCK] + os.urandom(2 * BLOCK) + text[:BLOCK] + text[:999]
    node = make_file(tree, b"f", written)
    in_journal = {page * PAGE // BLOCK for page in tree.state.pages[node.ino]}
    assert in_journal == {1, 2, 5, 6}
    assert set(tree.blocks.extents(node.ino, 0, 9)) == {0, 3, 4}
    tree = stores.crash(tree)
    assert content(tree, node.ino) == written
    work_off(tree.keeper.seal(everything=True))
    assert not tree.state.pages
    assert content(tree, node.ino) == written
    assert tree.stats().pack_bytes < 3.2 * BLOCK
    size = tree.stats().pack_bytes
    again = make_file(tree, b"again", written[: 6 * BLOCK])
    assert again.ino not in tree.state.pages, "what is there already is stored once, at once"
    assert content(tree, again.ino) == written[: 6 * BLOCK]
    assert tree.stats().pack_bytes == size
    monkeypatch.setattr(blocks, "_LATER", -1)
    text, written = text[7:], os.urandom(BLOCK) + text[7 : 7 + 5 * BLOCK] + text[:999]
    at_once = make_file(tree, b"g", written)
    assert {page * PAGE // BLOCK for page in tree.state.pages[at_once.ino]} == {6}, "the journal has enough"
    assert content(tree, at_once.ino) == written


@pytest.mark.parametrize("room", [0, 1, 3])
def test_a_large_write_that_the_journal_has_no_room_for_ends_with_whole_blocks(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    tree = stores.new()
    node = make_file(tree, b"f")
    text = (b"%07d\n" % number for number in range(10 * BLOCK // 8))
    begin, frames = State.begin, []

    def short(state: State, *size: int, **how: bool) -> int:
        if len(frames) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        frames.append(size)
        return begin(state, *size, **how)

    written = b"".join(text)
    with monkeypatch.context() as patch:
        patch.setattr(State, "begin", short)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            tree.content.write(node.ino, 0, written)
    assert content(tree, node.ino) == written[: (room + 1) * BLOCK]
    tree = stores.crash(tree)
    assert content(tree, node.ino) == written[: (room + 1) * BLOCK]
    tree.content.write(node.ino, 0, written)
    assert content(tree, node.ino) == written
