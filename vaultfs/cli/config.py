"""`vaultfs config`: look at settings and change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from vaultfs.cli.options import json_option, pass_app, vault_option, verb
from vaultfs.cli.output import console, emit, say, warn
from vaultfs.daemon.settings import SETTINGS

if TYPE_CHECKING:
    from vaultfs.cli.app import App


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    del ctx, param
    return [CompletionItem(name, help=it.help) for name, it in SETTINGS.items() if name.startswith(incomplete)]


@click.group(
    "config",
    epilog="\b\nExamples:\n  vaultfs config list\n  vaultfs config set read_only true",
)
def command() -> None:
    """Show settings and where they come from, or change them in config.toml."""


@verb("list", examples=["config list", "config list --vault work --json"])
@vault_option
@json_option
@pass_app
def show_all(app: App, vault: str | None, as_json: bool) -> None:
    """List every setting, its value, and where that comes from."""
    meant = app.named(vault).name
    found = {name: app.config.find(name, vault=meant) for name in SETTINGS}
    if as_json:
        emit({name: {"value": it.value, "source": it.source} for name, it in found.items()})
        return
    from rich.table import Table  # noqa: PLC0415 - only for people

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("SETTING", "VALUE", "FROM", "WHAT IT DOES"):
        table.add_column(heading, overflow="fold")
    for name, it in found.items():
        table.add_row(name, _text(it.value), it.source, SETTINGS[name].help)
    console().print(table)
    say(f"\nFile: {app.places.config_file}")
    for wrong, right in app.config.unknown_variables().items():
        warn(f"{wrong} is set but means nothing; did you mean {right}?")


@verb("get", examples=["config get wallet", "config get remote --vault work"])
@click.argument("setting", shell_complete=_complete)
@vault_option
@json_option
@pass_app
def get(app: App, setting: str, vault: str | None, as_json: bool) -> None:
    """Print the value of SETTING."""
    found = app.config.find(setting, vault=app.named(vault).name)
    if as_json:
        emit({"setting": setting, "value": found.value, "source": found.source})
    else:
        say(_text(found.value))


@verb("set", examples=["config set umount_timeout 120", "config set wallet ssh-agent --vault work"])
@click.argument("setting", shell_complete=_complete)
@click.argument("value")
@vault_option
@pass_app
def put(app: App, setting: str, value: str, vault: str | None) -> None:
    """Set SETTING to VALUE in config.toml: for every vault, or for one with --vault."""
    if vault is not None:
        app.places.vault(vault)
    written = app.config.write(setting, value, vault=vault)
    meant = app.named(vault).name
    found = app.config.find(setting, vault=meant)
    if found.source == "environment":
        warn(f"{SETTINGS[setting].variable} is set and goes before what was written.")
    elif found.value != written:
        warn(f"The vault '{meant}' has its own setting, which goes before this: --vault {meant} changes that.")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


command.add_command(show_all)
command.add_command(get)
command.add_command(put)
