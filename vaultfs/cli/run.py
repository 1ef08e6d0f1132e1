"""`vaultfs run`: start an agent with its state in the vault."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from vaultfs.cli.adopt import complete_agent
from vaultfs.cli.mounted import USUAL, mounted, mountpoint_option
from vaultfs.cli.options import pass_app, vault_option, verb
from vaultfs.cli.output import warn
from vaultfs.cli.publishing import ask_with_bar, waiting
from vaultfs.errors import MountNeededError, VaultfsError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.cli.mounted import Here


@verb(
    "run",
    examples=[
        "run hermes -- chat --continue",
        "run codex --no-handoff -- exec resume --last --all 'go on'",
        "run claude --mount --mountpoint ~/agent-vault",
    ],
)
@click.argument("name", shell_complete=complete_agent)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGS...]")
@click.option("--handoff/--no-handoff", default=True, help="When it ends, wait until all is on the remote (default).")
@click.option("--program", metavar="PROGRAM", help="Start this instead of the program on the PATH.")
@click.option("--mount", "mounting", is_flag=True, help=f"Mount the vault first if it is not (on {USUAL}).")
@vault_option
@mountpoint_option
@pass_app
@click.pass_context
def command(
    ctx: click.Context,
    app: App,
    *,
    name: str,
    arguments: tuple[str, ...],
    handoff: bool,
    program: str | None,
    mounting: bool,
    vault: str | None,
    mountpoint: str | None,
) -> int:
    """Start the agent NAME with its state in the vault, and hand off when it ends.

    Says so before if another machine wrote its state just now, or has it open. Ends with the agent's exit code; with
    that of `handoff` if the agent ended with 0 and not everything is on the remote.
    """
    from vaultfs.agents import starting  # noqa: PLC0415 - not for --help
    from vaultfs.agents.introducing import introduce  # noqa: PLC0415
    from vaultfs.agents.profiles import profile  # noqa: PLC0415
    from vaultfs.daemon.presence import warnings_at  # noqa: PLC0415

    agent = profile(name, app.places)
    words = starting.command_line(agent, arguments, program)
    here = _here(ctx, app, mountpoint, vault, mounting=mounting)
    directory = starting.prepare(agent, here.mountpoint, os.environ)
    for sentence in warnings_at(here.mountpoint, agent.name):
        warn(f"Warning: {sentence}")
    if here.device is not None:
        introduce(here.mountpoint, here.device, agent=agent.name, project=os.getcwd())  # noqa: PTH109 - text
    code = starting.run(agent, directory, words, os.environ)
    if handoff and app.remote(here.place.name):
        return _hand_off(app, here, code)
    return code


def _here(ctx: click.Context, app: App, mountpoint: str | None, vault: str | None, *, mounting: bool) -> Here:
    try:
        return mounted(app, mountpoint, vault)
    except MountNeededError:
        if not mounting:
            raise
    from vaultfs.cli.mount import command as mount  # noqa: PLC0415 - rarely

    ctx.invoke(mount, mountpoint=os.path.expanduser(mountpoint or USUAL), vault=vault)  # noqa: PTH111 - text
    return mounted(app, mountpoint, vault)


def _hand_off(app: App, here: Here, code: int) -> int:
    """The exit code, once everything is published or cannot be."""
    from vaultfs.daemon.asking import HandoffRequest  # noqa: PLC0415 - not for --help

    seconds = app.config.number("sync_timeout", vault=here.place.name)
    try:
        ask_with_bar(here.place, "/handoff", HandoffRequest(seconds), seconds, quiet=False)
    except VaultfsError as error:
        if code == 0:
            raise
        warn(f"vaultfs: {error.message}")
        return code
    for sentence in waiting(here.place):
        warn(sentence)
    warn("Safe to open elsewhere: everything that was written here is on the remote.")
    return code
