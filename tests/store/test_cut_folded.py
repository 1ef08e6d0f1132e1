"""Cuts of what came from commits and nobody looked into: it moves as it is, and keeps its content."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.store.cut_vault import short
from tests.store.elements import RemotePacks, a_directory, a_file, a_ref, indirect, named
from tests.store.stores import work_off
from tests.store.test_arrivals import bring
from vaultfs.format.node import Blocks, Inline
from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.tree import ROOT
from vaultfs.tree.cut import Written
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.inode import Flag

if TYPE_CHECKING:
    from pathlib import Path

    from tests.store.stores import StoreMaker
    from vaultfs.tree import Tree


def follower(stores: StoreMaker) -> Tree:
    """A machine that joined a vault: a folded directory `d` of its root."""
    tree = stores.new()
    tree.start_tracking()
    bring(tree, named(b"d", a_directory(), a_ref()))
    return tree


def ino_of(tree: Tree, name: bytes) -> int:
    return tree.names.lookup(ROOT, name).ino


@pytest.fixture
def remote(tmp_path: Path) -> RemotePacks:
    return RemotePacks(tmp_path / "remote")


def test_it_moves_as_it_is(stores: StoreMaker, remote: RemotePacks) -> None:
    tree = follower(stores)
    bring(tree, named(b"f", a_file(remote.store(b"f" * 1000), 1000)))
    tree.names.rename(ROOT, b"f", ROOT, b"f2")
    tree.names.rename(ROOT, b"d", ROOT, b"d2")
    cut = tree.cut()
    assert sorted(short(cut)) == [("moved", b"d", b"d2"), ("moved", b"f", b"f2")]
    work_off(cut.work())
    cut.done()
    assert tree.inode(ino_of(tree, b"d2")).flags & Flag.FOLDED
    assert tree.changes.empty


def test_attributes_alone_leave_the_content_as_it_is(stores: StoreMaker, remote: RemotePacks) -> None:
    tree = follower(stores)
    file = a_file(remote.store(b"f" * 1000), 1000)
    bring(tree, named(b"f", file))
    tree.attributes.set(ino_of(tree, b"f"), mode=0o600)
    tree.attributes.set(ino_of(tree, b"d"), mode=0o700)
    cut = tree.cut()
    assert short(cut) == [("written", b"d"), ("written", b"f")]
    work_off(cut.work())
    assert cut.content(ino_of(tree, b"f")) is None
    edit = cut.edits[1]
    assert isinstance(edit, Written)
    assert cut.file_id(edit.inode) == file.id
    cut.failed()


@pytest.mark.parametrize("kind", ["inline", "blocks", "indirect"])
def test_under_another_name_too_it_has_what_it_came_with(stores: StoreMaker, remote: RemotePacks, kind: str) -> None:
    tree = follower(stores)
    what = {
        "inline": Inline(b"few bytes"),
        "blocks": remote.store(b"f" * 1000),
        "indirect": indirect(remote.store(b"i")),
    }[kind]
    bring(tree, named(b"f", a_file(what, 20 * BLOCK_BYTES if kind == "indirect" else 1000)))
    tree.names.link(ino_of(tree, b"f"), ROOT, b"g")
    cut = tree.cut()
    assert short(cut) == [("written", b"f"), ("new", b"g")]
    work_off(cut.work())
    assert cut.content(ino_of(tree, b"f")) == what
    cut.failed()


def test_a_changed_block_of_a_file_whose_others_are_on_the_remote(stores: StoreMaker, remote: RemotePacks) -> None:
    """Whole pages need nothing of the block below until it is sealed; then the cut asks for it."""
    tree = follower(stores)
    data = os.urandom(3 * BLOCK_BYTES)
    listed = remote.store(data)
    bring(tree, named(b"f", a_file(listed, len(data))))
    ino = ino_of(tree, b"f")
    tree.content.write(ino, BLOCK_BYTES, b"p" * 4096)
    cut = tree.cut()
    with pytest.raises(NotHereError) as missing:
        work_off(cut.work())
    remote.fetch(tree, missing.value)
    assert short(cut) == [("written", b"f")]
    work_off(cut.work())
    blocks = cut.content(ino)
    assert isinstance(blocks, dict)
    assert isinstance(listed, Blocks)
    assert blocks.keys() == {0, 1}
    assert blocks[0] == listed.blocks[0][1:]
    assert blocks[1] != listed.blocks[1][1:]
    assert cut.start(ino) == b""
    work_off(cut.add_nodes({}))
    assert len(cut.packs) == 1, "what is on the remote is not published again"
    cut.done()
    assert tree.content.read(ino, BLOCK_BYTES, 4096) == b"p" * 4096


def test_an_inline_file_that_is_appended_to(stores: StoreMaker) -> None:
    """Its first bytes stood in the element, so the block is named."""
    tree = follower(stores)
    bring(tree, named(b"f", a_file(Inline(b"x" * 500))))
    ino = ino_of(tree, b"f")
    tree.content.write(ino, 500, b"y" * 500)
    cut = tree.cut()
    assert short(cut) == [("written", b"f")]
    work_off(cut.work())
    blocks = cut.content(ino)
    assert isinstance(blocks, dict)
    assert blocks.keys() == {0}
    cut.failed()


def test_what_must_be_made_anew_must_be_known(stores: StoreMaker) -> None:
    """A folded directory that cannot be moved in the base has to be fetched first; nothing is changed by asking."""
    tree = follower(stores)
    ino = ino_of(tree, b"d")
    tree.ledger.set_lag(ROOT, b"d", b"older")
    tree.names.rename(ROOT, b"d", ROOT, b"d2")
    before = tree.stats().commit
    for _ in range(2):
        with pytest.raises(NotHereError) as missing:
            tree.cut()
        assert missing.value.directory == ino
    assert tree.stats().commit == before
    assert not tree.changes.cutting
    tree.arrivals.expand(ino, [named(b"x", a_file(b"inline"))])
    cut = tree.cut()
    assert short(cut) == [("removed", b"d"), ("new", b"d2"), ("new", b"d2/x")]
    cut.failed()
