"""The FUSE handshake, with one flag that libfuse and pyfuse3 cannot negotiate (docs/design.md, "The handshake").

Without FUSE_HANDLE_KILLPRIV_V2 the kernel asks for `security.capability` before every write(2). So libfuse gets
one end of a socket pair as its device, answers a copy of the kernel's INIT there, and the reply goes to the real
descriptor with the flag added. Then the real descriptor takes the socket's number: libfuse never knows.
"""

from __future__ import annotations

import os
import select
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyfuse3
import trio

from vaultfs.fuse import protocol

if TYPE_CHECKING:
    from vaultfs.fuse.protocol import Wishes

_INIT_SECONDS = 10.0
_RECORD_BYTES = 1 << 17  # the kernel refuses to hand a request to a reader with less than 8 KiB

# The server clears set-user-id and its like itself; directories may be read and searched in parallel; symbolic
# links never change; the umask comes with each request, because a default ACL overrides it.
WISHES = protocol.Wishes(
    add=(protocol.HANDLE_KILLPRIV_V2 | protocol.PARALLEL_DIROPS | protocol.CACHE_SYMLINKS | protocol.DONT_MASK),
    remove=protocol.AUTO_INVAL_DATA,  # nobody changes a file behind the kernel's back
)


class HandshakeError(Exception):
    """The handshake did not come about; the message says where. Mount the plain way instead."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What kernel and server agreed on, and the descriptor on which it goes on.

    `relay`: what libfuse and we say to each other on our end of the socket pair, where the descriptor stays ours.
    """

    minor: int
    flags: int
    offered: int
    max_write: int
    descriptor: int
    relay: socket.socket | None = None

    @property
    def killpriv(self) -> bool:
        """Whether the kernel leaves clearing set-user-id, set-group-id and capabilities to us."""
        return bool(self.flags & protocol.HANDLE_KILLPRIV_V2)


def read_request(device: int) -> bytes:
    """The kernel's INIT record, which waits there as soon as mount(2) has returned; raises HandshakeError."""
    poller = select.poll()
    poller.register(device, select.POLLIN)
    try:
        if not poller.poll(int(_INIT_SECONDS * 1000)):
            raise HandshakeError("the kernel sent no INIT request")
        return os.read(device, _RECORD_BYTES)
    except OSError as error:
        raise HandshakeError(f"reading the INIT request: {error}") from error


async def _answer(ours: socket.socket, record: bytes) -> bytes:
    """Let libfuse answer one record on the other end of the socket pair."""
    reply = b""
    try:
        with trio.move_on_after(_INIT_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pyfuse3.main)
                ours.send(record)
                await trio.lowlevel.wait_readable(ours)
                reply = ours.recv(_RECORD_BYTES)
                # Just long enough: pyfuse3 must not read again before the real descriptor is in place.
                nursery.cancel_scope.cancel()
    except* (OSError, RuntimeError) as group:
        raise HandshakeError(f"libfuse failed on the INIT request: {group.exceptions[0]}") from None
    if not reply:
        raise HandshakeError("libfuse did not answer the INIT request")
    return reply


async def negotiate(
    device: int, operations: pyfuse3.Operations, wishes: Wishes = WISHES, *, keep: bool = False
) -> Agreement:
    """Do the handshake on `device`, which afterwards belongs to pyfuse3: run pyfuse3.main, then pyfuse3.close.

    `keep`: it stays ours instead, and pyfuse3 has the other end of `Agreement.relay` for its device. Raises
    HandshakeError; then the device is closed (which ends the mount's connection) and pyfuse3 is free for another init.
    """
    try:
        record = read_request(device)
        request = protocol.decode_request(record)
    except (HandshakeError, protocol.ProtocolError) as error:
        os.close(device)
        raise HandshakeError(str(error)) from error

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    number = theirs.detach()
    try:
        pyfuse3.init(operations, f"/dev/fd/{number}", set())
    except RuntimeError as error:
        ours.close()
        os.close(number)
        os.close(device)
        raise HandshakeError(f"libfuse took no descriptor: {error}") from error
    try:
        reply, flags = protocol.amend_reply(await _answer(ours, record), request, wishes)
        os.write(device, reply)
        if keep:
            return Agreement(request.minor, flags, request.flags, protocol.max_write(reply), device, ours)
        # Replaces the socket's last reference, so trio's epoll forgets it by itself.
        os.dup2(device, number, inheritable=False)
    except (HandshakeError, protocol.ProtocolError, OSError) as error:
        pyfuse3.close(unmount=False)
        ours.close()
        os.close(device)
        raise HandshakeError(str(error)) from error
    ours.close()
    os.close(device)
    return Agreement(request.minor, flags, request.flags, protocol.max_write(reply), number)
