"""A store of its own for each test, and a vault for those of cuts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.store.cut_vault import Vault
from tests.store.stores import StoreMaker
from vaultfs.format.pack import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[StoreMaker]:
    maker = StoreMaker(tmp_path)
    yield maker
    maker.end()


@pytest.fixture
def vault(stores: StoreMaker) -> Vault:
    """d (f, g, sub (h)) and e, committed."""
    vault = Vault(stores)
    vault.mkdir(b"d", b"d/sub", b"e")
    vault.write(b"d/f", b"f" * 100)
    vault.write(b"d/g", os.urandom(3 * BLOCK_BYTES))
    vault.write(b"d/sub/h", b"h" * 1000)
    assert ("new", b"") in vault.commit()
    return vault
