"""What a store remembers of the remote, read beside whoever has the store open."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from vaultfs.errors import StoreDamagedError
from vaultfs.tree import database
from vaultfs.tree.ledger import Seen

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.crypto.keys import VaultKeys


class Remembered(NamedTuple):
    """The newest head seen of every device, and the facts of sync (vaultfs.tree.ledger)."""

    seen: dict[bytes, Seen]
    facts: dict[str, bytes]


def remembered(store: Path, keys: VaultKeys, device: bytes) -> Remembered:
    """As it was at the latest checkpoint, for which a mount that goes on is not asked. Changes nothing.

    Raises `StoreDamagedError` when it cannot be read, `NewerFormatError`.
    """
    path = store / database.NAME
    if not path.exists():
        raise StoreDamagedError(detail="the metadata database is missing", object=database.NAME)
    # SQLite needs a place for its index of the log, even to read.
    immutable = not os.access(store, os.W_OK)
    log = path.with_name(f"{path.name}-wal")
    if immutable and log.exists() and log.stat().st_size:
        raise StoreDamagedError(detail="a crash left a log, and the directory cannot be written", object=log.name)
    connection = database.connect(path, keys.database(device), immutable=immutable, read_only=True)
    try:
        database.check_format(connection, path)
        connection.execute("BEGIN")  # both at one instant
        rows: list[Any] = connection.execute("SELECT device, number, head, time FROM seen").fetchall()
        facts: list[Any] = connection.execute("SELECT key, value FROM fact").fetchall()
    except database.Error as error:
        raise database.damaged(error, path) from error
    finally:
        connection.close()
    return Remembered({name: Seen(*row) for name, *row in rows}, dict(facts))
