"""HTTP/1.1 over a Unix socket, with connections kept open: what talking to one local server needs, no more."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h11
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CONNECTIONS = 16
RECEIVE = 256 << 10
MAX_BODY = 1 << 30

Headers = list[tuple[str, str]]


class HttpError(Exception):
    """The server went away, or what it said is not a whole answer."""


@dataclass(frozen=True)
class Response:
    """A whole answer; header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connections:
    """A few kept-open connections to one server; requests beyond their number wait. Requests must be repeatable."""

    def __init__(self, connect: Callable[[], Awaitable[trio.abc.Stream]]) -> None:
        self._connect = connect
        self._slots = trio.Semaphore(CONNECTIONS)
        self._idle: list[_Connection] = []

    async def request(
        self, method: str, target: str, headers: Headers, body: bytes = b"", *, enough: int | None = None
    ) -> Response:
        """Send and wait for the whole answer. Raises HttpError. Cancelling hangs up, which stops the server's work.

        `enough`: where the answer's body is longer than this, what was asked for is in its beginning, or nowhere: it
        is not read to its end, however long it is.
        """
        async with self._slots:
            while self._idle:
                # The server may have hung up meanwhile: that shows before it answers, and is nobody's failure.
                try:
                    return await self._exchange(self._idle.pop(), method, target, headers, body, enough)
                except _HungUpError:
                    continue
            try:
                stream = await self._connect()
            except OSError as error:
                raise HttpError(f"cannot connect: {error.strerror}") from error
            return await self._exchange(_Connection(stream), method, target, headers, body, enough)

    async def close(self) -> None:
        """Hang up on the idle ones."""
        while self._idle:
            await trio.aclose_forcefully(self._idle.pop().stream)

    async def _exchange(
        self, connection: _Connection, method: str, target: str, headers: Headers, body: bytes, enough: int | None
    ) -> Response:
        async with _hanging_up_on_trouble(connection):
            response = await connection.exchange(method, target, headers, body, enough)
        if connection.reusable():
            self._idle.append(connection)
        else:
            await trio.aclose_forcefully(connection.stream)
        return response


@asynccontextmanager
async def _hanging_up_on_trouble(connection: _Connection) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await trio.aclose_forcefully(connection.stream)
        raise


class _HungUpError(HttpError):
    """The connection was closed before any of the answer came."""


class _Connection:
    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._protocol = h11.Connection(h11.CLIENT)

    def reusable(self) -> bool:
        """Whether another request can follow; prepares for it."""
        if self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE:
            self._protocol.start_next_cycle()
            return True
        return False

    async def exchange(self, method: str, target: str, headers: Headers, body: bytes, enough: int | None) -> Response:
        """One request and its answer."""
        fixed = [("Host", "rclone"), ("Content-Length", str(len(body)))]
        request = h11.Request(method=method, target=target, headers=fixed + headers)
        out = [request, *([h11.Data(data=body)] if body else []), h11.EndOfMessage()]
        try:
            for event in out:
                await self.stream.send_all(self._protocol.send(event) or b"")
            return await self._answer(enough)
        except trio.BrokenResourceError as error:
            raise _HungUpError("the connection broke") from error
        except h11.RemoteProtocolError as error:
            raise HttpError(f"the answer is not whole: {error}") from error

    async def _answer(self, enough: int | None) -> Response:
        head: h11.Response | None = None
        pieces: list[bytes] = []
        size = 0
        while True:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                received = await self.stream.receive_some(RECEIVE)
                if not received and head is None:
                    raise _HungUpError("the connection was closed")
                self._protocol.receive_data(bytes(received))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
                size += len(event.data)
                if _is_enough(size, enough):
                    break  # in the midst of the body, so this connection is not used again
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                raise HttpError("the connection was closed")
        if head is None:
            raise HttpError("the answer has no head")
        named = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        return Response(head.status_code, named, b"".join(pieces))


def _is_enough(size: int, enough: int | None) -> bool:
    if enough is not None:
        return size > max(enough, RECEIVE)  # the text of a fault is not cut short
    if size > MAX_BODY:
        raise HttpError("the answer is too large")
    return False
