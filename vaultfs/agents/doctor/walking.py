"""The files of an agent's directory, which may change meanwhile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 20_000


def files_below(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    """Path from the directory, and attributes, of a limited number of files; links are not followed. Never raises."""
    left = MOST
    for above, _, names in os.walk(directory):
        for name in sorted(names):
            path = f"{above}/{name}"
            try:
                found = os.lstat(path)
            except OSError:
                continue
            yield path[len(directory) + 1 :], found
            left -= 1
            if not left:
                return
