"""A small vault served by vaultfs.fuse.session, for tests/mounted/test_handshake_session.py.

Arguments: store, mount point, and words: `plain` (no handshake), `like-5.15` or `like-5.4` (only what such a kernel
offers), `fails` (once the kernel has been answered), mount options. Prints one JSON line when it serves and
one when it has ended; SIGTERM stops it.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import trio

from vaultfs.crypto.keys import VaultKeys
from vaultfs.errors import MountFailedError, VaultfsError
from vaultfs.fuse import handshake, protocol, session
from vaultfs.fuse.options import MountOptions
from vaultfs.tree import Device, create_store, open_store

# The flags of INIT in include/uapi/linux/fuse.h of those versions.
OFFERED = {"like-5.15": (1 << 30) - 1, "like-5.4": (1 << 26) - 1}


def offer_only(flags: int) -> None:
    """The kernel's INIT comes without all other flags, and so without the second word of them."""
    read = handshake.read_request

    def older(device: int) -> bytes:
        record = bytearray(read(device))
        offered = struct.unpack_from("=I", record, 52)[0] & flags
        struct.pack_into("=I", record, 52, offered)
        del record[56:]
        struct.pack_into("=I", record, 0, len(record))
        return bytes(record)

    handshake.read_request = older


def say(**facts: object) -> None:
    """One line for the parent."""
    print(json.dumps(facts), flush=True)  # noqa: T201


def fail(_: object) -> NoReturn:
    """In the place of something that comes once the kernel has been answered."""
    raise MountFailedError(path="m", detail="a test", log="a")


async def main(store: Path, mountpoint: str, words: list[str]) -> None:
    """Make the store if need be, and serve it."""
    keys, device = VaultKeys(b"k" * 32, b"v" * 16), Device(b"d" * 16, "test")
    if not os.path.exists(store):  # noqa: ASYNC240
        create_store(store, keys, device, uid=os.getuid(), gid=os.getgid())
    kernels = [word for word in words if word.startswith("like-")]
    for one in kernels:
        offer_only(OFFERED[one])
    own = {"plain", "fails", *kernels}
    options = MountOptions.parse([word for word in words if word not in own])
    options = replace(options, lane=os.environ.get("VAULTFS_LANE", "both"))
    if "fails" in words:
        protocol.missing = fail
    if "plain" in words:
        options = replace(options, handshake=False)
    session.UNMOUNT_SECONDS = 1.0
    tree = open_store(store, keys, device, read_only=options.read_only)
    stop, report = trio.Event(), session.MountReport()

    async def stop_by_signal() -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                stop.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_by_signal)
        await session.serve(
            tree,
            mountpoint,
            options,
            status=lambda: json.dumps({"counted": len(report.way)}).encode(),
            ready=lambda: say(
                way=report.way,
                detail=report.detail,
                missing=report.missing,
                lane=report.lane is not None,
                notes=report.notes,
                clean=tree.startup.clean,
            ),
            stop=stop,
            report=report,
        )
        nursery.cancel_scope.cancel()
    say(ended=True)


if __name__ == "__main__":
    try:
        trio.run(main, Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    except* VaultfsError as group:
        say(error=type(group.exceptions[0]).__name__)
