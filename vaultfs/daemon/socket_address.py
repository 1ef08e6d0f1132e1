"""Unix socket addresses that fit: `sun_path` has 108 bytes, a home directory may have more."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUN_PATH = 107


@contextmanager
def address(path: Path) -> Iterator[str]:
    """An address for bind or connect that means `path`, usable inside the `with` block only."""
    if len(os.fsencode(path)) <= SUN_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
