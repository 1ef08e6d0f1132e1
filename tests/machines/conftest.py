"""Machines with one vault, whose remote is in memory; wallets, as the pure tests have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.computer import Computer
from tests.pure.conftest import alice, bob
from tests.remote.memory import MemoryBackend
from tests.support.quick_stores import quick_stores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["alice", "bob"]


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with quick_stores(segment_bytes=2 << 20):
        yield


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def computer(tmp_path: Path, backend: MemoryBackend) -> Iterator[Callable[[str], Computer]]:
    made: list[Computer] = []

    def make(label: str) -> Computer:
        made.append(Computer(tmp_path, label, backend))
        return made[-1]

    yield make
    for one in made:
        one.close()
