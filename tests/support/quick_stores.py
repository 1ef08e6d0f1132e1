"""Stores that cost less to open, where what they cost is not what is tested. Their files are of no use to others.

A store's database derives its key anew for every connection, which is most of what a short history costs; and each
new store fills 32 MB of journal with zeros. Both are as they really are in tests/crash, mounted and cli.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from vaultfs.tree import database, journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw

_set_up = database._set_up


class _RawKey:
    """A connection that takes the same key as it is, instead of a passphrase to stretch."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str) -> Any:
        return self._connection.execute(sql.replace("PRAGMA hexkey='", "PRAGMA key='raw:"))


def _set_up_quickly(connection: apsw.Connection, key: bytes, *, immutable: bool) -> None:
    _set_up(_RawKey(connection), key, immutable=immutable)  # type: ignore[arg-type]


@contextmanager
def quick_stores(*, segment_bytes: int = journal.SEGMENT_BYTES) -> Iterator[None]:
    """Inside, stores take their key raw, and the segments of their journal have that size (whole MiB)."""
    with patch.object(database, "_set_up", _set_up_quickly), patch.object(journal, "SEGMENT_BYTES", segment_bytes):
        yield
