"""Commits as they lie on a remote, one after the other, written into plain directories."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from vaultfs.crypto.slots import unlock
from vaultfs.format.node import Dot
from vaultfs.remote import open_remote
from vaultfs.sync.archive import Archive
from vaultfs.sync.header import read_headers
from vaultfs.sync.restoring import restore
from vaultfs.sync.walking import Snapshot
from vaultfs.wallet.keyfile import KeyFileSigner

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.format.head import Head

    Visit = Callable[[Head, Path, bool], None]


def visit_commits(vault: Path, key: Path, label: str, visit: Visit, *, after: int = 0) -> list[int]:
    """Write every commit of the machine `label` that lies in the directory `vault` into a directory, and show it.

    `visit` gets the head, the directory, and whether it is a commit of the working tree (a cut, no merge). Only those
    with numbers above `after`; their numbers are returned. What `visit` raises goes on.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        return trio.run(partial(_visit, vault, key, label, visit, after, Path(scratch)))


async def _visit(vault: Path, key: Path, label: str, visit: Visit, after: int, scratch: Path) -> list[int]:
    runtime = scratch / "runtime"
    runtime.mkdir(0o700)
    async with open_remote(str(vault), runtime) as remote:
        signer = KeyFileSigner(key)
        headers = await read_headers(remote)
        _, keys = headers.unlock(lambda header, path: unlock(header, signer, name="vault", path=path))
        archive = Archive(remote, keys)
        await archive.look()
        device = await archive.device(label)
        numbers = [number for number in archive.numbers[device] if number > after]
        for number in numbers:
            head = await archive.head(device, number)
            await archive.use(head)
            await trio.to_thread.run_sync(_show, archive, head, scratch / "tree", visit)
    return numbers


def _show(archive: Archive, head: Head, target: Path, visit: Visit) -> None:
    snapshot = Snapshot(archive.nodes(), head.root)
    own = Dot(head.device, head.number)
    cut = any(found.item.element.version == own for found in snapshot.walk(snapshot.top))
    done = restore(snapshot, archive.source(), (), str(target))
    try:
        assert not done.failures, f"commit {head.number}: {done.failures}"
        visit(head, target, cut)
    finally:
        shutil.rmtree(target)
