"""Nobody can tell what was never looked into from what was: not by its attributes, nor by what one may do with it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.store.elements import (
    OTHER,
    RemotePacks,
    a_directory,
    a_file,
    a_ref,
    indirect,
    named,
)
from tests.store.folding import folded
from tests.store.stores import FILE, StoreMaker, content, make_file, names_of, work_off
from tests.store.test_arrivals import bring, problems, take_away
from vaultfs.format.node import Block, Blocks, Indirect
from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.tree import ROOT
from vaultfs.tree.housekeeping import SyncWork
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.inode import Flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.tree import Tree


@pytest.mark.parametrize(
    "call",
    [
        lambda tree, ino: tree.names.lookup(ino, b"x"),
        lambda tree, ino: tree.names.listing(ino, 0),
        lambda tree, ino: tree.names.make(ino, b"x", FILE, 0, 0),
        lambda tree, ino: tree.names.unlink(ino, b"x"),
        lambda tree, ino: tree.names.rmdir(ino, b"x"),
        lambda tree, ino: tree.names.link(make_file(tree, b"y").ino, ino, b"x"),
        lambda tree, ino: tree.names.rename(ino, b"x", ROOT, b"y"),
        lambda tree, ino: tree.names.rename(ROOT, make_file(tree, b"y").ino and b"y", ino, b"x"),
    ],
)
def test_looking_into_a_directory_asks_for_it_and_changes_nothing(
    stores: StoreMaker, call: Callable[[Tree, int], object]
) -> None:
    tree = stores.new()
    directory = folded(tree)
    with pytest.raises(NotHereError) as lack:
        call(tree, directory)
    assert (lack.value.directory, lack.value.content, lack.value.blocks) == (directory, 0, ())
    assert not tree.state.pending
    assert problems(tree) == []
    tree.arrivals.expand(directory, [named(b"x", a_file(b"x")), named(b"s", a_directory(), a_ref())])
    assert names_of(tree, directory).keys() == {b"x", b"s"}
    assert tree.inode(directory).nlink == 3
    assert not tree.arrivals.is_folded(directory)
    assert tree.arrivals.folded(directory) is None
    assert problems(tree) == []


def test_a_folded_directory_is_moved_and_never_taken_for_an_empty_one(stores: StoreMaker) -> None:
    tree = stores.new()
    directory = folded(tree)
    for call in (
        lambda: tree.names.rmdir(ROOT, b"d"),
        lambda: tree.names.rename(ROOT, tree.names.make(ROOT, b"o", 0o40755, 0, 0) and b"o", ROOT, b"d"),
    ):
        with pytest.raises(OSError, match="not empty") as refused:
            call()
        assert refused.value.errno == errno.ENOTEMPTY
    tree.names.rename(ROOT, b"d", ROOT, b"e")
    tree.attributes.set(directory, mode=0o700)
    assert tree.names.lookup(ROOT, b"e").ino == directory
    tree = stores.crash(tree)
    assert tree.arrivals.folded(directory) == a_ref()


def test_expanding_twice_or_what_is_not_folded_does_nothing(stores: StoreMaker) -> None:
    tree = stores.new()
    directory = folded(tree)
    tree.arrivals.expand(directory, [named(b"x", a_file(b"x"))])
    tree.names.unlink(directory, b"x")
    tree.arrivals.expand(directory, [named(b"x", a_file(b"x"))])
    tree.arrivals.refold(directory, a_ref(2))
    tree.arrivals.unfold(directory, ())
    assert names_of(tree, directory) == {}
    assert not tree.arrivals.is_folded(12345)


def test_a_large_directory_comes_in_pieces_and_a_crash_leaves_it_folded(stores: StoreMaker) -> None:
    tree = stores.new()
    directory = folded(tree)
    entries = [named(b"%05d" % number, a_file(b"%d" % number)) for number in range(3000)]
    entries[7] = named(b"dir", a_directory(), a_ref())
    tree.arrivals.expand(directory, entries[:1000], last=False)
    with pytest.raises(NotHereError):
        tree.names.listing(directory, 0)
    with pytest.raises(NotHereError):
        tree.names.lookup(directory, b"00001")  # else it could be written, and be lost when a newer version comes
    assert problems(tree) == []
    tree = stores.crash(tree)
    assert problems(tree) == []
    assert tree.arrivals.folded(directory) == a_ref()
    with pytest.raises(NotHereError):
        tree.names.lookup(directory, b"02999")
    tree.arrivals.expand(directory, entries)
    found = names_of(tree, directory)
    assert len(found) == 3000
    assert content(tree, found[b"02999"]) == b"2999"
    assert tree.inode(directory).nlink == 3
    tree = stores.crash(tree)
    assert names_of(tree, directory) == found
    assert problems(tree) == []


def test_a_newer_version_of_a_folded_directory_forgets_what_a_crash_left_of_the_older(stores: StoreMaker) -> None:
    tree = stores.new()
    directory = folded(tree)
    inner = named(b"inner", a_directory(), a_ref())
    tree.arrivals.expand(directory, [named(b"old", a_file(b"old")), inner], last=False)
    tree.arrivals.refold(directory, a_ref(2))
    tree.arrivals.expand(directory, [named(b"new", a_file(b"new"))])
    assert names_of(tree, directory).keys() == {b"new"}
    assert tree.stats().files == 1
    assert tree.stats().directories == 2
    other = folded(tree, b"other")
    tree.arrivals.refold(other, None)
    assert names_of(tree, other) == {}
    turner = tree.arrivals.turner
    assert not turner.fits([(other, a_ref(3))]), "somebody has looked into it"
    tree = stores.new()
    turner = tree.arrivals.turner
    assert turner.fits([(ROOT, a_ref(3))])
    turner.turn([(ROOT, a_ref(3))], [], lambda: None)
    assert tree.arrivals.folded(ROOT) == a_ref(3)
    assert turner.fits([(ROOT, a_ref(4))])
    tree.arrivals.expand(ROOT, [named(b"x", a_file(b"x"))])
    assert not turner.fits([(ROOT, a_ref(4))])
    assert problems(tree) == []


def test_who_made_nobody_s_files_owns_them(stores: StoreMaker) -> None:
    tree = stores.new()
    tree.attributes.set(ROOT, uid=501, gid=20)
    bring(tree, named(b"mine", a_file(b"x")), named(b"root's", a_file(b"x", uid=0)))
    assert (tree.names.lookup(ROOT, b"mine").uid, tree.names.lookup(ROOT, b"mine").gid) == (501, 20)
    assert tree.names.lookup(ROOT, b"root's").uid == 0


def test_attributes_that_are_flags_too(stores: StoreMaker) -> None:
    tree = stores.new()
    xattrs = (
        (b"security.capability", b"cap"),
        (b"user.vaultfs.lastWriter", b"lies"),
        (b"user.vaultfs.scope", b"vault"),
    )
    bring(tree, named(b"d", a_directory(xattrs=xattrs)))
    node = tree.names.lookup(ROOT, b"d")
    assert node.flags == Flag.XATTRS | Flag.CAPABILITY
    assert tree.xattrs.get(node.ino, b"user.vaultfs.scope") == b"vault"
    assert OTHER.hex().encode() in tree.xattrs.get(node.ino, b"user.vaultfs.lastWriter")


@pytest.mark.parametrize("what", ["write", "append", "cut", "empty", "extend", "chmod"])
def test_a_small_file_is_read_at_once_and_unfolds_when_it_is_written(stores: StoreMaker, what: str) -> None:
    tree = stores.new()
    bring(tree, named(b"f", a_file(b"0123456789", counter=6)))
    tree.start_tracking()
    ino = tree.names.lookup(ROOT, b"f").ino
    assert tree.content.read(ino, 3, 4) == b"3456"
    assert tree.content.read(ino, 10, 4) == b""
    assert tree.inode(ino).counter == 6
    assert tree.changes.empty
    if what == "write":
        tree.content.write(ino, 2, b"ab")
    elif what == "append":
        tree.content.write(ino, 10, b"!")
    elif what == "chmod":
        tree.attributes.set(ino, mode=0o600)
    else:
        tree.attributes.set(ino, size={"cut": 4, "empty": 0, "extend": 12}[what])
    expected = {
        "write": b"01ab456789",
        "append": b"0123456789!",
        "cut": b"0123",
        "empty": b"",
        "extend": b"0123456789\0\0",
        "chmod": b"0123456789",
    }[what]
    assert tree.changes.dirty(ino)
    assert tree.inode(ino).writer == tree.state.device
    assert bool(tree.inode(ino).flags & Flag.FOLDED) == (what == "chmod")
    for _ in range(2):
        assert content(tree, ino) == expected
        assert problems(tree) == []
        tree = stores.crash(tree)
    work_off(tree.keeper.seal(everything=True))
    work_off(SyncWork(tree.keeper))
    assert content(stores.crash(tree), ino) == expected


def test_sizes_are_told_without_any_fetch(stores: StoreMaker) -> None:
    tree = stores.new()
    blocks = Blocks((Block(0, b"a" * 32, BLOCK_BYTES), Block(2, b"b" * 32, 100)))
    bring(
        tree,
        named(b"listed", a_file(blocks, 3 * BLOCK_BYTES + 7)),
        named(b"long", a_file(Indirect(40, 1, bytes(32)), 40 * BLOCK_BYTES - 5)),
        named(b"sparse", a_file(Indirect(20, 2, bytes(32)), 1 << 40)),
        named(b"all-hole", a_file(Blocks(()), 1 << 20)),
        named(b"none", a_file(b"")),
    )
    sizes = {name: tree.inode(ino) for name, ino in names_of(tree).items()}
    assert (sizes[b"listed"].size, sizes[b"listed"].blocks) == (3 * BLOCK_BYTES + 7, 2 * BLOCK_BYTES // 512)
    assert sizes[b"long"].blocks == (40 * BLOCK_BYTES - 5 + 511) // 512
    assert (sizes[b"sparse"].size, sizes[b"sparse"].blocks) == (1 << 40, 20 * BLOCK_BYTES // 512)
    assert (sizes[b"all-hole"].size, sizes[b"all-hole"].blocks) == (1 << 20, 0)
    assert sizes[b"none"].blocks == 0
    assert not tree.arrivals.is_folded(names_of(tree)[b"none"])
    assert tree.content.read(names_of(tree)[b"all-hole"], 5, 10) == bytes(10)
    assert tree.stats().bytes == sum(node.size for node in sizes.values())


def test_a_long_file_asks_for_its_list_of_blocks_first(stores: StoreMaker) -> None:
    tree, remote = stores.new(), RemotePacks(stores.base / "remote")
    data = os.urandom(20 * BLOCK_BYTES)
    listed = remote.store(data)
    bring(tree, named(b"f", a_file(indirect(listed), len(data))))
    ino = tree.names.lookup(ROOT, b"f").ino
    tree.start_tracking()
    for call in (
        lambda: tree.content.read(ino, 0, 1),
        lambda: tree.content.write(ino, 5, b"x"),
        lambda: tree.attributes.set(ino, size=5),
    ):
        with pytest.raises(NotHereError) as lack:
            call()
        assert (lack.value.content, lack.value.blocks) == (ino, ())
    assert tree.changes.empty
    tree.arrivals.unfold(ino, listed.blocks)
    assert tree.changes.empty
    tree = stores.crash(tree)
    with pytest.raises(NotHereError) as lack:
        content(tree, ino)
    assert len(lack.value.blocks) == 20
    remote.fetch(tree, lack.value)
    assert content(tree, ino) == data
    work_off(SyncWork(tree.keeper))
    tree = stores.crash(tree)
    assert content(tree, ino) == data
    assert len(remote.fetched) == 20
    assert problems(tree) == []


def test_places_learnt_before_a_file_is_unfolded_are_used(stores: StoreMaker) -> None:
    tree, remote = stores.new(), RemotePacks(stores.base / "remote")
    data = os.urandom(2 * BLOCK_BYTES)
    bring(tree, named(b"f", a_file(remote.store(data), len(data))))
    remote.catalogue(tree)
    with pytest.raises(NotHereError) as lack:
        content(tree, tree.names.lookup(ROOT, b"f").ino)
    assert all(tree.state.one("SELECT pack FROM block WHERE blk=?", blk) for blk in lack.value.blocks)


def test_cutting_a_file_to_nothing_needs_nothing_of_it(stores: StoreMaker) -> None:
    tree = stores.new()
    bring(tree, named(b"f", a_file(Indirect(40, 1, bytes(32)), 40 * BLOCK_BYTES)))
    ino = tree.names.lookup(ROOT, b"f").ino
    tree.attributes.set(ino, size=0)
    tree.content.write(ino, 0, b"new")
    for _ in range(2):
        assert content(tree, ino) == b"new"
        assert tree.inode(ino).blocks == 1
        assert tree.stats().bytes == 3
        assert problems(tree) == []
        tree = stores.crash(tree)


def test_what_is_removed_unopened_leaves_nothing(stores: StoreMaker) -> None:
    tree = stores.new()
    bring(tree, named(b"f", a_file(b"inline")), named(b"g", a_file(Indirect(40, 1, bytes(32)), 40 * BLOCK_BYTES)))
    for name, ino in names_of(tree).items():
        tree.names.unlink(ROOT, name)
        tree.forget(ino)
    folded(tree)
    take_away(tree, b"d")
    for table in ("folded", "arrived", "orphan"):
        assert tree.state.all(f"SELECT * FROM {table}") == [], table  # noqa: S608
    assert problems(stores.crash(tree)) == []


def test_check_tells_what_is_noted_wrongly(stores: StoreMaker) -> None:
    tree = stores.new()
    directory = folded(tree)
    tree.state.run("DELETE FROM folded WHERE ino=?", directory)
    make_file(tree, b"g")
    tree.state.run("INSERT INTO folded VALUES(?,?)", names_of(tree)[b"g"], b"x")
    tree.state.run("INSERT INTO extent VALUES(?,0,99,1)", make_file(tree, b"h").ino)
    assert {problem.path for problem in problems(tree)} == {"d", "g", "h"}  # type: ignore[attr-defined]
