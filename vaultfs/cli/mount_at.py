"""`vaultfs mount --at`: an older commit as a read-only directory, beside the mount of the vault itself.

It has a store of its own, made for it and removed with it: what is read is fetched into there.
"""

from __future__ import annotations

import secrets
import shutil
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from vaultfs.cli.waiting import Waiting
from vaultfs.errors import NoRemoteError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.daemon.job import Job
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.remote import Remote


class Pinned(NamedTuple):
    """The keys of the vault, the address of the wallet, and what the commit is called."""

    keys: VaultKeys
    address: str
    commit: str


def pin(app: App, job: Job, at: str, wallet: str | None) -> Pinned:
    """Turn `job` into one that shows the commit that `at` names. NoSuchCommitError, RemoteError."""
    from vaultfs.daemon import vault as vaults  # noqa: PLC0415 - not for --help
    from vaultfs.daemon.aside import aside  # noqa: PLC0415

    place = app.places.existing(job.vault.name)
    if not job.remote:
        raise NoRemoteError(name=place.name)
    header, keys, address = app.unlock(place, wallet)
    line = Waiting(f"Looking at {job.remote}")
    try:
        found = aside(lambda: _find(app, place, job.remote, header, keys, at), line)
    finally:
        line.done()
    device, number, name = msgspec.msgpack.decode(found, type=tuple[bytes, int, str])
    _sweep(app, place)
    job.vault = app.places.temporary(place.name, secrets.token_hex(8))
    vaults.join(job.vault, header, keys, label=vaults.read_device(place, keys).label)
    job.pinned = device, number
    return Pinned(keys, address, name)


def unpin(job: Job) -> None:
    """The mount did not come about."""
    if job.pinned is not None:
        shutil.rmtree(job.vault.root, ignore_errors=True)


def _find(app: App, place: VaultPlaces, spec: str, header: Header, keys: VaultKeys, at: str) -> bytes:
    from vaultfs.cli.recall import Recall, is_exact  # noqa: PLC0415 - in the other process only
    from vaultfs.cli.remotely import commit_at, with_remote  # noqa: PLC0415

    recall = Recall(place, keys, strict=spec == app.remote(place.name))

    async def find(remote: Remote) -> bytes:
        archive = await recall.archive(remote, keys, header, strict=not is_exact(at))
        head = await commit_at(archive, at)
        return msgspec.msgpack.encode((head.device, head.number, archive.name_of(head)))

    return with_remote(app, spec, find)


def _sweep(app: App, place: VaultPlaces) -> None:
    """Remove what a daemon left that was killed."""
    from vaultfs.daemon.lock import wait_until_free  # noqa: PLC0415 - only here

    for other in app.places.temporaries():
        if other.name == place.name and other.lock.exists() and wait_until_free(other, 0):
            shutil.rmtree(other.root, ignore_errors=True)
