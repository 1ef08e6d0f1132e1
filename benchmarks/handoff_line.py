"""The S3 server that both machines use, and a counted line to it from each of them."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trio

from benchmarks.targets import Rclone
from tests.remote.proxy import Line, line_to
from tests.remote.servers import Server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "agents"


@dataclass(frozen=True)
class Traffic:
    """What went over the lines: bytes from machines to the server (for Syncthing: from A to B), HTTP requests."""

    up: int = 0
    requests: int = 0

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(self.up - other.up, self.requests - other.requests)


class Lines:
    """Lines to ports of this machine, in a thread with its own loop; counted, and cut when wanted."""

    def __init__(self, servers: list[int]) -> None:
        self.servers = servers
        self.lines: list[Line] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve, servers), daemon=True)

    async def _serve(self, servers: list[int]) -> None:
        async with trio.open_nursery() as nursery:
            self._token, self._nursery = trio.lowlevel.current_trio_token(), nursery
            for server in servers:
                self.lines.append(await nursery.start(self._one, server))
            self._ready.set()

    @staticmethod
    async def _one(server: int, task_status: trio.TaskStatus[Line]) -> None:
        async with line_to(server) as line:
            task_status.started(line)
            await trio.sleep_forever()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(20):
            raise TimeoutError("the counting lines did not start")
        return self

    def __exit__(self, *_: object) -> None:
        trio.from_thread.run_sync(self._nursery.cancel_scope.cancel, trio_token=self._token)
        self._thread.join(10)

    def cut(self) -> None:
        """Nobody reaches the server any more."""
        for line in self.lines:
            trio.from_thread.run_sync(line.cut, trio_token=self._token)

    def heal(self) -> None:
        """They do again."""
        for line in self.lines:
            trio.from_thread.run_sync(line.heal, trio_token=self._token)

    def traffic(self) -> Traffic:
        """All of it so far."""
        return Traffic(sum(line.bytes_up for line in self.lines), sum(len(line.requests) for line in self.lines))


class Store:
    """The S3 server, and for each of the two machines a section of rclone's configuration that goes by its line."""

    def __init__(self, server: Server, lines: Lines) -> None:
        self.server = server
        self.lines = lines

    def section(self, machine: int) -> str:
        """Configures the remote `store:` of machine 0 or 1."""
        at = Server(self.server.kind, self.server.root, self.lines.lines[machine].port, self.server.program)
        return at.named("store")


@contextmanager
def store(directory: Path) -> Iterator[Store]:
    """A server over an empty directory, while the block runs."""
    root = directory / "s3"
    (root / BUCKET).mkdir(parents=True)
    with ExitStack() as stack:
        server = stack.enter_context(serve(Path(Rclone.command()), "s3", root, directory / "s3.log"))
        lines = stack.enter_context(Lines([server.port, server.port]))
        yield Store(server, lines)
