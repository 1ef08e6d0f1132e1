"""The mounted vault that a verb about agents works in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import click

from vaultfs.cli.options import any_path
from vaultfs.daemon.paths import home_relative
from vaultfs.errors import MountNeededError, NotMountedError, UsageError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.daemon.status import DeviceFact

USUAL = "~/agent-vault"

mountpoint_option = click.option(
    "--mountpoint", metavar="DIR", type=any_path, help="Where the vault is mounted, if several are."
)


class Here(NamedTuple):
    """A vault, where it is mounted (resolved), and who this machine is in it (None: it does not say)."""

    place: VaultPlaces
    mountpoint: str
    device: DeviceFact | None


def mounted(app: App, mountpoint: str | None, vault: str | None, *, writable: bool = True) -> Here:
    """The mount that is meant, or the only one. MountNeededError, UsageError."""
    from vaultfs.daemon import unmounting  # noqa: PLC0415 - not for --help
    from vaultfs.daemon.report import report  # noqa: PLC0415

    named = vault or (app.config.text("vault") if app.config.find("vault").source != "default" else None)
    try:
        found = unmounting.find(app.places, mountpoint, named)
    except NotMountedError as error:
        raise needed(mountpoint, vault) from error
    if found.vault is None or found.holder is None:
        raise needed(found.mountpoint, vault)
    if writable and found.holder.read_only:
        raise UsageError(detail=f"The vault at {home_relative(found.mountpoint)} is mounted read-only")
    return Here(found.vault, os.path.realpath(found.mountpoint), report(found.vault).device)


def needed(mountpoint: str | None, vault: str | None) -> MountNeededError:
    """The error that says how to mount it."""
    command = f"vaultfs mount {home_relative(mountpoint or USUAL)}" + (f" --vault {vault}" if vault else "")
    what = f"The vault '{vault}'" if vault else "A vault"
    return MountNeededError(what=what, command=command)
