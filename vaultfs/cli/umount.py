"""`vaultfs umount`: take a mount away, safely."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vaultfs.cli.options import json_option, pass_app, vault_option, verb
from vaultfs.cli.output import emit, say
from vaultfs.cli.waiting import Waiting
from vaultfs.daemon.paths import home_relative

if TYPE_CHECKING:
    from vaultfs.cli.app import App


@verb("umount", examples=["umount ~/agent-vault", "umount", "umount ~/agent-vault --timeout 300"])
@click.argument("target", metavar="[MOUNTPOINT|VAULT]", required=False)
@vault_option
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="How long to wait.")
@click.option("--force", is_flag=True, help="Do not wait for open files; unsaved data may be lost.")
@json_option
@pass_app
def command(
    app: App, *, target: str | None, vault: str | None, timeout: float | None, force: bool, as_json: bool
) -> None:
    """Unmount: waits until nothing is open, and everything is saved and published.

    When it returns 0, the vault is closed and complete on this machine, and on its remote if it has one. If the
    remote does not take it, it ends with 40: all is kept here, and the next mount publishes it.
    """
    from vaultfs.daemon import unmounting  # noqa: PLC0415 - not for --help

    named = vault or (app.config.text("vault") if app.config.find("vault").source != "default" else None)
    found = unmounting.find(app.places, target, named)
    name = found.vault.name if found.vault else None
    line = Waiting(f"Waiting for {home_relative(found.mountpoint)}", quiet=as_json)
    try:
        unmounting.unmount(
            found,
            seconds=app.config.number("umount_timeout", flag=timeout, vault=name),
            force=force,
            waiting=line.because,
        )
    finally:
        line.done()
    if as_json:
        emit({"mountpoint": found.mountpoint, "vault": name, "was_dead": found.holder is None})
    elif found.holder is None:
        say(f"Removed the dead mount at {home_relative(found.mountpoint)}.")
    elif force:
        say(f"The vault '{name}' is unmounted; files that were open may lack their last changes.")
    else:
        published = name is not None and app.remote(name) and not found.holder.read_only
        say(f"The vault '{name}' is unmounted; everything is saved{' and published' if published else ''}.")
