"""Talk to the daemon of a mounted vault: HTTP over its control socket, blocking."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING

from vaultfs.daemon.socket_address import address

if TYPE_CHECKING:
    from pathlib import Path

MAX_ANSWER = 16 << 20
OK = 200


class NoAnswerError(Exception):
    """Nobody listens on the socket, or what listens does not answer in time."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("vaultfs", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(self.timeout)
        with address(self._path) as name:
            self.sock.connect(name)


def call(path: Path, method: str, target: str, *, body: bytes = b"", timeout: float = 5.0) -> bytes:
    """The body of the daemon's answer to `method target`; NoAnswerError if there is none that is good."""
    connection = _UnixConnection(path, timeout)
    try:
        connection.request(method, target, body)
        answer = connection.getresponse()
        content = answer.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswerError(str(error)) from error
    finally:
        connection.close()
    if answer.status != OK:
        raise NoAnswerError(f"{answer.status} {answer.reason}")
    return content
