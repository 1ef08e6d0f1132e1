"""HTTP to a server that hangs up, stops halfway or talks nonsense."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import memory_stream_pair

from vaultfs.remote.http import RECEIVE, Connections, HttpError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Script = Callable[[trio.abc.Stream], Awaitable[None]]

pytestmark = pytest.mark.trio
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"


def answers(*texts: bytes) -> Script:
    """A connection that gives these answers, one for each request, and then hangs up."""

    async def script(stream: trio.abc.Stream) -> None:
        for text in texts:
            if not await stream.receive_some(65536):
                return
            await stream.send_all(text)
        await stream.aclose()

    return script


class Server:
    """One script for each connection, in the order in which they are made."""

    def __init__(self, nursery: trio.Nursery, *scripts: Script) -> None:
        self.made = 0
        self._nursery = nursery
        self._scripts = scripts

    async def connect(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._scripts[self.made], theirs)
        self.made += 1
        return ours


async def test_a_connection_is_used_again(nursery: trio.Nursery) -> None:
    server = Server(nursery, answers(WHOLE, WHOLE, WHOLE))
    connections = Connections(server.connect)
    for _ in range(3):
        response = await connections.request("GET", "/", [])
        assert (response.status, response.headers["content-length"], response.body) == (200, "4", b"body")
    assert server.made == 1


async def test_one_that_was_closed_meanwhile_is_replaced(nursery: trio.Nursery) -> None:
    server = Server(nursery, answers(WHOLE), answers(WHOLE))
    connections = Connections(server.connect)
    await connections.request("GET", "/", [])
    await trio.testing.wait_all_tasks_blocked()
    assert (await connections.request("POST", "/", [], b"x" * 10)).body == b"body"
    assert server.made == 2


async def test_a_server_that_closes_is_not_asked_on_that_connection_again(nursery: trio.Nursery) -> None:
    closing = WHOLE.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
    server = Server(nursery, answers(closing), answers(WHOLE))
    connections = Connections(server.connect)
    for _ in range(2):
        assert (await connections.request("GET", "/", [])).body == b"body"
    assert server.made == 2


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
        b"220 mail.example ESMTP\r\n",
    ],
)
async def test_what_is_not_a_whole_answer_is_none(text: bytes, nursery: trio.Nursery) -> None:
    connections = Connections(Server(nursery, answers(text)).connect)
    with pytest.raises(HttpError):
        await connections.request("GET", "/", [])


async def test_no_more_than_a_few_connections_at_once(nursery: trio.Nursery) -> None:
    release = trio.Event()

    async def slow(stream: trio.abc.Stream) -> None:
        for _ in range(10):
            if not await stream.receive_some(65536):
                return
            await release.wait()
            await stream.send_all(WHOLE)

    server = Server(nursery, *[slow] * 16)
    connections = Connections(server.connect)
    for _ in range(40):
        nursery.start_soon(connections.request, "GET", "/", [])
    await trio.testing.wait_all_tasks_blocked()
    assert server.made == 16
    release.set()
    await trio.testing.wait_all_tasks_blocked()
    await connections.close()
    assert server.made == 16


async def test_no_more_is_read_than_is_enough(nursery: trio.Nursery) -> None:
    """A host that sends more than it was asked for fills nobody's memory; what was asked for is there."""
    sent = 0

    async def endless(stream: trio.abc.Stream) -> None:
        nonlocal sent
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        with suppress(trio.BrokenResourceError):
            while sent < 100 * RECEIVE:
                await stream.send_all(b"x" * RECEIVE)
                sent += RECEIVE

    connections = Connections(Server(nursery, endless, answers(WHOLE, WHOLE)).connect)
    response = await connections.request("GET", "/", [], enough=3 * RECEIVE)
    assert 3 * RECEIVE < len(response.body) <= 5 * RECEIVE
    assert (await connections.request("GET", "/", [], enough=3)).body == b"body"
    assert (await connections.request("GET", "/", [], enough=4)).body == b"body"
    assert sent < 10 * RECEIVE


async def test_what_is_just_enough_keeps_the_connection(nursery: trio.Nursery) -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * RECEIVE) + bytes(2 * RECEIVE)
    server = Server(nursery, answers(large, WHOLE))
    connections = Connections(server.connect)
    assert len((await connections.request("GET", "/", [], enough=2 * RECEIVE)).body) == 2 * RECEIVE
    assert (await connections.request("GET", "/", [], enough=1)).body == b"body", "less than one look at the line"
    assert server.made == 1
