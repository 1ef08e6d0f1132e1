"""Names at their edges: colliding hashes, renames that must not be, listings that change while they are read."""

from __future__ import annotations

import errno
import os

import pytest

from tests.store.stores import DIRECTORY, FILE, StoreMaker, make_file, names_of
from vaultfs.tree import ROOT, rows
from vaultfs.tree.names import RENAME_EXCHANGE, RENAME_NOREPLACE


def refused(number: int) -> object:
    return pytest.raises(OSError, match=os.strerror(number).replace("(", r"\("))


@pytest.fixture
def collisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """All names hash to one of two values, which real names do not in the age of the universe."""
    monkeypatch.setattr(rows, "hash_of", lambda name: 4 if name[0] % 2 else 8)


@pytest.mark.usefixtures("collisions")
def test_names_whose_hashes_collide_live_side_by_side(stores: StoreMaker) -> None:
    tree = stores.new()
    nodes = {name: make_file(tree, name).ino for name in (b"a", b"c", b"e", b"g", b"b", b"d")}
    assert names_of(tree) == nodes
    assert all(tree.names.lookup(ROOT, name).ino == ino for name, ino in nodes.items())
    with refused(errno.ENOSPC):
        make_file(tree, b"i")
    tree.names.unlink(ROOT, b"c")
    with refused(errno.ENOENT):
        tree.names.lookup(ROOT, b"c")
    assert tree.names.lookup(ROOT, b"e").ino == nodes[b"e"]
    tree.names.rename(ROOT, b"g", ROOT, b"i")
    assert tree.names.lookup(ROOT, b"i").ino == nodes[b"g"]
    assert names_of(stores.crash(tree)).keys() == {b"a", b"e", b"i", b"b", b"d"}


def test_a_listing_goes_on_while_the_directory_changes(stores: StoreMaker) -> None:
    """What is there all the time is listed just once, whatever comes and goes meanwhile."""
    tree = stores.new()
    stays = {b"stay%d" % number for number in range(300)}
    for name in stays:
        make_file(tree, name)
    for number in range(200):
        make_file(tree, b"goes%d" % number)
    seen, cookie, turn = [], 0, 0
    while page := tree.names.listing(ROOT, cookie):
        seen += [entry.name for entry in page]
        cookie = page[-1].cookie
        for _ in range(20):
            if turn < 200:
                tree.names.unlink(ROOT, b"goes%d" % turn)
            make_file(tree, b"comes%d" % turn)
            turn += 1
    assert stays <= set(seen)
    assert len(seen) == len(set(seen))


def test_a_directory_cannot_be_moved_into_itself(stores: StoreMaker) -> None:
    tree = stores.new()
    outer = tree.names.make(ROOT, b"outer", DIRECTORY, 0, 0)
    inner = tree.names.make(outer.ino, b"inner", DIRECTORY, 0, 0)
    with refused(errno.EINVAL):
        tree.names.rename(ROOT, b"outer", inner.ino, b"x")
    with refused(errno.EINVAL):
        tree.names.rename(outer.ino, b"inner", ROOT, b"outer", RENAME_EXCHANGE)


def test_rename_flags(stores: StoreMaker) -> None:
    tree = stores.new()
    a, b = make_file(tree, b"a"), make_file(tree, b"b")
    sub = tree.names.make(ROOT, b"sub", DIRECTORY, 0, 0)
    with refused(errno.EEXIST):
        tree.names.rename(ROOT, b"a", ROOT, b"b", RENAME_NOREPLACE)
    with refused(errno.ENOENT):
        tree.names.rename(ROOT, b"a", ROOT, b"none", RENAME_EXCHANGE)
    with refused(errno.EINVAL):
        tree.names.rename(ROOT, b"a", ROOT, b"b", 4)
    with refused(errno.ENOTDIR):
        tree.names.rename(ROOT, b"a", b.ino, b"c")
    tree.names.rename(ROOT, b"a", ROOT, b"sub", RENAME_EXCHANGE)
    tree = stores.crash(tree)
    assert names_of(tree) == {b"a": sub.ino, b"b": b.ino, b"sub": a.ino}
    tree.names.rename(ROOT, b"a", ROOT, b"c", RENAME_NOREPLACE)
    assert tree.inode(ROOT).nlink == 3


def test_a_removed_directory_takes_no_new_names(stores: StoreMaker) -> None:
    tree = stores.new()
    gone = tree.names.make(ROOT, b"gone", DIRECTORY, 0, 0)
    file = make_file(tree, b"f")
    tree.names.rmdir(ROOT, b"gone")
    with refused(errno.ENOENT):
        tree.names.make(gone.ino, b"x", FILE, 0, 0)
    with refused(errno.ENOENT):
        tree.names.link(file.ino, gone.ino, b"x")
    with refused(errno.ENOENT):
        tree.names.rename(ROOT, b"f", gone.ino, b"x")


def test_an_unlinked_file_lives_while_it_is_open_and_not_after_a_crash(stores: StoreMaker) -> None:
    tree = stores.new()
    node = make_file(tree, b"f", b"still here")
    handle = tree.handles.open(node.ino, writable=True, pid=1)
    tree.names.unlink(ROOT, b"f")
    tree.forget(node.ino)
    assert tree.content.read(node.ino, 0, 100) == b"still here"
    again = stores.open(stores.killed(tree))
    with refused(errno.ENOENT):
        again.inode(node.ino)
    tree.handles.release(handle)
    tree.forget(node.ino)
    with refused(errno.ENOENT):
        tree.inode(node.ino)
    assert tree.stats().files == 0
