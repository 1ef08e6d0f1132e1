"""`vaultfs conflicts`: versions that are kept and not in place."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import click
import trio

from vaultfs.cli.options import json_option, pass_app, vault_option, verb
from vaultfs.cli.output import console, emit, plural, say, size
from vaultfs.cli.remotely import Reader, commit_at, reading
from vaultfs.errors import UsageError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.daemon.asking import ConflictFact
    from vaultfs.sync.archive import Archive
    from vaultfs.sync.decisions import Kept


@click.group(
    "conflicts",
    invoke_without_command=True,
    epilog="\b\nExamples:\n  vaultfs conflicts\n  vaultfs conflicts show 3f2a91c0 > theirs.md\n"
    "  vaultfs conflicts keep 3f2a91c0",
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List, look at and end conflicts: what two machines wrote in one place without knowing of each other.

    One version is in place, the newest; the others are conflicts. Nothing of them is ever lost by itself.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show_all, vault=None, wallet=None, remote=None, as_json=False)


@verb("list", examples=["conflicts list", "conflicts list --vault work --json"])
@reading
@json_option
@pass_app
def show_all(app: App, *, vault: str | None, wallet: str | None, remote: str | None, as_json: bool) -> None:
    """List the conflicts: of this machine's tree if the vault is mounted, else of the newest commit on the remote."""
    from vaultfs.daemon.asking import ConflictFact, is_mounted, query  # noqa: PLC0415 - not for --help

    reader = Reader(app, vault=vault, wallet=wallet, remote=remote)
    if is_mounted(reader.place) and remote is None:
        found = query(reader.place, "/conflicts", list[ConflictFact])
    else:
        found = reader.archive(_facts)
    if as_json:
        emit(found)
    elif found:
        _show(found)
    else:
        say("There are no conflicts.")


@verb("show", examples=["conflicts show 3f2a91c0 > theirs.md", "conflicts show 3f2a91c0 --to /tmp/theirs"])
@click.argument("name")
@click.option("--to", "target", metavar="DIR", help="Write it there, under its own name; whole, if it is a unit.")
@reading
@pass_app
def show(app: App, *, name: str, target: str | None, vault: str | None, wallet: str | None, remote: str | None) -> None:
    """Print the conflict NAME (the start of it, as `conflicts list` shows it), or write it into a directory.

    It is read from the remote: both versions are there when another machine knows of the conflict.
    """
    reader = Reader(app, vault=vault, wallet=wallet, remote=remote)
    reader.archive(partial(_print, name=name, target=target))


@verb("keep", examples=["conflicts keep 3f2a91c0"])
@click.argument("name")
@vault_option
@pass_app
def keep(app: App, name: str, vault: str | None) -> None:
    """Put the conflict NAME in place. What is there now is given up; older commits still have it for a while."""
    _decide(app, vault, name, keep=True)
    say("It is in place now.")


@verb("drop", examples=["conflicts drop 3f2a91c0"])
@click.argument("name")
@vault_option
@pass_app
def drop(app: App, name: str, vault: str | None) -> None:
    """Give the conflict NAME up; older commits still have it for a while."""
    _decide(app, vault, name, keep=False)
    say("It is given up.")


def _decide(app: App, vault: str | None, name: str, *, keep: bool) -> None:
    from vaultfs.daemon.asking import DecisionRequest, ask  # noqa: PLC0415 - not for --help

    ask(app.vault(vault), "/conflicts", DecisionRequest(name, keep))


async def _kept(archive: Archive) -> list[Kept]:
    """The conflicts that there are."""
    from vaultfs.sync.conflicts import conflicts  # noqa: PLC0415 - not for --help
    from vaultfs.sync.decisions import Kept, name_of  # noqa: PLC0415

    head = await commit_at(archive, None)
    nodes = archive.nodes()
    found = await trio.to_thread.run_sync(lambda: list(conflicts(nodes, head.root)), abandon_on_cancel=True)
    return [
        Kept(name_of(conflict), conflict) for conflict in sorted(found, key=lambda one: (one.path, one.element.time))
    ]


async def _facts(archive: Archive) -> list[ConflictFact]:
    from vaultfs.daemon.elements import conflict_fact  # noqa: PLC0415 - not for --help

    labels = {head.device: head.label for head in await archive.newest()}
    return [conflict_fact(kept, labels) for kept in await _kept(archive)]


async def _print(archive: Archive, *, name: str, target: str | None) -> None:
    fits = [kept for kept in await _kept(archive) if kept.name.startswith(name)]
    if len(fits) != 1:
        what = "Several conflicts are" if fits else "No conflict is"
        raise UsageError(detail=f"{what} called '{name}'; see: vaultfs conflicts list")
    await trio.to_thread.run_sync(partial(_write, archive, fits[0], target), abandon_on_cancel=True)


def _write(archive: Archive, kept: Kept, target: str | None) -> None:
    from vaultfs.format.node import File  # noqa: PLC0415
    from vaultfs.sync.history import content  # noqa: PLC0415 - not for --help
    from vaultfs.sync.restoring import restore_element  # noqa: PLC0415

    element, name = kept.conflict.element, kept.conflict.path[-1]
    if target is not None:
        done = restore_element(archive.nodes(), archive.source(), name, element, target)
        say(f"Wrote {plural(done.files, 'file', 'files')} as {os.fsdecode(name)} to {target}.")
        return
    if not isinstance(element, File):
        raise UsageError(detail="It is more than one file: use --to DIR")
    for piece in content(archive.nodes(), archive.source(), element):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _show(found: list[ConflictFact]) -> None:
    from rich.table import Table  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("NAME", "WRITTEN BY", "WHEN", "SIZE", "PATH"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"NAME", "WHEN"})
    for fact in found:
        path = fact.path if fact.kind == "file" else f"{fact.path} ({fact.kind})"
        table.add_row(fact.name, Text(fact.label or fact.device[:8]), fact.time, size(fact.bytes), Text(path))
    console().print(table)
    paths = len({fact.path for fact in found})
    if paths < len(found):
        say(f"{plural(len(found), 'version', 'versions')} of {plural(paths, 'path', 'paths')}, oldest first.")


for _verb in (show_all, show, keep, drop):
    command.add_command(_verb)
