"""Asking and changing the metadata database, and what follows when it cannot be used."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

import apsw


def error(number: int) -> OSError:
    """An `OSError` for the kernel."""
    return OSError(number, os.strerror(number))


_MOVES = re.compile(r"(?:INTO|UPDATE|DELETE FROM)\s+(?:extent|block|pack)\b")
_moves: dict[str, bool] = {}


def moves_blocks(sql: str) -> bool:
    """Whether a change may make other blocks a file's, or have them stand elsewhere."""
    found = _moves.get(sql)
    if found is None:
        found = _moves[sql] = _MOVES.search(sql) is not None
    return found


class Statements:
    """One connection with a transaction that stays open between checkpoints. All calls raise `OSError`."""

    def __init__(self, db: apsw.Connection) -> None:
        self.db = db
        self.failed: int = 0  # errno that every change gets once the store cannot be written
        self.lost = False  # the open transaction is gone: what the database says is older than what was answered
        self.health: list[str] = []
        self._cursor = db.cursor()
        self._in_transaction = False
        self.moved = 0  # goes on with each change of where the blocks of files stand

    def one(self, sql: str, *args: Any) -> Any:
        """The first row (a bare value for one column), or None."""
        if self.lost:
            raise error(errno.EIO)
        try:
            return self._cursor.execute(sql, args).get
        except apsw.Error as problem:
            raise self.database_failed(problem) from problem

    def all(self, sql: str, *args: Any) -> list[Any]:
        """All rows."""
        if self.lost:
            raise error(errno.EIO)
        try:
            return self._cursor.execute(sql, args).fetchall()
        except apsw.Error as problem:
            raise self.database_failed(problem) from problem

    def run(self, sql: str, *args: Any) -> None:
        """A change of the database, inside the open transaction."""
        if moves_blocks(sql):
            self.moved += 1
        try:
            if not self._in_transaction:
                self._cursor.execute("BEGIN IMMEDIATE")
                self._in_transaction = True
            self._cursor.execute(sql, args)
        except apsw.Error as problem:
            raise self.database_failed(problem, changing=True) from problem

    def run_many(self, sql: str, rows: list[tuple[Any, ...]]) -> None:
        """The same change for many rows."""
        self.run("SELECT 1")
        self.moved += 1
        try:
            self._cursor.executemany(sql, rows)
        except apsw.Error as problem:
            raise self.database_failed(problem, changing=True) from problem

    def put_meta(self, **facts: int) -> None:
        """Notes facts of the store in the open transaction."""
        self.run_many("INSERT OR REPLACE INTO meta VALUES(?,?)", list(facts.items()))

    def meta(self, key: str) -> int:
        """A fact of the store, 0 where it is not known."""
        return int(self.one("SELECT value FROM meta WHERE key=?", key) or 0)

    def commit(self) -> None:
        """Ends the open transaction. After an error the journal still has all of it (`replay.restore`)."""
        if self._in_transaction:
            try:
                self._cursor.execute("COMMIT")
            except apsw.Error as problem:
                raise self.database_failed(problem, changing=True) from problem
            self._in_transaction = False

    def database_failed(self, problem: apsw.Error, *, changing: bool = False) -> OSError:
        """Notes that the database cannot be used. A change cut short in the middle stops all later ones."""
        number = errno.ENOSPC if isinstance(problem, apsw.FullError) else errno.EIO
        if number == errno.EIO:
            self.unhealthy(f"the metadata database cannot be used ({type(problem).__name__})")
        if changing:
            self.failed = number
            self.lost = self._in_transaction and not self.db.in_transaction
        return error(number)

    def unhealthy(self, what: str) -> None:
        """Notes a problem for `status`, once."""
        if what not in self.health:
            self.health.append(what)

    def roll_back(self) -> None:
        """Gives up the open transaction, if SQLite has not done so already."""
        if self.db.in_transaction:
            self._cursor.execute("ROLLBACK")
        self._in_transaction = self.lost = False
        self.moved += 1
