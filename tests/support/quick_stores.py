"""Stores that cost less to make, where what they cost is not what is tested.

Each new store fills 32 MB of journal with zeros. Segments are as they really are in tests/crash, mounted and cli.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

from vaultfs.tree import journal

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def quick_stores(*, segment_bytes: int = journal.SEGMENT_BYTES) -> Iterator[None]:
    """Inside, the segments of journals have that size (whole MiB)."""
    with patch.object(journal, "SEGMENT_BYTES", segment_bytes):
        yield
