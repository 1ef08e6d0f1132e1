"""`vaultfs heads`: what every machine published last, and alarms about it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from vaultfs.cli.options import json_option, pass_app, vault_option, verb, yes_option
from vaultfs.cli.output import confirm, console, emit, say
from vaultfs.cli.remotely import Reader, reading
from vaultfs.errors import UsageError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.cli.recall import Recall
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.daemon.asking import HeadsFact
    from vaultfs.errors import RollbackError
    from vaultfs.remote import Remote


@click.group(
    "heads",
    invoke_without_command=True,
    epilog="\b\nExamples:\n  vaultfs heads\n  vaultfs heads --fingerprint\n  vaultfs heads accept desktop",
)
@click.option("--fingerprint", is_flag=True, help="Only one line, to compare with another machine's.")
@reading
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    fingerprint: bool,
    vault: str | None,
    wallet: str | None,
    remote: str | None,
    as_json: bool,
) -> None:
    """Show the newest commit of every machine, as this one has seen it.

    The same fingerprint on two machines says that the remote shows both of them the same: it holds nothing back
    from one of them. Where the vault is not mounted, it is that of what was seen here and of what the remote shows now.
    """
    if ctx.invoked_subcommand is not None:
        return
    from vaultfs.daemon.asking import HeadsFact, is_mounted, query  # noqa: PLC0415 - not for --help

    reader = Reader(ctx.obj, vault=vault, wallet=wallet, remote=remote)
    if is_mounted(reader.place) and remote is None:
        found, alarm = query(reader.place, "/heads", HeadsFact), None
    else:
        header, keys = reader.unlocked()
        recall = reader.recall(keys)
        found, alarm = reader.remote(partial(_look, header=header, keys=keys, recall=recall))
    if as_json:
        emit(found)
    elif fingerprint:
        say(found.fingerprint)
    else:
        _show(found)
    if alarm is not None:
        raise alarm


@verb("accept", examples=["heads accept desktop", "heads accept 3f2a91c0 --yes"])
@click.argument("device")
@vault_option
@yes_option
@pass_app
def accept(app: App, device: str, vault: str | None, yes: bool) -> None:
    """After an alarm: go on with what the remote has of DEVICE now (its label, or the start of its id).

    What it lost stays lost there; what this machine has of it stays here and is published again where it can be.
    The vault must be mounted.
    """
    from vaultfs.daemon.asking import AcceptRequest, HeadsFact, ask, query  # noqa: PLC0415 - not for --help
    from vaultfs.daemon.report import report  # noqa: PLC0415

    place = app.vault(vault)
    sync = report(place).sync
    alarms = sync.alarms if sync is not None else []
    known = query(place, "/heads", HeadsFact).heads  # in the status are only those without an alarm
    ids = {one.device for one in known if one.label == device or one.device.startswith(device.lower())}
    ids |= {alarm.device for alarm in alarms if alarm.device and alarm.device.startswith(device.lower())}
    if len(ids) != 1:
        what = "Several machines are" if ids else "No machine is"
        raise UsageError(detail=f"{what} called '{device}'; see: vaultfs heads")
    chosen = ids.pop()
    about = [alarm.text for alarm in alarms if alarm.device == chosen]
    if not about:
        say(f"There is no alarm about '{device}'.")
        return
    for text in about:
        say(text)
    confirm(f"Go on with what the remote has of '{device}' now?", yes=yes)
    ask(place, "/accept", AcceptRequest(chosen))
    say("Accepted.")


async def _look(
    remote: Remote, *, header: Header, keys: VaultKeys, recall: Recall
) -> tuple[HeadsFact, RollbackError | None]:
    """What the remote shows now, with what was seen before; the error where it shows less."""
    from vaultfs.daemon.elements import heads_fact  # noqa: PLC0415 - not for --help

    archive = await recall.compared(remote, keys, header)
    trust = archive.trust
    fact = heads_fact(trust.fingerprint(), trust.heads.values(), {alarm.device for alarm in trust.alarms})
    return fact, recall.judge(archive)


def _show(found: HeadsFact) -> None:
    from rich.table import Table  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("MACHINE", "ID", "COMMIT", "WHEN", "TREE", ""):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"ID", "WHEN", "TREE"})
    for head in found.heads:
        alarm = Text("" if head.accepted else "alarm: see vaultfs status", style="red")
        table.add_row(Text(head.label), head.device[:8], str(head.number), head.time, head.root[:12], alarm)
    console().print(table)
    say(f"\nFingerprint: {found.fingerprint}")


command.add_command(accept)
