"""As many random histories again, of machines whose old heads go from the remote as soon as they may."""

from __future__ import annotations

import pytest

from tests.machines.test_histories import AT_ONCE, HISTORIES, some


@pytest.mark.parametrize("block", range(HISTORIES // AT_ONCE))
def test_random_histories(block: int, pytestconfig: pytest.Config) -> None:
    some(block, pytestconfig.getoption("--seed"), 1)
