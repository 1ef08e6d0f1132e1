"""People at fresh machines."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.desks import Desk, machine
from tests.cli.person import ORDINARY, Person, program

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = os.geteuid() == 0
WHO = ["root", "ordinary user"] if ROOT else ["ordinary user"]


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory that every user may pass through, short enough for socket names."""
    path = Path(tempfile.mkdtemp(prefix=f"vaultfs-test-{os.environ['VAULTFS_TEST_RUN'][:8]}-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def person(base: Path) -> Iterator[Person]:
    """Somebody with an empty HOME."""
    somebody = Person(base / "home")
    yield somebody
    somebody.leave()


@pytest.fixture(params=WHO)
def anybody(request: pytest.FixtureRequest, base: Path) -> Iterator[Person]:
    """As `person`, once as root and once as an ordinary user."""
    uid = 0 if request.param == "root" else ORDINARY if ROOT else os.geteuid()
    if program(uid) is None:
        pytest.skip(f"user {uid} cannot run this Python")
    somebody = Person(base / "home", uid)
    yield somebody
    somebody.leave()


@pytest.fixture
def owner(person: Person) -> Person:
    """Somebody with a vault that is not mounted."""
    person.ok("init", "--yes")
    return person


@pytest.fixture
def mounted(anybody: Person) -> Iterator[Person]:
    """Somebody with a mounted vault."""
    anybody.mount()
    yield anybody
    anybody.run("umount")


@pytest.fixture
def desk(base: Path) -> Iterator[Desk]:
    """A machine that has made a published vault, not mounted yet."""
    desk = machine(base, "desk")
    desk.ok("init", "--remote", str(desk.remote), "--device-label", "desk", "--yes")
    yield desk
    desk.leave()


@pytest.fixture
def laptop(base: Path) -> Iterator[Desk]:
    """Another, that has nothing yet."""
    laptop = machine(base, "laptop")
    laptop.environment = {"VAULTFS_DEVICE_LABEL": "laptop"}
    yield laptop
    laptop.leave()


@pytest.fixture
def both(desk: Desk, laptop: Desk) -> tuple[Desk, Desk]:
    """Both have it mounted."""
    desk.mount()
    desk.sync()
    laptop.join(desk.key_file)
    return desk, laptop
