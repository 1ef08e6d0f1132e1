"""Every kind of store, as a place that does not exist yet."""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.remote.fake import FakeBackend
from tests.remote.memory import MemoryBackend
from tests.remote.servers import KINDS, Server, serve
from vaultfs.remote import Limits, Remote, open_remote
from vaultfs.remote.program import find_rclone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    ServerOf = Callable[[str], Server]

#: A failing test fails soon: a store on this machine needs no two minutes.
QUICK = Limits(call=20, attempt=15)
_numbers = itertools.count()


@dataclass(frozen=True)
class Place:
    """Somewhere to put objects."""

    kind: str
    spec: str
    backing: Path | None  #: where they are, if that is a directory of this machine
    runtime: Path
    program: Path

    @asynccontextmanager
    async def open(
        self, *, create: bool = True, limits: Limits | None = None, bandwidth: int | None = None
    ) -> AsyncIterator[Remote]:
        limits = limits or QUICK
        if self.kind == "fake":
            remote = Remote(FakeBackend(MemoryBackend(created=False)), limits)
            if create:
                await remote.create()
            yield remote
            return
        async with open_remote(
            self.spec, self.runtime, limits=limits, bandwidth=bandwidth, program=self.program
        ) as remote:
            if create:
                await remote.create()
            yield remote


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The program, with a configuration of its own."""
    patch = pytest.MonkeyPatch()
    for name in [name for name in os.environ if name.startswith("RCLONE_")]:
        patch.delenv(name)
    patch.setenv("RCLONE_CONFIG", str(tmp_path_factory.mktemp("rclone") / "rclone.conf"))
    Path(os.environ["RCLONE_CONFIG"]).touch(0o600)
    yield trio.run(find_rclone)
    patch.undo()


@pytest.fixture(scope="session")
def server_of(rclone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerOf]:
    """Gives the server of a kind, started when the first test asks for it."""
    running: dict[str, Server] = {}
    with ExitStack() as stack:

        def get(kind: str) -> Server:
            if kind not in running:
                base = tmp_path_factory.mktemp(f"serve-{kind}")
                (base / "root").mkdir()
                running[kind] = stack.enter_context(serve(rclone, kind, base / "root", base / "log"))
            return running[kind]

        yield get


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    directory = tmp_path / "runtime"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def place_of(rclone: Path, server_of: ServerOf, runtime: Path, tmp_path: Path) -> Callable[[str], Place]:
    """Makes up a place of a kind; nothing is there yet."""

    def make(kind: str) -> Place:
        if kind in KINDS:
            server = server_of(kind)
            name = f"bucket{next(_numbers)}"
            return Place(kind, server.spec(name), server.root / name, runtime, rclone)
        backing = tmp_path / "backing"
        spec = {"directory": str(backing), "rclone-local": f":local:{backing}", "fake": ""}[kind]
        return Place(kind, spec, backing if spec else None, runtime, rclone)

    return make


@pytest.fixture(params=["directory", "rclone-local", *KINDS, "fake"])
def place(request: pytest.FixtureRequest, place_of: Callable[[str], Place]) -> Place:
    """One of every kind."""
    return place_of(request.param)


@pytest.fixture(params=["directory", "rclone-local", *KINDS])
def real_place(request: pytest.FixtureRequest, place_of: Callable[[str], Place]) -> Place:
    """One of every kind that really is somewhere."""
    return place_of(request.param)


@pytest.fixture
def fake_place(place_of: Callable[[str], Place]) -> Place:
    """For what is the same in front of every kind."""
    return place_of("fake")
