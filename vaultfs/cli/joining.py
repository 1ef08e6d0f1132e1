"""Make this machine a device of a vault that others have published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from vaultfs.cli.output import warn
from vaultfs.cli.waiting import Waiting
from vaultfs.errors import VaultfsError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.remote import Remote
    from vaultfs.sync.header import Headers


def join(app: App, vault: VaultPlaces, *, wallet: str | None, remote: str) -> tuple[VaultKeys, dict[str, object]]:
    """Unlock the vault that is on `remote`, make its directory here, and record wallet and remote.

    Returns its keys, and what was made. The remote is read in a process of its own: the daemon is forked from this
    one, which must not have had threads. Nothing is left behind if it fails.
    """
    from vaultfs.daemon import vault as vaults  # noqa: PLC0415 - not for --help
    from vaultfs.daemon.aside import aside  # noqa: PLC0415

    line = Waiting(f"Looking at {remote}")
    try:
        headers = _decode(aside(lambda: _read(app, remote), line))
    finally:
        line.done()
    signer = app.signer(vault, wallet)
    found, keys = headers.unlock(vaults.opener(signer, vault.name))
    for error in headers.refused:
        warn(f"Passed over: {error.message}")
    vaults.join(vault, found.header, keys, label=app.config.text("device_label", vault=vault.name))
    spec = app.config.text("wallet", flag=wallet, vault=vault.name)
    try:
        if spec and spec != vaults.WORDS:
            app.config.write("wallet", app.absolute(spec), vault=vault.name)
        app.config.write("remote", remote, vault=vault.name)
    except (VaultfsError, OSError) as error:
        warn(f"The settings could not be written ({error}); say --wallet and --remote when you mount.")
    return keys, {
        "vault": vault.name,
        "vault_id": found.header.vault_id.hex(),
        "path": str(vault.root),
        "wallet": signer.address if signer else None,
        "remote": remote,
        "joined": True,
    }


def _read(app: App, spec: str) -> bytes:
    from vaultfs.cli.remotely import with_remote  # noqa: PLC0415 - in the other process only
    from vaultfs.sync.header import read_headers  # noqa: PLC0415

    async def read(remote: Remote) -> bytes:
        return _encode(await read_headers(remote))

    return with_remote(app, spec, read)


def _encode(headers: Headers) -> bytes:
    from vaultfs.daemon.asking import encode_error  # noqa: PLC0415 - in the other process only
    from vaultfs.format.header import encode_header  # noqa: PLC0415

    found = [(one.number, one.path, encode_header(one.header)) for one in headers.found]
    return msgspec.msgpack.encode(_Plain(found, [encode_error(error) for error in headers.refused]))


def _decode(data: bytes) -> Headers:
    from vaultfs.daemon.asking import Told, error_of  # noqa: PLC0415 - not for --help
    from vaultfs.format.header import decode_header  # noqa: PLC0415
    from vaultfs.sync.header import Headers  # noqa: PLC0415
    from vaultfs.sync.header_chain import Found  # noqa: PLC0415

    plain = msgspec.msgpack.decode(data, type=_Plain)
    found = [Found(number, decode_header(header, path=path), path) for number, path, header in plain.found]
    return Headers(found, [error_of(msgspec.json.decode(told, type=Told)) for told in plain.refused])


class _Plain(msgspec.Struct):
    """Headers on their way through a pipe: number, path, bytes; and the errors of those that are no use."""

    found: list[tuple[int, str, bytes]]
    refused: list[bytes]
