"""What comes from commits comes at one instant, quietly, and over nothing that is in use."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.store.elements import (
    OTHER,
    TIME,
    a_directory,
    a_file,
    a_link,
    a_ref,
    a_unit,
    named,
)
from tests.store.stores import DIRECTORY, content, make_file, names_of, work_off
from vaultfs.tree import ROOT, arrivals
from vaultfs.tree.arrivals import Swap
from vaultfs.tree.check import check_tree
from vaultfs.tree.housekeeping import SyncWork
from vaultfs.tree.incoming import NotHereError

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker
    from vaultfs.tree import Tree
    from vaultfs.tree.incoming import Incoming


def problems(tree: Tree) -> list[object]:
    return [problem for problem in check_tree(tree) if problem is not None]


def bring(tree: Tree, *comes: Incoming, parent: int = ROOT) -> None:
    swaps = [Swap(parent, incoming.name, tree.arrivals.stage(incoming).token) for incoming in comes]
    batch = tree.arrivals.prepare(swaps)
    tree.arrivals.place(batch)
    tree.arrivals.done(batch)


def take_away(tree: Tree, *names: bytes, parent: int = ROOT, whole: bool = False) -> None:
    batch = tree.arrivals.prepare([Swap(parent, name, whole=whole) for name in names])
    tree.arrivals.place(batch)
    tree.arrivals.done(batch)


def test_what_was_staged_is_seen_with_all_its_attributes_once_it_is_placed(stores: StoreMaker) -> None:
    tree = stores.new()
    file = a_file(b"hello", counter=7)
    staged = tree.arrivals.stage(named(b"f", file))
    assert names_of(tree) == {}
    assert tree.arrivals.staged(staged.token).nlink == 1
    batch = tree.arrivals.prepare([Swap(ROOT, b"f", staged.token)])
    tree.arrivals.place(batch)
    tree.arrivals.place(batch)
    node = tree.names.lookup(ROOT, b"f")
    assert node.ino == staged.ino
    assert (node.mode, node.nlink, node.uid, node.gid) == (stat.S_IFREG | 0o640, 1, 1000, 1000)
    assert (node.size, node.blocks, node.mtime, node.written) == (5, 1, TIME, TIME + 7)
    assert (tree.device(node.writer).id, node.counter, node.id) == (OTHER, 7, file.id)
    assert content(tree, node.ino) == b"hello"
    tree.arrivals.done(batch)
    assert tree.arrivals.tokens() == []
    assert problems(tree) == []
    tree = stores.crash(tree)
    assert content(tree, node.ino) == b"hello"
    assert tree.inode(node.ino).written == TIME + 7
    assert problems(tree) == []


def test_links_and_directories_come_too(stores: StoreMaker) -> None:
    tree = stores.new()
    xattrs = ((b"user.colour", b"red"),)
    bring(tree, named(b"l", a_link(b"target")), named(b"d", a_directory(xattrs=xattrs), a_ref()))
    bring(tree, named(b"empty", a_directory()))
    assert tree.names.target(tree.names.lookup(ROOT, b"l").ino) == b"target"
    directory = tree.names.lookup(ROOT, b"d").ino
    assert tree.xattrs.get(directory, b"user.colour") == b"red"
    assert tree.arrivals.folded(directory) == a_ref()
    assert names_of(tree, tree.names.lookup(ROOT, b"empty").ino) == {}
    assert tree.inode(ROOT).nlink == 4
    assert problems(tree) == []
    with pytest.raises(NotHereError) as lack:
        tree.names.lookup(directory, b"x")
    assert lack.value.directory == directory


def test_a_crash_leaves_nothing_of_what_was_staged_and_all_of_what_was_placed(stores: StoreMaker) -> None:
    tree = stores.new()
    bring(tree, named(b"f", a_file(b"old")))
    tree.arrivals.stage(named(b"g", a_file(b"never")))
    tree.arrivals.stage(named(b"d", a_directory(), a_ref()))
    staged = tree.arrivals.stage(named(b"f", a_file(b"new")))
    tree.ledger.set_lag(ROOT, b"f", b"seen")
    tree.ledger.set_lag(ROOT, b"g", None)
    work_off(SyncWork(tree.keeper))
    batch = tree.arrivals.prepare([Swap(ROOT, b"f", staged.token)])
    tree.arrivals.place(batch)
    tree = stores.crash(tree)
    assert names_of(tree).keys() == {b"f"}
    assert content(tree, tree.names.lookup(ROOT, b"f").ino) == b"new"
    assert tree.ledger.lag_of(ROOT, b"f") is None
    assert tree.ledger.lag_of(ROOT, b"g") is not None
    assert tree.state.all("SELECT ino FROM orphan") == []
    assert len(tree.state.all("SELECT ino FROM inode")) == 2
    assert len(tree.state.all("SELECT ino FROM folded")) == 1
    assert problems(tree) == []


@pytest.mark.parametrize("how", ["open", "changed", "name"])
def test_what_is_in_use_stays_and_nothing_else_of_the_batch_is_done(stores: StoreMaker, how: str) -> None:
    tree = stores.new()
    bring(tree, named(b"f", a_file(b"old")), named(b"g", a_file(b"old")))
    tree.start_tracking()
    node = tree.names.lookup(ROOT, b"f")
    if how == "open":
        handle = tree.handles.open(node.ino, writable=True, pid=1)
    elif how == "changed":
        tree.content.write(node.ino, 0, b"mine")
    else:
        tree.names.rename(ROOT, b"f", ROOT, b"h")
    swaps = [Swap(ROOT, name, tree.arrivals.stage(named(name, a_file(b"new"))).token) for name in (b"g", b"f")]
    batch = tree.arrivals.prepare(swaps)
    with pytest.raises(OSError, match="busy") as refused:
        tree.arrivals.place(batch)
    assert (refused.value.errno, refused.value.filename) == (errno.EBUSY, b"f")
    assert tree.arrivals.busy(swaps[1]) == ("open" if how == "open" else "changed")
    assert tree.arrivals.busy(swaps[0]) == ""
    assert content(tree, tree.names.lookup(ROOT, b"g").ino) == b"old"
    if how == "open":
        tree.handles.release(handle)
        tree.arrivals.place(batch)
        assert content(tree, tree.names.lookup(ROOT, b"f").ino) == b"new"
    else:
        tree.arrivals.done(batch)
        assert len(names_of(tree)) == 2
    assert problems(tree) == []


def test_checkouts_are_no_edits(stores: StoreMaker) -> None:
    tree = stores.new()
    tree.start_tracking()
    bring(tree, named(b"f", a_file(b"one")), named(b"d", a_directory(), a_ref()))
    directory = tree.names.lookup(ROOT, b"d").ino
    tree.arrivals.expand(directory, [named(b"x", a_file(b"x"))])
    bring(tree, named(b"f", a_file(b"two")), named(b"l", a_link(b"t")))
    take_away(tree, b"x", parent=directory)
    take_away(tree, b"d", b"l")
    assert content(tree, tree.names.lookup(ROOT, b"f").ino) == b"two"
    assert tree.changes.empty
    tree = stores.crash(tree)
    assert tree.changes.empty
    assert names_of(tree).keys() == {b"f"}


def test_a_replaced_file_lives_while_somebody_reads_it(stores: StoreMaker) -> None:
    tree = stores.new()
    bring(tree, named(b"f", a_file(b"old")))
    old = tree.names.lookup(ROOT, b"f").ino
    handle = tree.handles.open(old, writable=False, pid=1)
    assert not tree.arrivals.replaced(old)
    bring(tree, named(b"f", a_file(b"new")))
    assert tree.arrivals.replaced(old)
    assert tree.content.read(old, 0, 10) == b"old"
    tree.handles.release(handle)
    tree.forget(old)
    with pytest.raises(FileNotFoundError):
        tree.inode(old)


def test_what_the_kernel_knows_goes_when_it_lets_go(stores: StoreMaker) -> None:
    tree = stores.new()
    tree.arrivals.kernel_knows = lambda _: True
    bring(tree, named(b"f", a_file(b"old")))
    old = tree.names.lookup(ROOT, b"f").ino
    staged = tree.arrivals.stage(named(b"f", a_file(b"new")))
    tree.forget(staged.ino)  # looked at in the staging directory, then forgotten
    batch = tree.arrivals.prepare([Swap(ROOT, b"f", staged.token)])
    tree.arrivals.place(batch)
    tree.arrivals.done(batch)
    assert tree.inode(old).nlink == 0
    tree.forget(old)
    with pytest.raises(FileNotFoundError):
        tree.inode(old)
    assert content(tree, staged.ino) == b"new"


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_forgotten_while_the_disk_takes_nothing_goes_later(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody says it twice: its bytes stayed until the next start."""
    monkeypatch.setattr(arrivals, "_REST_NS", 0)
    tree = stores.new()
    bring(tree, named(b"f", a_file(b"old")))
    local = make_file(tree, b"local", b"gone").ino
    replaced = tree.names.lookup(ROOT, b"f").ino
    staged = tree.arrivals.stage(named(b"f", a_file(b"new")))
    given_up = tree.arrivals.stage(named(b"g", a_file(b"never")))
    batch = tree.arrivals.prepare([Swap(ROOT, b"f", staged.token)])
    tree.arrivals.place(batch)
    tree.names.unlink(ROOT, b"local")
    with monkeypatch.context() as patch:
        patch.setattr(type(tree.state.journal), "reserve", no_room)
        tree.forget(local)
        tree.arrivals.done(batch)
        tree.arrivals.discard(given_up.token)
        assert all(tree.state.find(ino) is not None for ino in (local, replaced, given_up.ino))
    work = tree.arrivals.due()
    assert work is not None
    work_off(work)
    assert all(tree.state.find(ino) is None for ino in (local, replaced, given_up.ino))
    assert tree.arrivals.due() is None
    assert tree.stats().files == 1
    assert problems(tree) == []


def test_names_of_one_file_are_hard_links_also_when_they_come_apart_in_time(stores: StoreMaker) -> None:
    tree = stores.new()
    file = a_file(b"shared")
    bring(tree, named(b"a", file), named(b"d", a_directory(), a_ref()))
    bring(tree, named(b"b", file))
    directory = tree.names.lookup(ROOT, b"d").ino
    tree.arrivals.expand(directory, [named(b"c", file), named(b"e", a_file(b"later", identity=file.id, counter=9))])
    inos = {tree.names.lookup(ROOT, b"a").ino, tree.names.lookup(ROOT, b"b").ino, names_of(tree, directory)[b"c"]}
    assert len(inos) == 1
    assert tree.inode(inos.pop()).nlink == 3
    assert content(tree, names_of(tree, directory)[b"e"]) == b"later"
    assert problems(tree) == []


def test_a_move_elsewhere_keeps_the_inode(stores: StoreMaker) -> None:
    tree = stores.new()
    file = a_file(b"moved")
    bring(tree, named(b"a", file), named(b"d", a_directory()))
    ino, directory = tree.names.lookup(ROOT, b"a").ino, tree.names.lookup(ROOT, b"d").ino
    for first in (False, True):
        source, target = ((ROOT, b"a"), (directory, b"b"))[:: -1 if first else 1]
        staged = tree.arrivals.stage(named(target[1], file))
        assert staged.ino == ino
        swaps = [Swap(*target, staged.token), Swap(*source)]
        batch = tree.arrivals.prepare(swaps[:: -1 if first else 1])
        tree.arrivals.place(batch)
        tree.arrivals.done(batch)
        assert tree.names.lookup(*target).ino == ino
        assert tree.inode(ino).nlink == 1
        assert tree.inode(ino).parent == target[0]
        assert not tree.arrivals.replaced(ino)
        with pytest.raises(FileNotFoundError):
            tree.names.lookup(*source)
    assert problems(tree) == []


def test_a_directory_goes_when_all_in_it_goes_and_stays_with_what_is_of_this_machine(stores: StoreMaker) -> None:
    tree = stores.new()
    bring(tree, named(b"d", a_directory(), a_ref()), named(b"never-seen", a_directory(), a_ref()))
    directory = tree.names.lookup(ROOT, b"d").ino
    tree.arrivals.expand(directory, [named(b"x", a_file(b"x")), named(b"y", a_file(b"y"))])
    local = make_file(tree, b"local", parent=directory).ino
    assert tree.arrivals.busy(Swap(ROOT, b"d")) == "occupied"
    swaps = [Swap(directory, b"x"), Swap(directory, b"y"), Swap(ROOT, b"d")]
    batch = tree.arrivals.prepare(swaps)
    with pytest.raises(OSError, match="busy"):
        tree.arrivals.place(batch)
    assert len(names_of(tree, directory)) == 3
    tree.names.unlink(directory, b"local")
    tree.forget(local)
    tree.arrivals.place(batch)
    tree.arrivals.done(batch)
    take_away(tree, b"never-seen", b"not-there")
    assert names_of(tree) == {}
    assert len(tree.state.all("SELECT ino FROM inode")) + len(tree.state.dirty.keys() - {ROOT}) <= 1
    assert tree.state.all("SELECT ino FROM folded") == []
    assert tree.inode(ROOT).nlink == 2
    assert problems(tree) == []


def big_unit(tree: Tree, name: bytes = b"unit", count: int = 2000) -> int:
    bring(tree, named(name, a_unit(a_ref()), a_ref()))
    unit = tree.names.lookup(ROOT, name).ino
    tree.arrivals.expand(unit, [named(b"objects", a_directory(), a_ref()), named(b"HEAD", a_file(b"ref"))])
    objects = tree.names.lookup(unit, b"objects").ino
    tree.arrivals.expand(objects, [named(b"%04d" % number, a_file(b"o")) for number in range(count)])
    return unit


def test_a_unit_is_replaced_with_all_that_is_in_it(stores: StoreMaker) -> None:
    tree = stores.new()
    unit = big_unit(tree)
    assert tree.stats().files == 2001
    bring(tree, named(b"unit", a_unit(a_ref(2)), a_ref(2)))
    assert tree.names.lookup(ROOT, b"unit").ino != unit
    assert tree.inode(ROOT).nlink == 3
    assert 0 < tree.stats().files < 2001  # the rest goes bit by bit
    assert problems(tree) == []
    again = stores.crash(tree)
    assert (again.stats().files, again.stats().directories) == (0, 2)
    assert problems(again) == []


def test_what_is_left_of_a_large_unit_goes_with_the_housekeeping(stores: StoreMaker) -> None:
    tree = stores.new()
    big_unit(tree)
    take_away(tree, b"unit", whole=True)
    rounds = 0
    while tree.stats().files:
        work = tree.arrivals.due()
        assert work is not None
        work_off(work)
        rounds += 1
    assert rounds > 2
    work_off(tree.arrivals.due())
    assert tree.stats().directories == 1
    assert tree.arrivals.due() is None
    assert problems(tree) == []


@pytest.mark.parametrize("why", ["open", "changed", "occupied"])
def test_a_unit_in_use_is_not_replaced(stores: StoreMaker, why: str) -> None:
    tree = stores.new()
    unit = big_unit(tree, count=3)
    if why == "occupied":  # by something that is in no commit
        tree.names.make(unit, b"socket", stat.S_IFSOCK | 0o600, 0, 0)
    tree.start_tracking()
    inside = tree.names.lookup(tree.names.lookup(unit, b"objects").ino, b"0001").ino
    if why == "open":
        tree.handles.open(inside, writable=False, pid=7)
    elif why == "changed":
        tree.content.write(inside, 0, b"changed")
    swap = Swap(ROOT, b"unit", tree.arrivals.stage(named(b"unit", a_unit(a_ref()), a_ref())).token)
    assert tree.arrivals.busy(swap) == why
    with pytest.raises(OSError, match="busy"):
        tree.arrivals.place(tree.arrivals.prepare([swap]))


@pytest.mark.parametrize(("name", "stays"), [(b"postmaster.pid", False), (b"notes", True)])
def test_what_a_program_left_in_a_unit_goes_with_it(stores: StoreMaker, name: bytes, stays: bool) -> None:
    tree = stores.new()
    unit = big_unit(tree, count=3)
    make_file(tree, name, parent=unit)
    tree.changes.outside = frozenset({(unit, name)})
    swap = Swap(ROOT, b"unit", tree.arrivals.stage(named(b"unit", a_unit(a_ref(2)), a_ref(2))).token)
    assert (tree.arrivals.busy(swap) == "occupied") == stays


def test_attributes_of_a_directory_change_in_place(stores: StoreMaker) -> None:
    tree = stores.new()
    bring(tree, named(b"d", a_directory(xattrs=((b"user.a", b"1"), (b"user.b", b"2"))), a_ref()))
    directory = tree.names.lookup(ROOT, b"d").ino
    element = a_directory(mode=0o711, counter=5, xattrs=((b"user.b", b"3"),))
    tree.ledger.set_lag(ROOT, b"d", b"seen")
    batch = tree.arrivals.prepare([Swap(ROOT, b"d", attributes=element)])
    tree.arrivals.place(batch)
    tree.arrivals.done(batch)
    node = tree.names.lookup(ROOT, b"d")
    assert (node.ino, node.mode, node.counter) == (directory, stat.S_IFDIR | 0o711, 5)
    assert tree.arrivals.is_folded(directory)
    assert {name for name in tree.xattrs.list(directory) if not name.startswith(b"user.vaultfs")} == {b"user.b"}
    assert tree.xattrs.get(directory, b"user.b") == b"3"
    assert not tree.ledger.any_lag
    tree.arrivals.turner.turn([], [(ROOT, a_directory(mode=0o755))], lambda: None)
    assert tree.inode(ROOT).mode == stat.S_IFDIR | 0o755
    assert tree.inode(ROOT).nlink == 3


def test_discarded_things_leave_nothing(stores: StoreMaker) -> None:
    tree = stores.new()
    file = a_file(b"x")
    one, two = tree.arrivals.stage(named(b"x", file)), tree.arrivals.stage(named(b"y", file))
    assert one.ino == two.ino
    tree.arrivals.discard(one.token)
    assert tree.inode(two.ino).nlink == 0
    tree.arrivals.discard(two.token)
    tree.arrivals.discard(two.token)
    with pytest.raises(FileNotFoundError):
        tree.inode(two.ino)
    with pytest.raises(FileNotFoundError):
        tree.arrivals.staged(two.token)
    assert tree.stats().files == 0
    assert tree.state.all("SELECT * FROM arrived") == []


def test_an_update_in_place_takes_nothing_of_the_old_content_along(stores: StoreMaker) -> None:
    tree = stores.new()
    bring(tree, named(b"f", a_file(b"short")))
    ino = tree.names.lookup(ROOT, b"f").ino
    tree.content.write(ino, 0, os.urandom(200_000))
    tree.content.write(ino, 200_000, b"tail")
    tree.arrivals.update(ino, a_file(b"now this", counter=4), None)
    assert content(tree, ino) == b"now this"
    assert tree.inode(ino).counter == 4
    assert tree.stats().bytes == 8
    tree.arrivals.update(ino, a_file(b"", counter=5), None)
    assert content(tree, ino) == b""
    tree.content.write(ino, 100, b"x")
    assert content(tree, ino) == bytes(100) + b"x"
    with pytest.raises(OSError, match="busy"):
        tree.arrivals.update(ino, a_directory(), None)
    assert problems(tree) == []
    tree = stores.crash(tree)
    assert content(tree, ino) == bytes(100) + b"x"


def test_a_follower_s_directory_learns_what_is_in_it_now(stores: StoreMaker) -> None:
    tree = stores.new()
    bring(tree, named(b"d", a_directory(), a_ref()))
    directory = tree.names.lookup(ROOT, b"d").ino
    tree.arrivals.update(directory, a_directory(counter=3), a_ref(2))
    assert tree.arrivals.folded(directory) == a_ref(2)
    tree.arrivals.update(directory, a_directory(counter=4), None)
    assert names_of(tree, directory) == {}


def test_a_batch_names_only_what_is_staged(stores: StoreMaker) -> None:
    tree = stores.new()
    with pytest.raises(FileNotFoundError):
        tree.arrivals.prepare([Swap(ROOT, b"f", b"unknown")])
    with pytest.raises(ValueError, match="257"):
        tree.arrivals.prepare([Swap(ROOT, b"%d" % number) for number in range(257)])
    tree.names.make(ROOT, b"d", DIRECTORY, 0, 0)
