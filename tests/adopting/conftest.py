"""Machines, and a state directory as an agent leaves it after use."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.adopting.used import Used
from tests.cli.conftest import base
from tests.machines_mounted.desk import QUICK, Desk
from tests.support.driver import is_mounted
from vaultfs.agents.profiles import Profile, Rule, Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["base"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that mount need FUSE."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and {"desk", "only"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.fuse)
            if not os.path.exists("/dev/fuse"):
                item.add_marker(pytest.mark.skip(reason="no /dev/fuse here"))


@pytest.fixture
def desk(base: Path) -> Iterator[Callable[..., Desk]]:
    """Makes machines; the first one makes the vault on a directory, the others join it. All are mounted."""
    made: list[Desk] = []

    def make(label: str, **pace: str) -> Desk:
        one = Desk(base / label, environment={**QUICK, **pace}, label=label, remote=str(base / "remote"))
        made.append(one)
        if len(made) == 1:
            one.make()
        one.mount()
        return one

    yield make
    for one in made:
        one.leave()


@pytest.fixture(scope="package")
def only() -> Iterator[Desk]:
    """One machine for all tests that need just one: a mount costs more than most of them."""
    place = Path(tempfile.mkdtemp(prefix=f"vaultfs-test-{os.environ['VAULTFS_TEST_RUN'][:8]}-", dir="/var/tmp"))
    place.chmod(0o755)
    one = Desk(place / "a", environment=QUICK, label="a", remote=str(place / "remote"))
    one.make()
    yield one
    one.leave()
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def home(only: Desk) -> Iterator[Desk]:
    """That machine, mounted, with nothing of agents in its vault and its HOME."""
    if not is_mounted(only.mountpoint):
        only.mount()
    kept = set(os.listdir(only.home))
    yield only
    if is_mounted(only.mountpoint):
        _empty(only.mountpoint, keep=set())
    _empty(only.home, keep=kept)
    shutil.rmtree(only.home / ".config/vaultfs/agents", ignore_errors=True)


def _empty(top: Path, *, keep: set[str]) -> None:
    for path in (top / name for name in os.listdir(top) if name not in keep):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@pytest.fixture
def used(base: Path) -> Iterator[Used]:
    """A used state directory, outside of any home."""
    made = Used(base / "used")
    yield made
    made.close()


@pytest.fixture
def profile() -> Profile:
    """An agent of our own, as one TOML file would describe it."""
    return Profile(
        name="robot",
        title="Robot",
        env="ROBOT_HOME",
        directory="~/.robot",
        command=("robot",),
        local=(Rule("gateway.pid", "a process"), Rule("/logs/", "what happened")),
        credentials=(Rule("auth.json", "tokens"), Rule("/mcp-tokens/", "tokens")),
        running=Running(processes=("robot",), pid_files=("gateway.pid",)),
    )


@pytest.fixture
def hermes(home: Desk, used: Used) -> Path:
    """The used directory is this machine's ~/.hermes."""
    place = home.home / ".hermes"
    os.rename(used.top, place)
    return place
