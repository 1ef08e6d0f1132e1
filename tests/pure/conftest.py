"""Wallets for the pure tests: real key files with keys that everybody knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaultfs.wallet import Signer, open_signer

FIXTURES = Path(__file__).parents[2] / "fixtures"


def _wallet(name: str, directory: Path) -> Signer:
    # Git does not keep mode 0600, which a key file must have.
    path = directory / f"{name}.json"
    path.write_bytes((FIXTURES / "wallets" / f"TEST-ONLY-{name}.json").read_bytes())
    path.chmod(0o600)
    return open_signer(str(path))


@pytest.fixture(scope="session")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """The wallet most tests open vaults with."""
    return _wallet("alice", tmp_path_factory.mktemp("alice"))


@pytest.fixture(scope="session")
def bob(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """Another wallet."""
    return _wallet("bob", tmp_path_factory.mktemp("bob"))
