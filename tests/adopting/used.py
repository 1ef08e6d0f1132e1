"""A state directory as a real agent leaves it: links, holes, databases in use, sockets, locks, odd names."""

from __future__ import annotations

import os
import socket
import sqlite3
from typing import TYPE_CHECKING, Any

from tests.machines_mounted.desk import picture

if TYPE_CHECKING:
    from pathlib import Path

SECRET = b"sk-canary-7f3a91c0b7d4"
NANO = 1_731_000_000_123_456_789
LOCAL = ("gateway.pid", "logs", "auth.json", "mcp-tokens", "state.db-shm")


class Used:
    """Makes it in `top`. The database's log is not checkpointed, as Hermes and Codex leave it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        top.mkdir(parents=True)
        self._write("config.yaml", b"model: fake\n", 0o640)
        self._write("auth.json", SECRET, 0o600)
        self._write("mcp-tokens/one.json", SECRET, 0o600)
        self._write("logs/agent.log", b"a line\n" * 100)
        self._write("gateway.pid", b'{"pid": 4194303}')
        self._write("sessions/2026/rollout.jsonl", b'{"turn": 1}\n' * 5000)
        self._write("sessions/large.bin", os.urandom(300_000))
        self._write("bin/tool", b"#!/bin/sh\n", 0o755)
        self._write("read-only", b"x", 0o400)
        self._write("empty", b"")
        self._write("Cargo.lock", b"# worth keeping\n" * 40)
        os.mkdir(top / "hollow", 0o711)
        with open(os.path.join(os.fsencode(top), b"not-utf8-\xff\xfe"), "wb") as file:
            file.write(b"odd")
        os.link(top / "config.yaml", top / "config.link")
        os.link(top / "config.yaml", top / "sessions/config.third")
        os.symlink("sessions/2026", top / "latest")
        os.symlink(top / "config.yaml", top / "absolute")
        os.symlink("nowhere", top / "dangling")
        with open(top / "sparse.db", "wb") as file:
            file.truncate(3 << 20)
            file.seek(2 << 20)
            file.write(b"in the middle")
        os.setxattr(top / "config.yaml", "user.note", b"kept")
        os.setxattr(top / "sessions", "user.kind", b"of a directory")
        self._database()
        os.mkfifo(top / "pipe")
        self._socket = socket.socket(socket.AF_UNIX)
        here = os.getcwd()
        os.chdir(top)  # a socket's name is short
        try:
            self._socket.bind("control.sock")
        finally:
            os.chdir(here)
        for path in sorted(top.rglob("*"), reverse=True):
            if not path.is_symlink():
                os.utime(path, ns=(NANO, NANO + len(path.name)))
        os.utime(top, ns=(NANO, NANO))

    def close(self) -> None:
        """The socket's process has gone; its name is still there."""
        self._socket.close()

    def _write(self, name: str, data: bytes, mode: int = 0o644) -> None:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)

    def _database(self) -> None:
        """A copy of what is there before anybody closes it: with a `-wal` that holds the newest rows."""
        live = self.top.parent / "live.db"
        with sqlite3.connect(live) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA wal_autocheckpoint=0")
            database.execute("CREATE TABLE turns (text)")
            database.executemany("INSERT INTO turns VALUES (?)", [(f"turn {number}",) for number in range(200)])
            database.commit()
            for suffix in ("", "-wal", "-shm"):
                (self.top / f"state.db{suffix}").write_bytes((live.parent / f"live.db{suffix}").read_bytes())
        database.close()


def turns(path: Path) -> int:
    """How many rows the database has; it must be whole."""
    database = sqlite3.connect(path)
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(database.execute("SELECT count(*) FROM turns").fetchone()[0])
    finally:
        database.close()


LEFT = {"pipe", "control.sock"}  # what only means something to a running process


def whole(path: Path) -> dict[str, Any]:
    """What is to be moved."""
    return {name: what for name, what in picture(path).items() if name not in LEFT}
