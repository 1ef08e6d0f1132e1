"""Give a vault that is here a place to be published to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from vaultfs.cli.init import check_place
from vaultfs.cli.remotely import with_remote
from vaultfs.crypto.records import authenticated
from vaultfs.daemon.asking import is_mounted
from vaultfs.daemon.vault import header_update, read_header, write_header
from vaultfs.errors import BusyError, NotAVaultError, RemoteGoneError, RemoteTakenError, UsageError
from vaultfs.sync import header as headers

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.crypto.records import Header
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.remote import Remote


def set_remote(app: App, place: VaultPlaces, spec: str, wallet: str | None) -> bool:
    """Make `spec` a remote of the vault; True if it was not one yet. The settings are the caller's.

    RemoteTakenError if somebody else's is there; UsageError if the vault is published elsewhere and not here.
    """
    if is_mounted(place):
        raise BusyError(path=f"The vault '{place.name}'", detail="it is mounted; unmount it first")
    there = _vault_there(app, spec)
    mine = read_header(place)
    if there is not None:
        if there != mine.vault_id:
            raise RemoteTakenError(remote=spec, object="vault", detail="choose another place for this one")
        return False
    before = app.remote(place.name)
    if before and before != spec:
        detail = f"The vault is published to {before}; copy it to {spec} first: rclone copy {before} {spec}"
        raise UsageError(detail=detail)
    check_place(app, spec)
    _publish(app, place, spec, wallet)
    return True


def _vault_there(app: App, spec: str) -> bytes | None:
    try:
        return with_remote(app, spec, headers.read_headers).found[0].header.vault_id
    except (NotAVaultError, RemoteGoneError):
        return None


def _publish(app: App, place: VaultPlaces, spec: str, wallet: str | None) -> None:
    """The header as number 1: those before it are kept nowhere, and a machine that joins asks from 1 on."""
    with header_update(place):
        header, keys, _ = app.unlock(place, wallet)
        first: Header = authenticated(msgspec.structs.replace(header, number=1), keys.header())

        async def publish(remote: Remote) -> None:
            await remote.create()
            await headers.write_header(remote, 1, first)

        with_remote(app, spec, publish)
        write_header(place, first)
