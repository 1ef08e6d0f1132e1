"""`vaultfs who`: who wrote a file last."""

from __future__ import annotations

import errno
import os
from datetime import datetime

import click
import msgspec

from vaultfs.cli.options import any_path, json_option, verb
from vaultfs.cli.output import console, emit, printable, warn
from vaultfs.errors import NotInVaultError, UsageError, VaultfsError

ATTRIBUTE = "user.vaultfs.lastWriter"


class Writer(msgspec.Struct):
    """The attribute's JSON."""

    device: str = ""
    deviceId: str = ""  # noqa: N815 - the name in the attribute
    ts: str = ""


@verb("who", examples=["who ~/agent-vault/hermes/state.db", "who --json ~/agent-vault/*"])
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=any_path)
@json_option
def command(paths: tuple[str, ...], as_json: bool) -> None:
    """Show which machine wrote each PATH last, and when."""
    found: list[tuple[str, Writer]] = []
    failed: list[VaultfsError] = []
    for path in paths:
        try:
            found.append((path, last_writer(path)))
        except VaultfsError as error:
            failed.append(error)
    if as_json:
        emit([{"path": printable(path), **msgspec.to_builtins(writer)} for path, writer in found])
    elif found:
        _show(found)
    for other in failed[1:]:
        warn(f"vaultfs: {other.message}")
    if failed:
        raise failed[0]


def last_writer(path: str) -> Writer:
    """What the mount says about `path`. NotInVaultError, UsageError if there is no such file."""
    shown = printable(path)
    try:
        text = os.getxattr(path, ATTRIBUTE)
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.ENOTSUP, errno.EPERM}:
            raise NotInVaultError(path=shown) from error
        if error.errno == errno.ENOTCONN:
            raise NotInVaultError(path=f"{shown} (its mount is dead)") from error
        raise UsageError(detail=f"{shown}: {error.strerror}") from error
    try:
        return msgspec.json.decode(text, type=Writer)
    except msgspec.DecodeError as error:
        raise VaultfsError(detail=f"{shown} has a last writer this version cannot read") from error


def _local(ts: str) -> str:
    """A time for a person: this machine's, to the second."""
    try:
        return f"{datetime.fromisoformat(ts).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return printable(ts)


def _show(found: list[tuple[str, Writer]]) -> None:
    from rich.table import Table  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("LAST WRITER", "WHEN", "PATH"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "WHEN")
    for path, writer in found:
        # Text, not markup: a file may be called "[bold]".
        table.add_row(Text(printable(writer.device)), _local(writer.ts), Text(printable(path)))
    console().print(table)
