"""The metadata database: SQLite, encrypted page by page (sqlite3mc, AEGIS).

It holds what the journal said up to the last checkpoint; between checkpoints one transaction stays open, so a
crash leaves the state of a checkpoint and the journal carries on from there. `SCHEMA` is the canonical schema.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import apsw

from vaultfs.crypto.keys import derive
from vaultfs.errors import NewerFormatError, StoreDamagedError, StoreFullError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Error = apsw.Error
LATER = (apsw.FullError, apsw.BusyError)  # nothing is wrong with what is there already
FORMAT = 1
NAME = "meta.db"
_SALT_BYTES = 16

SCHEMA = """
-- counters and facts of the store
CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY) WITHOUT ROWID;
-- rec: vaultfs.tree.inode.Inode as MessagePack
CREATE TABLE inode(ino INTEGER PRIMARY KEY, rec BLOB NOT NULL);
-- cookie: from the name's hash; the directory offset, so offsets stay valid while a directory changes
-- placed: commit counter of when this name came to be here (with the device's row number in the upper bits)
CREATE TABLE dirent(parent INTEGER, cookie INTEGER, name BLOB NOT NULL, ino INTEGER NOT NULL,
                    placed INTEGER NOT NULL, PRIMARY KEY(parent, cookie)) WITHOUT ROWID;
-- all names of an inode; commits speak of paths
CREATE INDEX dirent_ino ON dirent(ino);
-- block `idx` of a file is the first `valid` bytes of a sealed block, then zeros; no row: a hole
CREATE TABLE extent(ino INTEGER, idx INTEGER, blk INTEGER NOT NULL, valid INTEGER NOT NULL,
                    PRIMARY KEY(ino, idx)) WITHOUT ROWID;
CREATE INDEX extent_blk ON extent(blk);
-- pack: 0 where the block's place is not known
CREATE TABLE block(blk INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, pack INTEGER NOT NULL, number INTEGER NOT NULL,
                   offset INTEGER NOT NULL, length INTEGER NOT NULL, size INTEGER NOT NULL, codec INTEGER NOT NULL);
CREATE INDEX block_pack ON block(pack);
-- state: 0 open (or interrupted), 1 finished, 2 finished and on the remote, 3 on the remote and only cached here
CREATE TABLE pack(pack INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, state INTEGER NOT NULL);
-- tree nodes by id: where they stand in packs, like blocks
CREATE TABLE node(id BLOB PRIMARY KEY, pack INTEGER NOT NULL, number INTEGER NOT NULL, offset INTEGER NOT NULL,
                  length INTEGER NOT NULL, size INTEGER NOT NULL, codec INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX node_pack ON node(pack);
-- blocks in packs of the remote: where a block that no file here has had so far will be found
CREATE TABLE remote_block(id BLOB PRIMARY KEY, pack INTEGER NOT NULL, number INTEGER NOT NULL, offset INTEGER NOT NULL,
                          length INTEGER NOT NULL, size INTEGER NOT NULL, codec INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX remote_block_pack ON remote_block(pack);
CREATE TABLE xattr(ino INTEGER, name BLOB, value BLOB NOT NULL, PRIMARY KEY(ino, name)) WITHOUT ROWID;
-- unlinked but not yet let go by the kernel
CREATE TABLE orphan(ino INTEGER PRIMARY KEY);
CREATE TABLE device(device INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, label TEXT NOT NULL);
-- what was changed here since the last cut (vaultfs.tree.changes); old: the inode that had the name
-- then, 0: none, negative: it is a directory
CREATE TABLE change_name(parent INTEGER, name BLOB, old INTEGER NOT NULL, PRIMARY KEY(parent, name)) WITHOUT ROWID;
-- whole: the file was cut, so that all of its blocks are to be looked at
CREATE TABLE change_inode(ino INTEGER PRIMARY KEY, whole INTEGER NOT NULL);
CREATE TABLE change_block(ino INTEGER, idx INTEGER, PRIMARY KEY(ino, idx)) WITHOUT ROWID;
-- the topmost names that were in the working tree at the last cut and not in the vault (vaultfs.tree.scope)
CREATE TABLE outside(parent INTEGER, name BLOB, PRIMARY KEY(parent, name)) WITHOUT ROWID;
-- directories whose .vaultignore came or went since the last cut
CREATE TABLE rules_changed(ino INTEGER PRIMARY KEY);
-- names that the last commit has in a newer version than the working tree; seen: the identity of what is in the
-- working tree (vaultfs.sync.elements.identity as MessagePack), null where there is nothing
CREATE TABLE lag(parent INTEGER, name BLOB, seen BLOB, PRIMARY KEY(parent, name)) WITHOUT ROWID;
-- directories that nobody looked into yet (ref: format.node.Ref), and files whose blocks nobody asked for
-- (ref: the content of a format.node.File), as MessagePack
CREATE TABLE folded(ino INTEGER PRIMARY KEY, ref BLOB NOT NULL);
-- inodes that came from commits, by file id: how hard links find each other
CREATE TABLE arrived(id BLOB PRIMARY KEY, ino INTEGER NOT NULL) WITHOUT ROWID;
-- facts of sync (vaultfs.tree.ledger)
CREATE TABLE fact(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
-- commits that are to be published, oldest first; head: the object, ready to be stored
CREATE TABLE outbox(number INTEGER PRIMARY KEY, head BLOB NOT NULL, packs BLOB NOT NULL, time INTEGER NOT NULL);
-- the newest head seen of every device: the opened record, as MessagePack
CREATE TABLE seen(device BLOB PRIMARY KEY, number INTEGER NOT NULL, head BLOB NOT NULL, time INTEGER NOT NULL)
  WITHOUT ROWID;
"""

_CACHE_KIB = 24 << 10
AHEAD_SHARE, AHEAD_MOST = 16, 256 << 20
_AHEAD_STEP = 128 << 10  # of more than its own read-ahead, this by default, Linux drops the rest


def connect(
    path: Path, key: bytes, *, create: bool = False, immutable: bool = False, read_only: bool = False
) -> apsw.Connection:
    """Opens the database; the file must exist unless it is to be made.

    `immutable`: it is only read, and nobody else may write to it meanwhile. `read_only`: it is only read, while another
    process may have it open.

    Raises `StoreFullError`, or `StoreDamagedError` when it is missing, not a database or damaged.
    """
    flags = apsw.SQLITE_OPEN_READONLY if immutable or read_only else apsw.SQLITE_OPEN_READWRITE
    if create:
        flags |= apsw.SQLITE_OPEN_CREATE
    name = f"file:{_quote(path)}?immutable=1" if immutable else f"file:{_quote(path)}"
    if not create:
        _check_salt(path, key)
    connection = None
    try:
        connection = apsw.Connection(name, flags=flags | apsw.SQLITE_OPEN_URI)
        _set_up(connection, key, change=not (immutable or read_only))
        if not create:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # reads the first page
    except apsw.Error as error:
        if connection is not None:
            connection.close()
        if isinstance(error, apsw.FullError):
            raise StoreFullError(path=path.parent) from error
        raise damaged(error, path) from error
    return connection


def _salt(key: bytes) -> bytes:
    return derive(key, salt=b"", label="database salt")[:_SALT_BYTES]


def _check_salt(path: Path, key: bytes) -> None:
    """The first bytes of the file, which SQLite does not look at where the key needs no salt; StoreDamagedError."""
    try:
        with path.open("rb") as file:
            found = file.read(_SALT_BYTES)
    except OSError:
        return  # SQLite will say
    if found and found != _salt(key):
        raise StoreDamagedError(detail="the metadata database does not begin as it should", object=path.name)


def _set_up(connection: apsw.Connection, key: bytes, *, change: bool) -> None:
    # sqlite3mc takes the key as SQL; the text stays in this process, and SQLite's errors do not repeat it. As it is: it
    # is as random as the master key, and to stretch it like a passphrase would take 20 ms for each connection.
    connection.execute("PRAGMA cipher='aegis'")
    connection.execute(f"PRAGMA key='raw:{key.hex()}{_salt(key).hex()}'")
    # A plan does not depend on the values asked for: else SQLite parses each statement with a join anew, every time it
    # is run, to see whether these values make a better one (measured: 14 µs instead of 1.3 for where a block stands).
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    if change:
        connection.execute("PRAGMA journal_mode=WAL")
    # Without spilling, SQLite writes nothing before a commit, so only a commit can meet a full disk.
    connection.execute(
        f"PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0; PRAGMA temp_store=MEMORY;"
        f"PRAGMA cache_size=-{_CACHE_KIB}; PRAGMA cache_spill=OFF; PRAGMA busy_timeout=5000;"
        f"PRAGMA secure_delete=OFF"
    )


def read_ahead(path: Path) -> None:
    """Has the kernel read the file into its cache, in order; as much as it may take of the memory of the machine.

    Else each of the first requests would wait several times for the disk, for a page here and a page there. Safe in any
    thread; may block, while the disk has much to do.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for offset in range(0, min(size, memory // AHEAD_SHARE, AHEAD_MOST), _AHEAD_STEP):
            os.posix_fadvise(file.fileno(), offset, _AHEAD_STEP, os.POSIX_FADV_WILLNEED)


def _quote(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def damaged(error: Exception, path: Path) -> StoreDamagedError:
    """The error a person reads when SQLite cannot use the database."""
    return StoreDamagedError(detail=f"the metadata database cannot be read: {error}", object=path.name)


def create(path: Path, key: bytes) -> apsw.Connection:
    """A new, empty database with the schema."""
    path.touch(mode=0o600, exist_ok=False)  # SQLite gives its other files the same mode
    connection = connect(path, key, create=True)
    connection.execute("BEGIN; " + SCHEMA)
    connection.execute("INSERT INTO meta VALUES('format', ?)", (FORMAT,))
    connection.execute("COMMIT")
    return connection


@contextmanager
def connected(path: Path, key: bytes) -> Iterator[apsw.Connection]:
    """A second connection, for a worker thread; it sees the last commit."""
    connection = connect(path, key)
    try:
        yield connection
    finally:
        connection.close()


def check_format(connection: apsw.Connection, path: Path) -> None:
    """Refuses a database that a newer vaultfs wrote."""
    try:
        found = connection.execute("SELECT value FROM meta WHERE key='format'").get
    except apsw.Error as error:
        raise damaged(error, path) from error
    if not isinstance(found, int):
        raise StoreDamagedError(detail="the metadata database has no format version", object=path.name)
    if found > FORMAT:
        raise NewerFormatError(what="the local store", found=found, known=FORMAT)
