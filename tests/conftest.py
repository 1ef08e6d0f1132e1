"""For all tests: options, and the promise that a run leaves no mount and no process behind."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.leftovers import command_line, fuse_mounts, processes_marked

if TYPE_CHECKING:
    from collections.abc import Iterator

# What `./test` has thousands of commands do is not meant for the tests: rewriting them anew takes each worker seconds.
sys.dont_write_bytecode = not os.access(Path(__file__).parent, os.W_OK)

# How long an example takes says how busy the machine is.
settings.register_profile("vaultfs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vaultfs")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What a run can be told."""
    group = parser.getgroup("vaultfs")
    group.addoption(
        "--target",
        choices=("native", "vaultfs"),
        default=os.environ.get("VAULTFS_TEST_DIR", "vaultfs"),
        help="where the tests in tests/mounted run: a vaultfs mount, or a plain directory to check the tests",
    )
    group.addoption(
        "--lane",
        choices=("both", "pyfuse3"),
        default=os.environ.get("VAULTFS_LANE", "both"),
        help="what answers the kernel in all mounts of the run",
    )
    group.addoption("--kills", type=int, default=40, help="rounds of SIGKILL and remount in tests/crash")
    group.addoption("--cuts", type=int, default=6, help="rounds of simulated power cuts in tests/crash")
    group.addoption("--commits", type=int, default=200, help="commits of databases at work in tests/machines_mounted")
    group.addoption("--deaths", type=int, default=20, help="rounds of SIGKILL in tests/machines_mounted")
    group.addoption("--large", action="store_true", help="the large vaults and databases in tests/machines_mounted")
    group.addoption(
        "--model-examples",
        type=int,
        default=None,
        help="random histories of the model test, new ones each time (default: the same 100)",
    )
    group.addoption("--seed", type=int, default=None, help="seed of the random workloads (default: new)")


def pytest_configure(config: pytest.Config) -> None:
    """Whoever ends the run gets the teardown of the fixtures too, in every worker."""
    # a run in the background of a script inherits an ignored Ctrl-C, and so would every program that it tests
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["VAULTFS_LANE"] = config.getoption("lane")
    distributes = config.getoption("dist", "no") != "no" and "PYTEST_XDIST_WORKER" not in os.environ
    signal.signal(signal.SIGTERM, lambda *_: _end(distributes=distributes))


def pytest_unconfigure() -> None:
    """From here on nothing has to be taken down."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(*, distributes: bool) -> None:
    """Whoever sends SIGTERM (a time limit of CI) knows one process; who distributes tests runs nothing but workers."""
    for task in Path("/proc/self/task").iterdir() if distributes else ():
        for worker in (task / "children").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(worker), signal.SIGTERM)
    pytest.exit("ended by SIGTERM", 143)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need root are skipped for ordinary users."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Every process started by the tests carries the run's mark; at the end none may be left, nor a mount."""
    mark = uuid.uuid4().hex
    os.environ["VAULTFS_TEST_RUN"] = mark
    before = fuse_mounts()
    yield
    mounts = fuse_mounts() - before
    # another run on this machine may have mounted meanwhile: only what lies below our directories counts
    mounts = {point for point in mounts if f"vaultfs-test-{mark[:8]}" in point}
    left = {pid: command_line(pid) for pid in processes_marked(mark)}
    assert not mounts, f"mounts left behind: {mounts}"
    assert not left, f"processes left behind: {left}"


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run's random workloads, shown so that a failure can be repeated."""
    given = request.config.getoption("--seed")
    value = given if given is not None else int.from_bytes(os.urandom(4), "little")
    print(f"seed {value} (repeat with --seed {value})")  # noqa: T201 - pytest shows it with a failure
    return int(value)
