"""A fast lane whose kernel is the test: records go in by a socket, and replies come out of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from vaultfs.crypto.keys import VaultKeys
from vaultfs.fuse.fast import wire
from vaultfs.fuse.fast.lane import Device, FastLane
from vaultfs.fuse.fast.quick_wakes import QuickWakes
from vaultfs.fuse.notes import ByDevice
from vaultfs.fuse.operations import Operations
from vaultfs.tree import Device as Machine
from vaultfs.tree import create_store, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultfs.tree import Tree

SECONDS = 60
ROOT = 1


def record(opcode: int, node: int, body: bytes = b"", *, unique: int = 2, length: int | None = None) -> bytes:
    """A request as the kernel sends it."""
    size = wire.HEADER.size + len(body) if length is None else length
    return wire.HEADER.pack(size, opcode, unique, node, os.getuid(), os.getgid(), os.getpid()) + body


class Kernel:
    """The other side of the lane's descriptor, and of pyfuse3's socket."""

    def __init__(self, lane: FastLane, meaning: Operations, ours: socket.socket, pyfuse3: socket.socket) -> None:
        self.lane = lane
        self.meaning = meaning
        self.socket = trio.socket.from_stdlib_socket(ours)
        self.pyfuse3 = trio.socket.from_stdlib_socket(pyfuse3)

    async def send(self, sent: bytes) -> None:
        """A request that has no answer."""
        await self.socket.send(sent)

    async def ask(self, sent: bytes) -> tuple[int, bytes]:
        """A request: the errno and what else is in its answer."""
        await self.socket.send(sent)
        return await self.hear(struct.unpack_from("=Q", sent, 8)[0])

    async def hear(self, unique: int = 2) -> tuple[int, bytes]:
        """The next answer, which must be to that request; what the kernel is told unasked has no number."""
        answered = 0
        while not answered:
            with trio.fail_after(SECONDS):
                reply = await self.socket.recv(1 << 21)
            length, number, answered = wire.REPLY.unpack_from(reply)
        assert (length, answered) == (len(reply), unique)
        return -number, reply[wire.REPLY.size :]


def new_tree(base: Path) -> Tree:
    """An empty tree."""
    keys, machine = VaultKeys(b"k" * 32, b"v" * 16), Machine(b"d" * 16, "test")
    create_store(base / "store", keys, machine, uid=os.getuid(), gid=os.getgid())
    return open_store(base / "store", keys, machine)


@contextlib.asynccontextmanager
async def kernel(wakes: QuickWakes | None = None) -> AsyncIterator[Kernel]:
    """A lane that serves an empty tree, as long as the block lasts."""
    base = Path(tempfile.mkdtemp(prefix=f"vaultfs-test-{os.environ['VAULTFS_TEST_RUN'][:8]}-", dir="/var/tmp"))
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    (ours, theirs), (relay, pyfuse3) = pairs
    for one in (ours, theirs):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    tree = new_tree(base)
    meaning = Operations(tree, lambda: b"{}")
    device = Device(theirs.detach())
    meaning.notes = ByDevice(device)
    lane = FastLane(meaning, device, relay, 1 << 20, wakes or QuickWakes(wanted=False))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lane.run)
            yield Kernel(lane, meaning, ours, pyfuse3)
            lane.stop()
    finally:
        lane.close()
        meaning.syncer.close()
        tree.close()
        for one in (ours, pyfuse3):
            one.close()
        shutil.rmtree(base)
