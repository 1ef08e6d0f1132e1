"""`vaultfs adopt`: bring an agent's state into the vault."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from vaultfs.cli.adopt_view import plain, show, show_list
from vaultfs.cli.mounted import mounted, mountpoint_option
from vaultfs.cli.options import any_path, json_option, pass_app, vault_option, verb
from vaultfs.cli.output import emit
from vaultfs.cli.progress import Bar
from vaultfs.errors import MountNeededError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from vaultfs.agents.adopting import Outcome
    from vaultfs.agents.looking import Plan
    from vaultfs.agents.profiles import Profile
    from vaultfs.cli.app import App

WORDS = {"copying": "Copying", "verifying": "Comparing"}


def complete_agent(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the agents."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only when the shell asks

    from vaultfs.agents.profiles import profiles  # noqa: PLC0415

    del ctx, param
    return [CompletionItem(name, help=item.title) for name, item in profiles().items() if name.startswith(incomplete)]


@verb(
    "adopt",
    examples=[
        "adopt --list",
        "adopt hermes --dry-run",
        "adopt hermes",
        "adopt codex --from /data/codex --no-link",
        "adopt --dir ~/.aider --env AIDER_HOME aider",
    ],
)
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_agent)
@click.option("--list", "listed", is_flag=True, help="Show the agents: where they are, who wrote last.")
@click.option("--from", "given", metavar="DIR", type=any_path, help="Its directory, if not the usual.")
@click.option("--dir", "own", metavar="DIR", type=any_path, help="An agent we do not know: its place.")
@click.option("--env", "variable", metavar="VAR", help="With --dir: the variable that says where its state is.")
@click.option("--dry-run", "-n", is_flag=True, help="Only say what would be done.")
@click.option("--link/--no-link", default=True, help="Put a link where its directory was (default), or leave that.")
@click.option("--share-credentials/--keep-credentials", "share", default=None, help="Whether sign-ins travel, too.")
@click.option("--follow/--no-follow", default=True, help="Link the vault's skills, memory, character (default).")
@vault_option
@mountpoint_option
@json_option
@pass_app
def command(
    app: App,
    *,
    name: str | None,
    listed: bool,
    given: str | None,
    own: str | None,
    variable: str | None,
    dry_run: bool,
    link: bool,
    share: bool | None,
    follow: bool,
    vault: str | None,
    mountpoint: str | None,
    as_json: bool,
) -> None:
    """Copy the state of the agent NAME into the vault, compare it byte for byte, and leave a link in its place.

    The old directory is kept beside it, and never deleted by vaultfs. What must not travel (pid files, logs; sign-ins,
    unless you share them) stays on this machine. Where the vault has the agent already, nothing is copied.
    """
    from vaultfs.agents import adopting, looking  # noqa: PLC0415 - not for --help
    from vaultfs.agents.introducing import introduce  # noqa: PLC0415

    if listed:
        _list(app, mountpoint, vault, as_json=as_json)
        return
    profile = _profile(app, name, own, variable)
    here = mounted(app, mountpoint, vault)
    wish = looking.Wish(
        profile, here.mountpoint, os.environ, given if own is None else own, link=link, share=share, follow=follow
    )
    plan = looking.look(wish)
    if dry_run:
        done = adopting.outcome_of(plan, dry_run=True)
    else:
        if own is not None:
            from vaultfs.agents.profiles import write_own  # noqa: PLC0415 - rarely

            write_own(app.places, profile)
        done = _carry_out(plan, quiet=as_json)
        if here.device is not None:
            introduce(here.mountpoint, here.device, agent=profile.name)
    if as_json:
        emit(plain(done))
    else:
        show(done)


def _profile(app: App, name: str | None, own: str | None, variable: str | None) -> Profile:
    from vaultfs.agents import profiles  # noqa: PLC0415 - not for --help

    if name is None:
        raise UsageError(detail="Name an agent, or see which there are with: vaultfs adopt --list")
    if own is None and variable is None:
        return profiles.profile(name, app.places)
    if own is None or variable is None:
        raise UsageError(detail="--dir and --env go together: where its state is, and the variable that says so")
    return profiles.unknown(name, own, variable)


def _carry_out(plan: Plan, *, quiet: bool) -> Outcome:
    from vaultfs.agents import adopting  # noqa: PLC0415 - not for --help

    with Bar("Copying", quiet=quiet) as bar:

        def step(what: str, count: int) -> None:
            bar.update(count, plan.survey.bytes, WORDS.get(what))

        return adopting.carry_out(plan, step)


def _list(app: App, mountpoint: str | None, vault: str | None, *, as_json: bool) -> None:
    from vaultfs.agents.listing import listing  # noqa: PLC0415 - not for --help
    from vaultfs.agents.profiles import profiles  # noqa: PLC0415

    try:
        place: str | None = mounted(app, mountpoint, vault, writable=False).mountpoint
    except MountNeededError:
        place = None
    found = listing(profiles(app.places), place, os.environ)
    if as_json:
        emit(plain(found))
    else:
        show_list(found)
