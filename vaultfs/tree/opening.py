"""Making and opening a store."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from vaultfs import clock
from vaultfs.durable import from_the_disk, sync_path
from vaultfs.errors import NewerFormatError, StoreDamagedError, StoreFullError, StoreReadOnlyError
from vaultfs.tree import database
from vaultfs.tree import inode as inodes
from vaultfs.tree.inode import ROOT, Inode
from vaultfs.tree.journal import Journal, Segment, Slot, read_segments
from vaultfs.tree.packs import path_of
from vaultfs.tree.replay import Replay, StartupReport
from vaultfs.tree.state import Device, State
from vaultfs.tree.tree import Tree, drop_orphans

if TYPE_CHECKING:
    from vaultfs.crypto.keys import VaultKeys

_SELF = 1


def create_store(store: Path, keys: VaultKeys, device: Device, *, uid: int, gid: int) -> None:
    """Makes an empty store in the directory `store`, which must not exist; its root belongs to `uid`, `gid`.

    Raises `OSError` or `StoreFullError`, with nothing left behind.
    """
    store.mkdir(mode=0o700, parents=True)
    try:
        _fill(store, keys, device, uid, gid)
        for path in (store / database.NAME, store, store.parent):
            sync_path(path)
    except BaseException:
        shutil.rmtree(store, ignore_errors=True)
        raise


def _fill(store: Path, keys: VaultKeys, device: Device, uid: int, gid: int) -> None:
    (store / "journal").mkdir(mode=0o700)
    (store / "packs").mkdir(mode=0o700)
    now = clock.now()
    root = Inode(ROOT, stat.S_IFDIR | 0o700, 2, uid, gid, 0, 0, now, now, now, ROOT, _SELF, 1, now)
    facts = {"counter": 1, "next_ino": ROOT + 1, "next_blk": 1, "next_pack": 1, "directories": 1, "oldest": 1}
    connection = None
    try:
        connection = database.create(store / database.NAME, keys.database(device.id))
        connection.execute("BEGIN")
        connection.execute("INSERT INTO inode VALUES(?,?)", (ROOT, inodes.encode(root)))
        connection.execute("INSERT INTO device VALUES(?,?,?)", (_SELF, device.id, device.label))
        connection.executemany("INSERT INTO meta VALUES(?,?)", facts.items())
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except apsw.FullError as problem:
        raise StoreFullError(path=store) from problem
    finally:
        if connection is not None:
            connection.close()


def open_store(store: Path, keys: VaultKeys, device: Device, *, read_only: bool = False) -> Tree:
    """Opens a store and, after a crash, replays its journal.

    Raises `StoreDamagedError`, `NewerFormatError`, `StoreFullError`, or `StoreReadOnlyError` when it must be
    written and cannot.
    """
    path = store / database.NAME
    if not path.exists():
        raise StoreDamagedError(detail="the metadata database is missing", object=database.NAME)
    try:
        return _open(store, keys, device, read_only=read_only)
    except PermissionError as problem:
        raise StoreReadOnlyError(path=store, detail=problem.strerror) from problem
    except OSError as problem:
        if problem.errno == errno.ENOSPC:
            raise StoreFullError(path=store) from problem
        if problem.errno == errno.EROFS:
            raise StoreReadOnlyError(path=store, detail=problem.strerror) from problem
        detail = f"it cannot be read: {problem.strerror}"
        raise StoreDamagedError(detail=detail, object=problem.filename or store) from problem
    except apsw.Error as problem:
        raise database.damaged(problem, path) from problem


def _open(store: Path, keys: VaultKeys, device: Device, *, read_only: bool) -> Tree:
    path = store / database.NAME
    log = path.with_name(path.name + "-wal")
    writable = os.access(store, os.W_OK) and os.access(path, os.W_OK)
    if not writable and not read_only:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    key = keys.database(device.id)
    copy: tempfile.TemporaryDirectory[str] | None = None
    immutable = read_only and not writable
    crashed = log.exists() and log.stat().st_size > 0
    if crashed:
        for file in (path, log):
            from_the_disk(file)
    if immutable and crashed:
        # SQLite needs to write to read what a crash left; so it works on a copy, which is ciphertext as well.
        copy = tempfile.TemporaryDirectory(prefix="vaultfs-")
        for file in (path, log):
            shutil.copyfile(file, f"{copy.name}/{file.name}")
        connection = database.connect(Path(copy.name, path.name), key)
    else:
        connection = database.connect(path, key, immutable=immutable)
    slots: list[Slot] = []
    try:
        database.check_format(connection, path)
        slots = Journal.find_slots(store / "journal", read_only=immutable)
        journal = Journal(store / "journal", keys, slots, 0)
        state = State(store, keys, connection, journal, read_only=False)
        state.copy = copy
        return _start(state, key, device, slots, read_only=read_only)
    except BaseException:
        for slot in slots:
            slot.close()
        connection.close()
        if copy is not None:
            copy.cleanup()
        raise


def _start(state: State, key: bytes, device: Device, slots: list[Slot], *, read_only: bool) -> Tree:
    state.database_key = key
    state.load_totals()
    state.file_ids.load(state)
    after, oldest, running = state.meta("lsn"), state.meta("oldest"), state.meta("running")
    if running:
        for slot in slots:  # that run may have ended because the disk did not take what was written
            from_the_disk(slot.path)
    report = StartupReport()
    tree = Tree(state, report)
    segments = _needed(state, slots, oldest, running)
    journal = state.journal
    journal.adopt(segments, max([running, oldest - 1, *(segment.codec.number for segment in segments)]))
    row = state.all("SELECT device FROM device WHERE id=?", device.id)
    if row:
        state.device = row[0][0]
    state.changes.load(state)
    replay = Replay(state, tree.blocks, report)
    journal.lsn = journal.synced = replay.run(segments, after)
    report.clean = report.clean and not running and not report.records
    if read_only:
        state.read_only = True
        return tree
    if not report.clean:
        tree.keeper.collect_soon()
        _settle(state, segments, replay.touched)
    drop_orphans(state)
    state.file_ids.begin(state, state.next_ino)
    journal.begin_segment()
    tree.keeper.sync_inline()
    journal.release(tree.keeper.commit())
    _make_durable(state)
    return tree


def _settle(state: State, segments: list[Segment], touched: set[int]) -> None:
    """Makes durable what the run before left to the kernel, before anything says that it is."""
    for segment in segments:
        os.fdatasync(segment.slot.fd)
    directories = {state.store / "packs"}
    for number, pack_id, finished in state.all("SELECT pack, id, state FROM pack"):
        path = path_of(state.store / "packs", pack_id)
        if (finished and number not in touched) or not path.exists():
            continue
        directories.add(path.parent)
        sync_path(path)
    for directory in directories:
        sync_path(directory)


def _make_durable(state: State) -> None:
    """The database now says that the store is in use and by which segment its journal goes on."""
    for name in (database.NAME + "-wal", "journal", "packs", "."):
        sync_path(state.store / name)


def _needed(state: State, slots: list[Slot], oldest: int, running: int) -> list[Segment]:
    """The segments that the database does not have yet, by number; gaps are damage."""
    try:
        segments = [s for s in read_segments(state.keys, slots) if s.codec.number >= oldest]
    except ValueError as newer:
        raise NewerFormatError(what="the journal", found=newer.args[0], known=1) from None
    numbers = [segment.codec.number for segment in segments]
    if running and (not numbers or numbers[0] != oldest or numbers[-1] < running):
        state.unhealthy("the journal is damaged: a segment is missing; changes written there are lost")
    return segments
