"""The directory under test: a vaultfs mount, or (--target=native) plain ext4, to check the tests themselves."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.driver import Machine
from tests.support.leftovers import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Target:
    """Where the tests run: its root directory, and the machine that serves it if that is vaultfs."""

    root: Path
    machine: Machine | None

    @property
    def is_vaultfs(self) -> bool:
        """Whether it is our mount."""
        return self.machine is not None


@contextlib.contextmanager
def mounted(**machine: Any) -> Iterator[Machine]:
    """A new machine with a mounted vault, for as long as the block; what it is made of: see `Machine`."""
    base = scratch()
    made = Machine(base / "home", **machine)
    try:
        made.init()
        made.mount()
        yield made
        made.umount()
    finally:
        made.remove()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The directory under test, for the whole run."""
    if request.config.getoption("--target") == "native":
        base = scratch(os.environ.get("VAULTFS_TEST_PLACE", "/var/tmp"))
        yield Target(base, None)
        shutil.rmtree(base, ignore_errors=True)
        return
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse here")
    with mounted() as machine:
        machine.mountpoint.chmod(0o755)  # the tests go in as other users too
        yield Target(machine.mountpoint, machine)


@pytest.fixture
def work(target: Target, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A fresh directory in the target, removed after the test."""
    stem = re.sub(r"\W+", "-", request.node.name)[:60]
    path = Path(tempfile.mkdtemp(prefix=f"{stem}.", dir=target.root))
    path.chmod(0o755)
    old_umask = os.umask(0o022)
    old_cwd = Path.cwd()
    yield path
    os.chdir(old_cwd)
    os.umask(old_umask)
    _close_below(path)
    shutil.rmtree(path, onerror=_open_up)


def _close_below(path: Path) -> None:
    """A failed test leaves descriptors open; the unmount at the end would wait for them."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith(f"{path}/"):
                os.close(int(entry.name))


@pytest.fixture
def outside() -> Iterator[Path]:
    """A fresh directory on the machine's own file system, whatever the target is."""
    path = scratch()
    yield path
    shutil.rmtree(path, onerror=_open_up)


@pytest.fixture
def machine(target: Target) -> Machine:
    """The machine behind the mount; skipped on a plain directory."""
    if target.machine is None:
        pytest.skip("only vaultfs does this")
    return target.machine


def _open_up(function: object, path: str, _: object) -> None:
    """An ordinary user cannot empty a directory without permission bits: give them back and go on."""
    parent = os.path.dirname(path)
    for each in (parent, path):
        if os.path.isdir(each):
            os.chmod(each, 0o700)
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)
    del function
