"""`vaultfs status`: how a vault is."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from vaultfs.cli.options import json_option, pass_app, vault_option, verb
from vaultfs.cli.output import console, emit, say

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vaultfs.cli.app import App
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.daemon.status import Status


@verb("status", examples=["status", "status --watch", "status --vault work --json"])
@vault_option
@json_option
@click.option("--watch", "-w", is_flag=True, help="Keep showing it until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(min=0.1), default=1.0, help="Seconds between two looks.")
@pass_app
def command(app: App, vault: str | None, as_json: bool, watch: bool, interval: float) -> None:
    """Show a vault: where it is mounted, what is in it, what is open, whether it is well.

    The same JSON is in the file .vaultfs/status in the mount.
    """
    place = app.vault(vault)
    if not watch:
        found = _look(app, place)
        if as_json:
            emit(found)
        else:
            console().print(_picture(found, _others(app, place)))
        return
    with suppress(KeyboardInterrupt):  # the way to end it, no accident
        if as_json or not sys.stdout.isatty():
            _stream(app, place, interval)
        _live(app, place, interval)


def _look(app: App, place: VaultPlaces) -> Status:
    from vaultfs.daemon.report import report  # noqa: PLC0415 - not for --help

    return report(place, remote=app.config.text("remote", vault=place.name))


def _others(app: App, place: VaultPlaces) -> list[str]:
    return [name for name in app.places.names() if name != place.name]


def _stream(app: App, place: VaultPlaces, interval: float) -> None:
    """One line of JSON for each look."""
    import msgspec  # noqa: PLC0415 - only here

    while True:
        say(msgspec.json.encode(_look(app, place)).decode())
        sys.stdout.flush()
        time.sleep(interval)


def _live(app: App, place: VaultPlaces, interval: float) -> None:
    from rich.live import Live  # noqa: PLC0415 - only here

    with Live(_picture(_look(app, place), []), console=console(), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(interval)
            live.update(_picture(_look(app, place), []), refresh=True)


def _picture(found: Status, others: list[str]) -> RenderableType:
    from vaultfs.cli.status_view import view  # noqa: PLC0415 - rich is only for people

    return view(found, others, now=time.time())
