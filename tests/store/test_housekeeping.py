"""Checkpoints free the journal, sealing empties it, dead packs go; nothing of it can be seen in the files."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

import apsw
import pytest

from tests.store.stores import content, make_file, names_of, work_off
from vaultfs import clock
from vaultfs.format.journal import SEGMENT_BYTES
from vaultfs.format.pack import BLOCK_BYTES, PACK_BYTES
from vaultfs.tree import ROOT, database, housekeeping
from vaultfs.tree.housekeeping import CHECKPOINT_NS, REST_NS, RestWork, SpareWork, SyncWork
from vaultfs.tree.packs import PackWriter
from vaultfs.tree.seal import SealWork

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker
    from vaultfs.tree import Tree


def pack_files(tree: Tree) -> list[Path]:
    return [path for path in tree.blocks.directory.glob("*/*") if path.is_file()]


def keep_house(tree: Tree) -> None:
    work_off(tree.keeper.seal(everything=True))
    work_off(SyncWork(tree.keeper))
    work_off(tree.keeper.collect())


def test_sealing_and_a_checkpoint_free_the_journal(stores: StoreMaker) -> None:
    tree = stores.new()
    data = os.urandom(60_000)
    for number in range(800):
        make_file(tree, b"f%d" % number, data[number:])
    used = len(tree.state.journal.segments)
    assert used > 2
    while tree.state.pages:
        work_off(tree.keeper.seal(everything=True))
    work_off(SyncWork(tree.keeper))
    assert len(tree.state.journal.segments) == 1
    assert all(content(tree, tree.names.lookup(ROOT, b"f%d" % n).ino) == data[n:] for n in range(800))


def test_the_journal_does_not_grow_when_one_file_is_written_for_ever(stores: StoreMaker) -> None:
    tree = stores.new()
    node = make_file(tree, b"wal")
    page = os.urandom(4096)
    for _ in range(6):
        for number in range(SEGMENT_BYTES // 4096):
            tree.content.write(node.ino, number % 50 * 4096, page)
        work_off(SyncWork(tree.keeper))
        work_off(tree.keeper.seal(everything=True))
        work_off(SyncWork(tree.keeper))
    assert tree.state.journal.file_bytes <= 4 * SEGMENT_BYTES


def test_a_deleted_file_gives_its_room_back(stores: StoreMaker) -> None:
    tree = stores.new()
    node = make_file(tree, b"big", os.urandom(40 << 20))
    keep_house(tree)
    before = tree.stats().pack_bytes
    assert before > 40 << 20
    tree.names.unlink(ROOT, b"big")
    tree.forget(node.ino)
    work_off(SyncWork(tree.keeper))
    work_off(tree.keeper.collect())
    # The pack being written stays; it is the only one.
    assert tree.stats().pack_bytes < before / 2
    assert len(pack_files(tree)) == 1


def test_a_mostly_dead_pack_is_written_anew(stores: StoreMaker) -> None:
    tree = stores.new()
    kept = os.urandom(1 << 20)
    make_file(tree, b"kept", kept)
    for number in range(3):
        node = make_file(tree, b"big", os.urandom(20 << 20))
        tree.names.unlink(ROOT, b"big")
        tree.forget(node.ino)
        assert number >= 0
    work_off(SyncWork(tree.keeper))
    work_off(tree.keeper.collect())
    assert tree.stats().pack_bytes < 25 << 20
    assert content(tree, tree.names.lookup(ROOT, b"kept").ino) == kept
    tree = stores.crash(tree)
    assert tree.health == []
    assert content(tree, tree.names.lookup(ROOT, b"kept").ino) == kept


def test_after_a_crash_interrupted_packs_are_not_continued_and_soon_gone(stores: StoreMaker) -> None:
    tree = stores.new()
    data = os.urandom(3 << 20)
    make_file(tree, b"f", data)
    interrupted = pack_files(tree)
    assert len(interrupted) == 1
    stray = PackWriter(tree.blocks.directory, tree.state.keys, 999).path
    tree = stores.crash(tree)
    make_file(tree, b"g", data[::-1])
    assert len(pack_files(tree)) == 3
    work_off(SyncWork(tree.keeper))
    work = tree.tick()
    work_off(work)
    names = {path.name for path in pack_files(tree)}
    assert interrupted[0].name not in names
    assert stray.name not in names
    assert content(tree, tree.names.lookup(ROOT, b"f").ino) == data
    assert set(names_of(tree)) == {b"f", b"g"}


def test_equal_blocks_are_stored_once(stores: StoreMaker) -> None:
    tree = stores.new()
    data = os.urandom(1 << 20)
    for number in range(10):
        make_file(tree, b"copy%d" % number, data)
    assert tree.stats().pack_bytes < 1.1 * (1 << 20)


def test_1_gb_takes_less_than_1_1_gb_in_small(stores: StoreMaker) -> None:
    """The same ratio for 64 MB, so that the test stays quick; benchmarks/ measures the whole."""
    tree = stores.new()
    for number in range(64):
        make_file(tree, b"f%d" % number, os.urandom(1 << 20))
    store = tree.state.store
    tree.close()
    used = sum(path.stat().st_blocks * 512 for path in store.rglob("*") if path.is_file())
    journal = sum(path.stat().st_size for path in (store / "journal").iterdir())
    assert journal <= 2 * SEGMENT_BYTES
    assert used - journal < 1.02 * (64 << 20)


def test_a_database_that_the_disk_did_not_take_is_not_written_on(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next sync of its log would succeed and mean nothing, and the journal would be given free."""
    tree = stores.new()
    make_file(tree, b"a", b"a" * 100)
    needed = tree.state.journal.segments[0].codec.number
    real, hits = os.fdatasync, []

    def fdatasync(descriptor: int) -> None:
        if not hits and Path(f"/proc/self/fd/{descriptor}").readlink().name.endswith("-wal"):
            hits.append(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    with pytest.raises(OSError, match="Input/output"):
        work_off(SyncWork(tree.keeper))
    assert "the disk does not take the metadata database" in tree.health[0]
    with pytest.raises(OSError, match="Input/output"):
        make_file(tree, b"b")
    assert tree.keeper.due() is None
    assert tree.state.journal.segments[0].codec.number == needed
    tree = stores.crash(tree)
    assert content(tree, tree.names.lookup(ROOT, b"a").ino) == b"a" * 100


class Connected:
    """In the place of the second connection."""

    def __init__(self, problem: Exception) -> None:
        self.problem = problem

    def __call__(self, *_: object) -> Connected:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, _sql: str) -> None:
        raise self.problem


@pytest.mark.parametrize(("problem", "fails"), [(apsw.IOError("no disk"), True), (apsw.FullError("full"), False)])
def test_a_log_that_cannot_be_moved_into_the_database(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch, problem: Exception, *, fails: bool
) -> None:
    """A disk that fails is told and ends all changes; one that is full does neither: the log has it all."""
    tree = stores.new()
    make_file(tree, b"a", b"a" * 100)
    monkeypatch.setattr(housekeeping, "_LOG_PAGES", 0)
    monkeypatch.setattr(database, "connected", Connected(problem))
    if fails:
        with pytest.raises(OSError, match="no disk"):
            work_off(SyncWork(tree.keeper))
        assert "the metadata database cannot be written" in tree.health[0]
    else:
        work_off(SyncWork(tree.keeper))
        assert tree.health == []
    assert bool(tree.state.failed) == fails


def test_a_spare_segment_that_finds_no_room_does_not_hold_up_the_rest(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = stores.new()
    make_file(tree, b"a", b"a" * 100)
    work_off(SyncWork(tree.keeper))
    journal = tree.state.journal
    journal.free.clear()
    monkeypatch.setattr(housekeeping, "JOURNAL_LOW", 0)

    def no_room(_number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(journal, "prepare_slot", no_room)
    with pytest.raises(OSError, match="No space left"):
        work_off(tree.tick())
    work = tree.tick()
    assert isinstance(work, SealWork)
    work_off(work)
    assert tree.state.pages == {}
    tree.keeper.no_spare_before = 0
    assert isinstance(tree.tick(), SpareWork)


def next_rest(tree: Tree) -> RestWork | None:
    """Do what is due, until that is to make what was changed durable."""
    while (work := tree.tick()) is not None:
        if isinstance(work, RestWork):
            return work
        work_off(work)
    return None


def test_what_was_written_is_on_the_disk_once_nobody_writes_for_a_moment(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = stores.new()
    now = clock.steady()
    monkeypatch.setattr(clock, "steady", lambda: now)
    journal, blocks = tree.state.journal, tree.blocks
    make_file(tree, b"small", b"a" * 100)
    make_file(tree, b"large", os.urandom(200_000))
    assert blocks.unsynced
    assert not journal.all_synced
    assert next_rest(tree) is None, "somebody is at work"
    now += REST_NS - 1
    make_file(tree, b"more", b"b" * 100)
    assert next_rest(tree) is None, "and still is"
    now += REST_NS
    work = next_rest(tree)
    assert work is not None
    make_file(tree, b"meanwhile", b"c" * 100)
    work_off(work)
    assert not blocks.unsynced
    assert not journal.all_synced, "that came later"
    assert next_rest(tree) is None
    now += REST_NS
    work_off(next_rest(tree))
    assert journal.all_synced
    now += REST_NS
    assert next_rest(tree) is None, "once is enough"
    now += CHECKPOINT_NS
    assert isinstance(tree.tick(), SyncWork), "a checkpoint is due all the same"


def test_blocks_that_were_changed_here_and_there_are_sealed_into_packs_of_the_usual_size(stores: StoreMaker) -> None:
    tree = stores.new()
    node = make_file(tree, b"large")
    megabytes = 40
    for offset in range(megabytes):
        tree.content.write(node.ino, offset << 20, os.urandom(1 << 20))
    before = set(tree.blocks.directory.glob("*/*"))
    for offset in range(0, megabytes << 20, BLOCK_BYTES):
        tree.content.write(node.ino, offset, os.urandom(4096))
    while tree.state.pages:
        work_off(tree.keeper.seal(everything=True))
    sizes = [path.stat().st_size for path in set(tree.blocks.directory.glob("*/*")) - before]
    assert sum(sizes) >= megabytes << 20
    assert max(sizes) < 2 * PACK_BYTES
