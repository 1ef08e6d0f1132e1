"""What `adopt` and `unadopt` did, for a person."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from vaultfs.cli.output import console, plural, printable, say, size, warn
from vaultfs.daemon.paths import home_relative

if TYPE_CHECKING:
    from vaultfs.agents.adopting import Outcome
    from vaultfs.agents.leaving import Departed
    from vaultfs.agents.listing import AgentFact

SHOWN = 12


def plain(value: object) -> object:
    """For JSON: names that are not UTF-8 are shown with escapes, as everywhere."""

    def walk(item: Any) -> Any:
        if isinstance(item, str):
            return printable(item)
        if isinstance(item, dict):
            return {key: walk(one) for key, one in item.items()}
        return [walk(one) for one in item] if isinstance(item, list) else item

    return walk(msgspec.to_builtins(value))


def show(done: Outcome) -> None:
    """The outcome of `adopt`, or of its dry run."""
    would = "would be" if done.dry_run else "is"
    source, target = home_relative(done.source), home_relative(done.target)
    amount = f"{plural(done.files, 'file', 'files')}, {size(done.bytes)}"
    say(
        {
            "copied": f"{done.title} {would} in the vault: {target} ({amount}, compared byte for byte).",
            "joined": f"The vault has {done.title} already ({target}); nothing of {source} {would} copied over it.",
            "linked": f"The vault has {done.title} already ({target}); nothing is here yet.",
            "already": f"{done.title} is in the vault already: {target}.",
        }[done.how]
    )
    if done.linked and done.how != "already":
        say(f"{source} {would} a link to it.")
    if done.aside:
        say(f"The directory that was there {would} kept as {home_relative(done.aside)}; remove it when you are sure.")
    if done.how != "already" and not done.linked:
        say(f"Nothing leads there by itself. Start the agent with: vaultfs run {done.agent}, or set:\n  {done.export}")
    _list("Stay on this machine", done.stays)
    _list("Brought from the old directory, to stay on this machine", done.brought)
    _list("Left out", [f"{item.path} ({item.detail})" for item in done.left])
    shared = done.credentials == "shared"
    say(f"Files with its sign-ins {'travel' if shared else 'stay on each machine'}.")
    for link in done.links:
        if link.linked:
            say(f"{link.at} and {link.vault} are one." + (f" {link.detail}." if link.detail else ""))
        elif link.detail:
            say(f"{link.at} and {link.vault} are not one: {link.detail}.")
    for note in done.notes:
        warn(f"Note: {printable(note)}.")
    for pitfall in done.pitfalls:
        warn(f"Know: {pitfall}")


def show_departed(done: Departed) -> None:
    """The outcome of `unadopt`."""
    would = "would be" if done.dry_run else "is"
    amount = f"{plural(done.files, 'file', 'files')}, {size(done.bytes)}"
    say(f"{done.title} {would} in {home_relative(done.target)} again, a plain directory ({amount}).")
    if done.removed:
        say(f"{home_relative(done.source)} {would} removed from the vault, on all machines.")
    else:
        say(f"The vault keeps its copy, {home_relative(done.source)}, with its rules in .vaultignore (see --remove).")
    _list("Left out", [f"{item.path} ({item.detail})" for item in done.left])
    for note in done.notes:
        warn(f"Note: {printable(note)}.")


def show_list(found: list[AgentFact]) -> None:
    """The agents as a table."""
    from rich.table import Table  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415

    now = time.time()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("AGENT", "DIRECTORY", "STATE", "LAST WRITER"):
        table.add_column(heading, overflow="fold")
    for fact in found:
        writer = f"{fact.writer.device}, {_when(fact.writer.ts, now)}" if fact.writer else ""
        table.add_row(fact.agent, Text(home_relative(fact.directory)), _state(fact), Text(printable(writer)))
    console().print(table)


def _when(ts: str, now: float) -> str:
    """As a person says it; as it is, where a later vaultfs writes times in another way."""
    from vaultfs.cli.status_sync import since  # noqa: PLC0415 - it needs rich

    try:
        return since(ts, now)
    except ValueError:
        return ts


def _state(fact: AgentFact) -> str:
    if fact.linked:
        state = "in the vault"
    elif fact.in_vault:
        state = "in the vault, not linked here" if not fact.found else "in the vault, and another one here"
    else:
        state = "here, not in the vault" if fact.found else "not here"
    return f"{state}, runs (pid {fact.running[0]})" if fact.running else state


def _list(heading: str, items: list[str]) -> None:
    if items:
        more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
        say(f"{heading}: {', '.join(printable(item) for item in items[:SHOWN])}{more}.")
