"""A power cut at its worst, without a kernel: files are as at their last sync, and names that were removed are gone.

`tests/crash` cuts the power of a whole machine, at random; here a test says when.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


class Platter:
    """What is durable of a store in which all is durable when this is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
        self._store = store
        self._files = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
        fdatasync = os.fdatasync

        def noted(descriptor: int) -> None:
            fdatasync(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if path.is_file():
                self._files[path] = path.read_bytes()

        monkeypatch.setattr(os, "fdatasync", noted)

    def cut(self, copy: Path) -> Path:
        """The store as the next start finds it, at `copy`."""
        for path in self._store.rglob("*"):
            target = copy / path.relative_to(self._store)
            if path.is_dir():
                target.mkdir(parents=True)
            elif path in self._files:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._files[path])
        return copy
