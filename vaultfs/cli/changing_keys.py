"""Change the keys of a vault here and on its remote, so that no two machines change them apart from each other."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultfs.cli.remotely import with_remote
from vaultfs.daemon.vault import header_update, opener, write_header
from vaultfs.sync import header as headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.cli.app import App
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.remote import Remote


@dataclass
class Change:
    """The newest header, to be changed by `write`."""

    header: Header
    keys: VaultKeys
    _app: App
    _place: VaultPlaces
    _remote: str

    def write(self, header: Header) -> None:
        """On the remote first: RemoteTakenError if another machine was faster, and then nothing is changed here."""
        if self._remote:

            async def publish(remote: Remote) -> None:
                await headers.write_header(remote, header.number, header)

            with_remote(self._app, self._remote, publish)
        write_header(self._place, header)


@contextmanager
def changing(app: App, place: VaultPlaces, wallet: str | None) -> Iterator[Change]:
    """The vault's newest header, unlocked. With a remote it is the remote's, so that must answer: RemoteError."""
    spec = app.remote(place.name)
    with header_update(place):
        header, keys, _ = app.unlock(place, wallet)
        if spec:

            async def newest(remote: Remote) -> headers.Headers:
                return await headers.read_headers(remote, vault_id=header.vault_id)

            found = with_remote(app, spec, newest)
            if any(one.header.epoch > keys.epoch for one in found.found):
                # A device was removed elsewhere: the wallet opens the new keys, or those that are here stay.
                # HeaderDamagedError if it opens others, that do not go on from those.
                _, newer = found.unlock(opener(app.signer(place, wallet), place.name), known=keys, strict=True)
                keys = newer if newer.continues(keys) else keys
            there, _ = found.unlock(lambda _header, _path: keys, known=keys)
            if (there.header.epoch, there.number) > (header.epoch, header.number):
                header = there.header
                write_header(place, header)
        yield Change(header, keys, app, place, spec)
