"""`vaultfs unadopt`: an agent's state in a plain directory again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from vaultfs.cli.adopt import WORDS, complete_agent
from vaultfs.cli.adopt_view import plain, show_departed
from vaultfs.cli.mounted import mounted, mountpoint_option
from vaultfs.cli.options import any_path, json_option, pass_app, vault_option, verb
from vaultfs.cli.output import emit
from vaultfs.cli.progress import Bar

if TYPE_CHECKING:
    from vaultfs.cli.app import App


@verb("unadopt", examples=["unadopt hermes", "unadopt codex --remove", "unadopt claude --to ~/claude-copy --json"])
@click.argument("name", shell_complete=complete_agent)
@click.option("--to", metavar="DIR", type=any_path, help="Where to, if not its usual directory.")
@click.option("--remove", is_flag=True, help="Remove the vault's copy too, on all machines.")
@click.option("--dry-run", "-n", is_flag=True, help="Only say what would be done.")
@vault_option
@mountpoint_option
@json_option
@pass_app
def command(
    app: App,
    *,
    name: str,
    to: str | None,
    remove: bool,
    dry_run: bool,
    vault: str | None,
    mountpoint: str | None,
    as_json: bool,
) -> None:
    """Copy the state of the agent NAME out of the vault, compare it, and put it where the link to the vault is.

    The vault keeps its copy and the rules for it, for other machines, unless you say --remove.
    """
    from vaultfs.agents import leaving  # noqa: PLC0415 - not for --help
    from vaultfs.agents.introducing import others_with, take_leave  # noqa: PLC0415
    from vaultfs.agents.profiles import profile  # noqa: PLC0415

    here = mounted(app, mountpoint, vault)
    departure = leaving.plan(profile(name, app.places), here.mountpoint, os.environ, to=to, remove=remove)
    if dry_run:
        done = leaving.survey(departure)
    else:
        others = others_with(here.mountpoint, here.device, name) if here.device is not None else []
        with Bar("Copying", quiet=as_json) as bar:
            done = leaving.carry_out(
                departure, others=others, step=lambda what, count: bar.update(count, None, WORDS.get(what))
            )
        if here.device is not None:
            take_leave(here.mountpoint, here.device, agent=name)
    if as_json:
        emit(plain(done))
    else:
        show_departed(done)
