"""`vaultfs sync`: commit, publish and follow now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vaultfs.cli.options import json_option, pass_app, vault_option, verb
from vaultfs.cli.output import emit, say, warn
from vaultfs.cli.publishing import ask_with_bar, outcome, waiting

if TYPE_CHECKING:
    from vaultfs.cli.app import App


@verb("sync", examples=["sync", "sync --wait", "sync --vault work --wait --json"])
@click.option("--wait", is_flag=True, help="Return when all that was written until now is on the remote.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="How long to wait (sync_timeout).")
@vault_option
@json_option
@pass_app
def command(app: App, *, wait: bool, timeout: float | None, vault: str | None, as_json: bool) -> None:
    """Commit what was changed, look what other machines have, and publish, without waiting for the next time.

    The vault must be mounted. What was written in programs that still have the file open comes along.
    """
    from vaultfs.daemon.asking import PublishRequest  # noqa: PLC0415 - not for --help

    place = app.vault(vault)
    seconds = app.config.number("sync_timeout", flag=timeout, vault=place.name)
    ask_with_bar(place, "/publish", PublishRequest(wait, seconds), seconds, quiet=as_json)
    found = outcome(place)
    if as_json:
        emit(found)
    elif wait:
        say("Everything that was written here is on the remote.")
        for line in waiting(place):
            warn(line)
    else:
        say("Publishing has begun; `vaultfs sync --wait` tells when it is done.")
