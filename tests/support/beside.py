"""A vault served in the test's own process tree, with something beside it: for what needs both sides of the mount.

`python -m tests.support.beside STORE MOUNTPOINT MODULE:FUNCTION WORD...` serves the vault and runs
`await FUNCTION(tree, operations, place, words)`; the module may have `prepare(tree)` and `fetch(error)`. What they
say goes to the test, what the test says comes by `tests.support.talk`.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import trio

from tests.support.talk import say
from vaultfs.crypto.keys import VaultKeys
from vaultfs.fuse import session
from vaultfs.fuse.options import MountOptions
from vaultfs.tree import Device, create_store, open_store

KEYS, DEVICE = VaultKeys(b"k" * 32, b"v" * 16), Device(b"d" * 16, "test")


async def main(store: Path, mountpoint: str, which: str, words: list[str]) -> None:
    """Make the store if need be, serve it, and run the function beside it."""
    session.UNMOUNT_SECONDS = 2.0
    name, _, function = which.partition(":")
    module = importlib.import_module(name)
    for word in words:
        if word.startswith("-u"):
            # Only now: an ordinary user may not be able to read where Python and its modules are.
            uid, gid = map(int, word[2:].split(":"))
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
    if not os.path.exists(store):  # noqa: ASYNC240
        create_store(store, KEYS, DEVICE, uid=os.getuid(), gid=os.getgid())
    tree = open_store(store, KEYS, DEVICE, read_only=False)
    getattr(module, "prepare", lambda *_: None)(tree)
    stop = trio.Event()

    async def beside(operations: object, place: str) -> None:
        await getattr(module, function)(tree, operations, place, words)

    async def stop_by_signal() -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                stop.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_by_signal)
        await session.serve(
            tree,
            mountpoint,
            replace(
                MountOptions.parse([word.removeprefix("-o") for word in words if word.startswith("-o")]),
                lane=os.environ.get("VAULTFS_LANE", "both"),
            ),
            status=lambda: b"{}",
            ready=lambda: say(ready=True),
            stop=stop,
            fetch=getattr(module, "fetch", None),
            fetch_seconds=getattr(module, "FETCH_SECONDS", 60.0),
            beside=beside,
        )
        nursery.cancel_scope.cancel()
    say(ended=True)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
