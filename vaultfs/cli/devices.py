"""`vaultfs devices`: the machines of a vault."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from vaultfs.cli.options import json_option, pass_app, vault_option, verb, wallet_option
from vaultfs.cli.output import console, emit, say
from vaultfs.cli.remotely import with_remote
from vaultfs.cli.removing import remove
from vaultfs.daemon.status import instant

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.daemon.status import Status
    from vaultfs.remote import Remote

NANO = 1_000_000_000


class Machine(NamedTuple):
    """One line: `number` and `time` are those of its newest commit that is known; None: it has published none."""

    id: str
    label: str
    this: bool
    number: int | None = None
    time: str | None = None


@click.group(
    "devices",
    invoke_without_command=True,
    epilog="\b\nExamples:\n  vaultfs devices\n  vaultfs devices list --json\n  vaultfs devices rename laptop",
)
@vault_option
@wallet_option
@json_option
@click.pass_context
def command(ctx: click.Context, vault: str | None, wallet: str | None, as_json: bool) -> None:
    """List the machines of the vault, remove one, or give this one another name."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show_all, vault=vault, wallet=wallet, as_json=as_json)


@verb("list", examples=["devices list", "devices list --vault work --json"])
@vault_option
@wallet_option
@json_option
@pass_app
def show_all(app: App, vault: str | None, wallet: str | None, as_json: bool) -> None:
    """List the machines of the vault. Needs the wallet unless the vault is mounted: then its daemon knows them."""
    from vaultfs.daemon.report import report  # noqa: PLC0415 - not for --help

    place = app.vault(vault)
    found = report(place)
    machines = _known(found) if found.device is not None else _read(app, place, wallet)
    if as_json:
        emit([machine._asdict() for machine in machines])
        return
    from rich.table import Table  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("ID", "LABEL", "LAST COMMIT", "WHEN", ""):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"ID", "WHEN"})
    for one in machines:
        number = "-" if one.number is None else str(one.number)
        table.add_row(one.id[:8], Text(one.label), number, one.time or "-", "this machine" if one.this else "")
    console().print(table)


@verb("rename", examples=['devices rename "desk in the office"', "devices rename laptop --vault work"])
@click.argument("label")
@vault_option
@wallet_option
@pass_app
def rename(app: App, label: str, vault: str | None, wallet: str | None) -> None:
    """Call this machine LABEL from now on. The vault must not be mounted; others see it with the next commit."""
    import os  # noqa: PLC0415 - only here
    from dataclasses import replace  # noqa: PLC0415

    from vaultfs.crypto.device import check_label, seal_device  # noqa: PLC0415 - not for --help
    from vaultfs.daemon.lock import Holder, VaultLock  # noqa: PLC0415
    from vaultfs.daemon.vault import read_device, write_file  # noqa: PLC0415

    check_label(label)
    place = app.vault(vault)
    lock = VaultLock.take(place, Holder("devices rename", os.getpid()))
    try:
        keys = app.unlock(place, wallet).keys
        write_file(place.device, seal_device(replace(read_device(place, keys), label=label), keys))
    finally:
        lock.release()
    say(f"This machine is '{label}' in the vault '{place.name}' from its next commit on.")


def _known(found: Status) -> list[Machine]:
    """As a daemon has it."""
    assert found.device is not None  # noqa: S101 - asked before
    others = found.sync.devices if found.sync is not None else []
    machines = [
        Machine(one.id, one.label, one.this, one.last.number if one.last else None, one.last.time if one.last else None)
        for one in others
    ]
    if not any(machine.this for machine in machines):
        machines.insert(0, Machine(found.device.id, found.device.label, this=True))
    return machines


def _read(app: App, place: VaultPlaces, wallet: str | None) -> list[Machine]:
    """As this disk and the remote have it."""
    from vaultfs.daemon.vault import read_device  # noqa: PLC0415 - not for --help

    header, keys, _ = app.unlock(place, wallet)
    identity = read_device(place, keys)
    spec = app.remote(place.name)
    machines = _published(app, spec, header, keys, identity.id) if spec else []
    machines = [one._replace(label=identity.label) if one.this else one for one in machines]
    if not any(machine.this for machine in machines):
        machines.insert(0, Machine(identity.id.hex(), identity.label, this=True))
    return machines


def _published(app: App, spec: str, header: Header, keys: VaultKeys, own: bytes) -> list[Machine]:
    from vaultfs.sync.archive import Archive  # noqa: PLC0415 - not for --help

    async def read(remote: Remote) -> list[Machine]:
        archive = Archive(remote, keys, header)
        await archive.look()
        return [
            Machine(head.device.hex(), head.label, head.device == own, head.number, instant(head.time / NANO))
            for head in await archive.newest()
        ]

    return with_remote(app, spec, read)


for _verb in (show_all, rename, remove):
    command.add_command(_verb)
