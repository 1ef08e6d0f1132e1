"""What a request costs without the kernel: decoding, its meaning in the tree, encoding; and two parts of reading.

`.venv/bin/python -m benchmarks.calls`: microseconds each, the best of five laps; and the median where the processor's
caches hold something else when it comes, as they do in a mount. No FUSE, no root, a store below /var/tmp that is
removed at the end.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import struct
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vaultfs.crypto.keys import VaultKeys
from vaultfs.fuse.fast import wire
from vaultfs.fuse.fast.answers import Answers
from vaultfs.fuse.fast.wire import Op
from vaultfs.fuse.operations import Operations
from vaultfs.tree import Device, create_store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.tree import Tree

LAPS, EACH, COLD = 5, 1000, 300
OTHER = b"\2" * (8 << 20)  # more than a processor keeps for itself
RANGE = "=QQIIQII"
CREATE = struct.pack("=IIII", os.O_RDWR | os.O_CREAT, 0o100644, 0o022, 0)
TIMES = 32 | 64 | 1024  # FATTR_MTIME, FATTR_FH, FATTR_CTIME


class Calls:
    """Requests of one file each, as the kernel would send them."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.answers = Answers(Operations(tree, lambda: b""))
        self.files: list[tuple[int, int]] = []

    def ask(self, opcode: int, node: int, body: bytes) -> bytes:
        """One request; its reply."""
        record = wire.HEADER.pack(wire.HEADER.size + len(body), opcode, 2, node, 0, 0, os.getpid()) + body
        handler = self.answers.by_opcode[opcode]
        assert handler is not None
        return handler(record, len(record), 2, node) or b""

    def create(self, number: int) -> None:
        """A new file, opened."""
        reply = self.ask(Op.CREATE, 1, CREATE + b"f%d\0" % number)
        self.files.append((wire.node_of(reply), wire.handle_of(reply)))

    def write(self, number: int) -> None:
        """Its content."""
        ino, handle = self.files[number]
        self.ask(Op.WRITE, ino, struct.pack(RANGE, handle, 0, 600, 0, 0, 0, 0) + b"x" * 600)

    def setattr(self, number: int) -> None:
        """Its times, as the kernel sends them."""
        ino, handle = self.files[number]
        body = struct.pack("=IIQQQQQQIIIIIIII", TIMES, 0, handle, 0, 0, 0, 1, 1, 0, number, 0, 0, 0, 0, 0, 0)
        self.ask(Op.SETATTR, ino, body)

    def read(self, number: int) -> None:
        """All of it."""
        ino, handle = self.files[number]
        self.ask(Op.READ, ino, struct.pack(RANGE, handle, 0, 4096, 0, 0, 0, 0))


def lap(name: str, call: Callable[[int], object], tree: Tree) -> None:
    best = float("inf")
    for number in range(LAPS):
        start = time.perf_counter()
        for each in range(number * EACH, (number + 1) * EACH):
            call(each)
        best = min(best, (time.perf_counter() - start) / EACH)
        keep_house(tree)
    print(f"| {name} | {best * 1e6:.1f} | {statistics.median(cold(call)) * 1e6:.1f} |")


def cold(call: Callable[[int], object]) -> list[float]:
    """Seconds of each."""
    seconds = []
    for number in range(LAPS * EACH, LAPS * EACH + COLD):
        OTHER.count(1)
        start = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - start)
    return seconds


def keep_house(tree: Tree) -> None:
    """What a daemon does beside its requests."""
    while (work := tree.tick()) is not None:
        while work is not None:
            work.run()
            work = work.apply()


def main() -> None:
    base = Path(tempfile.mkdtemp(prefix="vaultfs-calls-", dir="/var/tmp"))
    try:
        keys, device = VaultKeys(b"k" * 32, b"v" * 16), Device(b"d" * 16, "bench")
        create_store(base / "store", keys, device, uid=os.getuid(), gid=os.getgid())
        tree = open_store(base / "store", keys, device)
        tree.start_tracking()
        calls = Calls(tree)
        print("| request | µs | µs, cold |\n| --- | ---: | ---: |")
        lap("CREATE", calls.create, tree)
        lap("WRITE, 600 bytes", calls.write, tree)
        lap("SETATTR, times", calls.setattr, tree)
        lap("GETATTR", lambda number: calls.ask(Op.GETATTR, calls.files[number][0], bytes(16)), tree)
        lap("READ, 600 bytes", calls.read, tree)
        lap("LOOKUP", lambda number: calls.ask(Op.LOOKUP, 1, b"f%d\0" % number), tree)
        move = struct.pack("=QII", 1, 0, 0)
        lap("RENAME2", lambda number: calls.ask(Op.RENAME2, 1, move + b"f%d\0h%d\0" % (number, number)), tree)
        lap("UNLINK", lambda number: calls.ask(Op.UNLINK, 1, b"h%d\0" % number), tree)
        calls.create(0)
        ino = calls.files[-1][0]
        for offset in range(64):
            tree.content.write(ino, offset << 20, os.urandom(1 << 20))
        tree.flush()
        chance = random.Random(1)
        lap(
            "4 KiB read of a sealed block",
            lambda _: tree.content.read(ino, chance.randrange(1 << 14) << 12, 4096),
            tree,
        )
        lap(
            "where a block stands, asked anew",
            lambda number: tree.blocks.extents(ino, number % 1024, number % 1024),
            tree,
        )
        tree.close()
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
