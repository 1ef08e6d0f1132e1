"""Each case that makes cuts hard, by itself: what the edits are, and that they lead to the working tree."""

from __future__ import annotations

import os
import stat

from tests.store.committing import working_tree
from tests.store.cut_vault import Vault, short
from tests.store.stores import work_off
from vaultfs.format.node import Block, Inline
from vaultfs.format.pack import BLOCK_BYTES, block_id, node_id, node_key
from vaultfs.tree import ROOT
from vaultfs.tree.names import RENAME_EXCHANGE

# -- names


def test_directories_change_places(vault: Vault) -> None:
    vault.move(b"d", b"e", RENAME_EXCHANGE)
    edits = vault.commit()
    assert [edit[0] for edit in edits] == ["moved"] * 3, "two moves, and one out of the way"


def test_a_directory_goes_into_what_was_in_it(vault: Vault) -> None:
    vault.move(b"d/sub", b"sub")
    vault.move(b"d", b"sub/d")
    assert vault.commit() == [("moved", b"d/sub", b"sub"), ("moved", b"d", b"sub/d")]
    vault.move(b"sub/d", b"x")
    vault.move(b"sub", b"x/sub")
    vault.move(b"x", b"sub")
    edits = vault.commit()
    assert len([edit for edit in edits if edit[0] == "moved"]) == len(edits)


def test_parent_and_child_change_names(vault: Vault) -> None:
    """The child takes the parent's name and place, the parent the child's."""
    vault.move(b"d/sub", b"x")
    vault.move(b"d", b"x/sub")
    vault.move(b"x", b"d")
    assert {edit[0] for edit in vault.commit()} == {"moved"}


def test_a_file_leaves_a_directory_that_is_removed(vault: Vault) -> None:
    vault.move(b"d/g", b"e/g")
    vault.unlink(b"d/f")
    vault.unlink(b"d/sub/h")
    vault.rmdir(b"d/sub")
    vault.rmdir(b"d")
    assert vault.commit() == [("moved", b"d/g", b"e/g"), ("removed", b"d")]


def test_a_directory_is_made_anew_and_keeps_its_files(vault: Vault) -> None:
    vault.mkdir(b"new")
    for name in (b"f", b"g", b"sub"):
        vault.move(b"d/" + name, b"new/" + name)
    vault.rmdir(b"d")
    vault.move(b"new", b"d")
    edits = vault.commit()
    assert ("removed", b"d") in edits
    assert ("new", b"d") in edits
    assert {edit[0] for edit in edits} == {"moved", "removed", "new"}


def test_another_kind_takes_the_name(vault: Vault) -> None:
    vault.unlink(b"d/f")
    vault.mkdir(b"d/f")
    vault.write(b"d/f/in", b"1")
    vault.unlink(b"d/sub/h")
    vault.rmdir(b"d/sub")
    vault.write(b"d/sub", b"a file")
    vault.rmdir(b"e")
    vault.tree.names.make(ROOT, b"e", stat.S_IFLNK | 0o777, 0, 0, target=b"d")
    edits = vault.commit()
    assert {("removed", b"d/f"), ("removed", b"d/sub"), ("new", b"d/f"), ("new", b"d/sub"), ("new", b"e")} < set(edits)


def test_saving_by_a_rename_is_one_edit(vault: Vault) -> None:
    vault.write(b"d/f.tmp", b"saved")
    vault.move(b"d/f.tmp", b"d/f")
    assert vault.commit() == [("new", b"d/f")]


def test_moved_over_another_file(vault: Vault) -> None:
    vault.move(b"d/g", b"d/f")
    assert vault.commit() == [("moved", b"d/g", b"d/f")]


def test_hard_links(vault: Vault) -> None:
    """A new name makes all of them new versions, or they would be several files; one less changes nothing else."""
    vault.tree.names.link(vault.ino(b"d/g"), ROOT, b"g2")
    assert vault.commit() == [("written", b"d/g"), ("new", b"g2")]
    vault.tree.content.write(vault.ino(b"g2"), 0, b"both")
    assert vault.commit() == [("written", b"d/g"), ("written", b"g2")]
    vault.move(b"g2", b"g3")
    assert vault.commit() == [("moved", b"g2", b"g3")]
    vault.unlink(b"d/g")
    assert vault.commit() == [("removed", b"d/g")]


def test_what_came_and_went_is_no_edit(vault: Vault) -> None:
    vault.write(b"tmp", b"1")
    vault.unlink(b"tmp")
    vault.mkdir(b"tmpd")
    vault.write(b"tmpd/x", b"1")
    vault.unlink(b"tmpd/x")
    vault.rmdir(b"tmpd")
    vault.move(b"d/f", b"d/f2")
    vault.move(b"d/f2", b"d/f")
    cut = vault.tree.cut()
    assert cut.empty
    cut.done()
    assert vault.tree.changes.empty


def test_a_file_that_only_a_handle_holds(vault: Vault) -> None:
    handle = vault.tree.handles.open(vault.ino(b"d/f"), writable=True, pid=1)
    ino = vault.ino(b"d/f")
    vault.unlink(b"d/f")
    new = vault.write(b"tmp", b"1")
    vault.tree.handles.open(new, writable=True, pid=1)
    vault.unlink(b"tmp")
    vault.tree.content.write(ino, 0, b"nobody sees it")
    vault.tree.content.write(new, 0, b"nor this")
    assert vault.commit() == [("removed", b"d/f")]
    vault.tree.content.write(ino, 0, b"again")
    vault.tree.handles.release(handle)
    vault.tree.forget(ino)
    assert vault.commit() == []


# -- content


def test_moved_and_written(vault: Vault) -> None:
    """Only the changed block is named, and the first, beside a move."""
    vault.move(b"d/g", b"e/g2")
    vault.tree.content.write(vault.ino(b"e/g2"), 2 * BLOCK_BYTES, b"new")
    cut = vault.tree.cut()
    expected = working_tree(vault.tree)
    assert short(cut) == [("moved", b"d/g", b"e/g2"), ("written", b"e/g2")]
    work_off(cut.work())
    content = cut.content(vault.ino(b"e/g2"))
    assert isinstance(content, dict)
    assert set(content) == {0, 2}
    assert cut.start(vault.ino(b"e/g2")) == b""
    assert vault.commits.tree_of(vault.commits.settle(vault.tree, cut)) == expected


def test_attributes_alone(vault: Vault) -> None:
    vault.tree.attributes.set(vault.ino(b"d/g"), mode=0o600)
    vault.tree.attributes.set(vault.ino(b"d"), mode=0o700)
    cut = vault.tree.cut()
    assert cut.content(vault.ino(b"d/g")) == {}
    cut.failed()
    assert vault.commit() == [("written", b"d"), ("written", b"d/g")]


def test_contents(vault: Vault) -> None:
    small, hole = vault.write(b"small", b"abc"), vault.write(b"hole", b"")
    vault.tree.attributes.set(hole, size=300)
    whole = vault.write(b"whole", b"w" * 70_000)
    grown = vault.ino(b"d/f")
    vault.tree.attributes.set(grown, size=200_000)
    cut = vault.tree.cut()
    work_off(cut.work())
    assert cut.content(small) == Inline(b"abc")
    assert cut.content(hole) == Inline(bytes(300))
    blocks = cut.content(whole)
    assert isinstance(blocks, list)
    assert [(block.number, block.valid) for block in blocks] == [(0, BLOCK_BYTES), (1, 70_000 - BLOCK_BYTES)]
    first = block_id(vault.tree.state.keys, b"w" * BLOCK_BYTES)
    assert blocks[0] == Block(0, first, BLOCK_BYTES)
    content = cut.content(grown)
    assert isinstance(content, dict), "it stood in its element before"
    assert content == {0: (block_id(vault.tree.state.keys, b"f" * 100), 100)}
    assert [cut.start(ino) for ino in (small, whole, grown)] == [b"abc", b"w" * 16, b"f" * 16]
    cut.failed()
    vault.commit()


def test_one_commit_is_one_pack(vault: Vault) -> None:
    vault.tree.content.write(vault.ino(b"d/g"), 0, os.urandom(BLOCK_BYTES))  # sealed as it is written
    vault.tree.content.write(vault.ino(b"d/g"), BLOCK_BYTES, os.urandom(5000))
    cut = vault.tree.cut()
    work_off(cut.work())
    name = node_id(node_key(vault.tree.state.keys), b"a node")
    work_off(cut.add_nodes({name: b"a node"}))
    (pack,) = cut.packs
    kinds = vault.tree.state.all("SELECT count(*) FROM block WHERE pack=?", pack)
    assert kinds == [(2,)]
    placed = vault.tree.ledger.place_of_node(name)
    assert placed is not None
    assert placed.pack == pack
    pack_id, state = vault.tree.ledger.pack_of(pack)
    assert state == 1
    assert vault.tree.blocks.reader.read(placed, pack_id) == b"a node"
    cut.done()


def test_a_commit_larger_than_a_pack(vault: Vault) -> None:
    for number in range(9):
        ino = vault.write(b"big%d" % number, b"")
        for at in range(70):
            vault.tree.content.write(ino, at * BLOCK_BYTES, os.urandom(BLOCK_BYTES - 1))
    cut = vault.tree.cut()
    work_off(cut.work())
    key = node_key(vault.tree.state.keys)
    nodes = {node_id(key, data): data for data in (os.urandom(200_000) for _ in range(20))}
    work_off(cut.add_nodes(nodes))
    assert len(cut.packs) >= 3
    assert all(vault.tree.ledger.pack_of(pack).state == 1 for pack in cut.packs)
    for identity, data in nodes.items():
        placed = vault.tree.ledger.place_of_node(identity)
        assert placed is not None
        assert placed.pack in cut.packs
        assert vault.tree.blocks.reader.read(placed, vault.tree.ledger.pack_of(placed.pack).id) == data
    cut.failed()
    vault.commit()
