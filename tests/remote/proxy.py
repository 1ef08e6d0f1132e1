"""A line to a server that can be counted, slowed to nothing and cut."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_REQUEST = re.compile(rb"(GET|PUT|HEAD|POST|DELETE) (/\S*) HTTP/1\.1\r\n")


class Line:
    """Passes TCP on to a port of this machine."""

    def __init__(self, port: int, server: int) -> None:
        self.port = port
        self.server = server
        self.requests: list[tuple[str, str]] = []  #: HTTP method and path of each request that passed
        self.bytes_up = 0
        self._moved = trio.Event()
        self._cuts: set[trio.CancelScope] = set()
        self._down = False

    def cut(self) -> None:
        """All connections break, and new ones break at once."""
        self._down = True
        for scope in self._cuts:
            scope.cancel()

    def heal(self) -> None:
        self._down = False

    async def moved(self) -> None:
        """Until something has passed, or a new connection was refused."""
        await self._moved.wait()

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    async def pass_on(self, client: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            if self._down:
                self._move()
                return
            self._cuts.add(scope)
            try:
                async with await trio.open_tcp_stream("127.0.0.1", self.server) as server, trio.open_nursery() as both:
                    both.start_soon(self._copy, client, server, True)
                    await self._copy(server, client, False)
                    both.cancel_scope.cancel()
            except* (trio.BrokenResourceError, OSError):
                pass
            finally:
                self._cuts.discard(scope)

    async def _copy(self, source: trio.SocketStream, target: trio.SocketStream, up: bool) -> None:
        async for data in source:
            if up:
                self.bytes_up += len(data)
                self.requests += [(method.decode(), path.decode()) for method, path in _REQUEST.findall(data)]
            self._move()
            await target.send_all(data)
        await target.send_eof()


@asynccontextmanager
async def line_to(server: int) -> AsyncIterator[Line]:
    """A line to the port `server`, while the block runs."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    line = Line(listeners[0].socket.getsockname()[1], server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, line.pass_on, listeners)
        yield line
        nursery.cancel_scope.cancel()
