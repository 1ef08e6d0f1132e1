"""A vault on a remote that is believed nothing, a machine that reads it, and wallets as the pure tests have them."""

from __future__ import annotations

import pytest

from tests.pure.conftest import alice, bob
from tests.sync.fetchers import BLOCK
from tests.sync.vaults import Machine, Made, Vault, make_pack, noise

__all__ = ["alice", "bob"]


@pytest.fixture
def vault() -> Vault:
    """An empty one."""
    return Vault()


@pytest.fixture
def here(vault: Vault) -> Machine:
    """Who reads it."""
    return vault.machine()


@pytest.fixture
def large() -> Made:
    """A hundred blocks that do not compress, and a few nodes behind them."""
    return make_pack(
        1, blocks=[noise(n, BLOCK) for n in range(100)], nodes=[noise(("node", n), 3000) for n in range(20)]
    )
