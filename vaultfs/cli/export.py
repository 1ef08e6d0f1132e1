"""`vaultfs export`: the whole vault as a plain directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vaultfs.cli.options import any_path, json_option, pass_app, verb
from vaultfs.cli.remotely import Reader, at_option, reading
from vaultfs.cli.restore import write

if TYPE_CHECKING:
    from vaultfs.cli.app import App


@verb(
    "export",
    examples=["export ~/plain", "export ~/plain --remote drive:agent-vault --wallet keyfile:id.json"],
)
@click.argument("directory", metavar="DIR", type=any_path)
@at_option
@reading
@json_option
@pass_app
def command(
    app: App,
    *,
    directory: str,
    at: str | None,
    vault: str | None,
    wallet: str | None,
    remote: str | None,
    as_json: bool,
) -> None:
    """Decrypt the whole vault from the remote into the new or empty directory DIR. Needs no mount and no FUSE.

    The vault need not be on this machine: --remote and --wallet are enough.
    """
    write(Reader(app, vault=vault, wallet=wallet, remote=remote), (), at, directory, as_json=as_json)
