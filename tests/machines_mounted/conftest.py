"""A store, and machines that have it as their remote."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.cli.conftest import base
from tests.machines_mounted.desk import QUICK, Desk
from tests.machines_mounted.store import Store
from vaultfs.remote.program import find_rclone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["base"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need FUSE."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.fuse)
            if not os.path.exists("/dev/fuse"):
                item.add_marker(pytest.mark.skip(reason="no /dev/fuse here"))


@pytest.fixture
def store(base: Path) -> Iterator[Store]:
    """A running S3 server."""
    made = Store(trio.run(find_rclone), base / "store")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def desk(base: Path, store: Store) -> Iterator[Callable[..., Desk]]:
    """Makes machines: `desk("a")` at a quick pace, with other settings by keyword."""
    made: list[Desk] = []

    def make(label: str, *, pace: dict[str, str] = QUICK, knows: Store | None = store, **settings: str) -> Desk:
        given = {f"VAULTFS_{name.upper()}": str(value) for name, value in settings.items()}
        one = Desk(base / label, environment={**pace, **given}, label=label)
        if knows is not None:
            one.knows(knows)
        made.append(one)
        return one

    yield make
    for one in made:
        one.leave()


@pytest.fixture
def pair(desk: Callable[..., Desk]) -> tuple[Desk, Desk]:
    """A has made the vault and mounted it, B has joined."""
    a, b = desk("a"), desk("b")
    join(a, b)
    return a, b


def join(a: Desk, *others: Desk) -> None:
    """`a` makes the vault and mounts it, the others join with the same wallet."""
    a.make()
    a.mount()
    a.sync()
    for other in others:
        shutil.copy(a.key, other.key)
        other.mount()
