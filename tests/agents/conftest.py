"""Machines with the same paths, a store, and the real programs where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.agents.computer import Computer
from tests.agents.programs import INSTALL, PROGRAMS
from tests.cli.conftest import base
from tests.machines_mounted.conftest import store
from tests.machines_mounted.desk import QUICK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.machines_mounted.store import Store

__all__ = ["base", "store"]
INSTALLS = "VAULTFS_AGENTS_INSTALL"
NO_SUCH = ("E404", "ETARGET", "No matching distribution", "EBADPLATFORM", "Unsupported platform")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need FUSE, and namespaces for mounts and networks."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.fuse)
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.timeout(1800))
            if not os.path.exists("/dev/fuse"):
                item.add_marker(pytest.mark.skip(reason="no /dev/fuse here"))
            name = item.callspec.params.get("name") if hasattr(item, "callspec") else None
            if name in PROGRAMS and os.environ.get(INSTALLS) != "1" and (reason := why_not(str(name))):
                item.add_marker(pytest.mark.skip(reason=reason))  # before machines are made for it


@pytest.fixture(scope="session")
def need() -> Callable[..., None]:
    """`need("hermes")`: it is installed, or the test is skipped. `./test --agents` installs what is missing."""
    missing: dict[str, str] = {}

    def check(*names: str) -> None:
        for name in names:
            if name not in missing:
                missing[name] = why_not(name)
            if missing[name]:
                pytest.skip(missing[name])

    return check


def why_not(name: str) -> str:
    """Why the program cannot be had, in a sentence; empty where it can."""
    if PROGRAMS[name].installed():
        return ""
    if os.environ.get(INSTALLS) != "1":
        return f"{name} is not installed: ./test --agents installs it"
    done = subprocess.run([INSTALL, name], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return ""
    said = done.stdout + done.stderr
    if any(word in said for word in NO_SUCH):
        return f"{name}: the registry has none for this machine: {said.strip().splitlines()[-1]}"
    raise AssertionError(f"{name} could not be installed: {said[-3000:]}")


@pytest.fixture
def computer(base: Path, store: Store) -> Iterator[Callable[..., Computer]]:
    """Makes machines: `computer("a")`; all have one HOME path, each its own disk behind it."""
    made: list[Computer] = []

    def make(label: str, *, knows: Store | None = None, **settings: str) -> Computer:
        given = {f"VAULTFS_{name.upper()}": value for name, value in settings.items()}
        one = Computer(base / label, environment=QUICK | given, label=label, person=base / "home")
        one.knows(knows or store)
        made.append(one)
        return one

    yield make
    for one in made:
        one.leave()


@pytest.fixture
def pair(computer: Callable[..., Computer]) -> tuple[Computer, Computer]:
    """A has made the vault and mounted it, B has joined."""
    a, b = computer("a"), computer("b")
    join(a, b)
    return a, b


def join(a: Computer, *others: Computer) -> None:
    """`a` makes the vault and mounts it, the others join with the same wallet."""
    a.make()
    a.mount()
    a.catch_up()
    for other in others:
        shutil.copy(a.key, other.key)
        other.mount()
