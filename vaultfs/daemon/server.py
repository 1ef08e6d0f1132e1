"""The control socket: a small HTTP/1.1 server on a Unix socket, for the owner of the mount only.

Requests are small and answers are whole: everything has a limit in size and in time, so that a client that
stops halfway costs one slot for a few seconds and nothing else.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h11
import trio

from vaultfs.daemon.paths import private_directory
from vaultfs.daemon.socket_address import address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    Routes = Mapping[tuple[str, str], "Callable[[bytes], Awaitable[Answer]]"]

MAX_CLIENTS = 16
MAX_HEAD = 16 << 10
MAX_BODY = 64 << 10
RECEIVE = 16 << 10
REQUEST_SECONDS = 5.0
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What a route gives back: a status and a JSON body."""

    body: bytes = b"{}"
    status: int = 200


class RefusedError(Exception):
    """A request that gets an error status and no more."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def listen(path: Path) -> trio.socket.SocketType:
    """A listening socket at `path`, mode 0600. What lies there is a dead daemon's: its lock was free."""
    private_directory(path.parent)
    if path.exists() and stat.S_ISSOCK(path.lstat().st_mode):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        with address(path) as name:
            listener.bind(name)
    finally:
        os.umask(before)
    listener.listen(MAX_CLIENTS)
    return trio.socket.from_stdlib_socket(listener)


async def serve(listener: trio.socket.SocketType, routes: Routes) -> None:
    """Answer requests until cancelled."""
    slots = trio.Semaphore(MAX_CLIENTS)
    async with trio.open_nursery() as nursery:
        while True:
            await slots.acquire()
            client, _ = await listener.accept()
            nursery.start_soon(_client, client, routes, slots)


async def _client(
    client: trio.socket.SocketType,
    routes: Routes,
    slots: trio.Semaphore,
) -> None:
    try:
        async with trio.SocketStream(client) as stream:
            if _uid(client) not in {0, os.geteuid()}:
                return
            await _converse(stream, routes)
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError):
        log.debug("a client of the control socket went away")
    finally:
        slots.release()


async def _converse(stream: trio.SocketStream, routes: Routes) -> None:
    protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    try:
        with trio.fail_after(REQUEST_SECONDS):
            method, target, body = await _request(stream, protocol)
        answer = await _route(routes, method, target, body)
    except RefusedError as error:
        answer = Answer(b'{"error": "refused"}', error.status)
    except h11.RemoteProtocolError as error:
        answer = Answer(b'{"error": "protocol"}', error.error_status_hint)
    if protocol.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    head = h11.Response(
        status_code=answer.status,
        headers=[
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(answer.body))),
            ("Connection", "close"),
        ],
    )
    with trio.fail_after(REQUEST_SECONDS):
        await stream.send_all(protocol.send(head) or b"")
        await stream.send_all(protocol.send(h11.Data(data=answer.body)) or b"")
        await stream.send_all(protocol.send(h11.EndOfMessage()) or b"")


async def _request(stream: trio.SocketStream, protocol: h11.Connection) -> tuple[str, str, bytes]:
    method = target = ""
    body = b""
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            protocol.receive_data(await stream.receive_some(RECEIVE))
        elif isinstance(event, h11.Request):
            method, target = event.method.decode("ascii"), event.target.decode("ascii", "replace")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise RefusedError(413)
        elif isinstance(event, h11.EndOfMessage):
            return method, target, body
        else:  # the client closed before it said anything
            raise trio.ClosedResourceError


async def _route(
    routes: Routes,
    method: str,
    target: str,
    body: bytes,
) -> Answer:
    handler = routes.get((method, target))
    if handler is not None:
        return await handler(body)
    raise RefusedError(405 if any(path == target for _, path in routes) else 404)


def _uid(client: trio.socket.SocketType) -> int:
    raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return int(CREDENTIALS.unpack(raw)[1])
