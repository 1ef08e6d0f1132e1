"""`vaultfs doctor`: what would stop an agent from continuing here, and what mends it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from vaultfs.cli.adopt import complete_agent
from vaultfs.cli.options import json_option, pass_app, vault_option, verb
from vaultfs.cli.output import console, emit, plural, say
from vaultfs.errors import NotFitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultfs.agents.doctor.finding import Finding
    from vaultfs.agents.doctor.scene import Scene
    from vaultfs.cli.app import App
    from vaultfs.daemon.paths import VaultPlaces

_MARKS = {"ok": ("✓", "green"), "note": ("·", "dim"), "warning": ("!", "yellow"), "problem": ("✗", "bold red")}


@verb("doctor", examples=["doctor", "doctor hermes codex", "doctor --local --json"])
@click.argument("agents", nargs=-1, metavar="[AGENT]...", shell_complete=complete_agent)
@click.option("--local", is_flag=True, help="Ask the remote nothing.")
@click.option("--quiet", "-q", is_flag=True, help="Show only what is not well.")
@vault_option
@json_option
@pass_app
def command(app: App, agents: tuple[str, ...], local: bool, quiet: bool, vault: str | None, as_json: bool) -> None:
    """Look for everything that would stop an agent from continuing on this machine, and tell what mends it.

    Without AGENT all that are in the vault are looked at. Nothing is changed, but that a small object is written to the
    remote and removed again. With the vault not mounted, what is in it is not looked at.
    """
    from vaultfs.agents.doctor.examining import examine  # noqa: PLC0415 - not for --help
    from vaultfs.cli.waiting import Waiting  # noqa: PLC0415

    scene = _scene(app, agents, vault, local=local)
    waiting, started = Waiting("Looking", quiet=as_json), time.monotonic()
    try:
        found = list(examine(scene, lambda what: waiting.because(what, time.monotonic() - started)))
    finally:
        waiting.done()
    if as_json:
        emit(_facts(scene, found))
    else:
        _show([one for one in found if not quiet or one.severity not in {"ok", "note"}])
    count = sum(one.severity == "problem" for one in found)
    if count:
        raise NotFitError(problems=plural(count, "problem was", "problems were"))
    if not as_json:
        _sum_up(scene, found)


def _scene(app: App, agents: tuple[str, ...], vault: str | None, *, local: bool) -> Scene:
    from vaultfs.agents.doctor.scene import scene  # noqa: PLC0415 - not for --help
    from vaultfs.agents.profiles import profile, profiles  # noqa: PLC0415
    from vaultfs.daemon.report import report  # noqa: PLC0415

    for name in agents:
        profile(name, app.places)
    place = _vault(app, vault)
    return scene(
        app.places,
        place,
        None if place is None else report(place),
        remote="" if place is None else app.remote(place.name),
        local=local,
        environ=os.environ,
        known=profiles(app.places),
        named=agents,
    )


def _vault(app: App, vault: str | None) -> VaultPlaces | None:
    """The vault that is meant; None if there is none at all here. NoVaultError if one is named that is not."""
    if vault is None and not app.places.names():
        return None
    return app.vault(vault)


def _facts(scene: Scene, found: Sequence[Finding]) -> dict[str, object]:
    return {
        "vault": scene.name or None,
        "mountpoint": scene.mountpoint or None,
        "agents": list(scene.agents),
        "ok": not any(one.severity == "problem" for one in found),
        "findings": found,
    }


def _show(found: Sequence[Finding]) -> None:
    from rich.table import Table  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for one in found:
        mark, style = _MARKS[one.severity]
        text = Text(one.text)
        if one.mend is not None:
            text.append(f"\n  {one.mend}", style="cyan")
        table.add_row(Text(mark, style=style), f"{one.check} {one.agent or ''}".strip(), text)
    console().print(table)


def _sum_up(scene: Scene, found: Sequence[Finding]) -> None:
    warnings = sum(one.severity == "warning" for one in found)
    names = ", ".join(profile.title for profile in scene.agents.values())
    who = names or "An agent"
    if warnings:
        say(f"{who} can go on here; {plural(warnings, 'thing', 'things')} may be other than expected.")
    else:
        say(f"{who} can go on here.")
