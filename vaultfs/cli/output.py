"""Talking to the person (text, tables) and to programs (JSON). Results on stdout, all else on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import msgspec

from vaultfs.daemon.status import printable

if TYPE_CHECKING:
    from rich.console import Console

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
STEP = 1024
TEN = 10


def say(text: str) -> None:
    """A result, for a person."""
    click.echo(text)


def warn(text: str) -> None:
    """Something the person should know, beside the result."""
    click.echo(text, err=True)


def emit(value: object) -> None:
    """A result as JSON on stdout."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def console(*, err: bool = False) -> Console:
    """A rich console that breaks nothing when it is not a terminal."""
    from rich.console import Console  # noqa: PLC0415 - 60 ms that verbs without tables don't need

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            """Rich would end the program with 1 here; what it means is for main to say."""
            raise BrokenPipeError

    stream = sys.stderr if err else sys.stdout
    # Through a pipe there is no width; a table cut at 80 would lose what grep looks for.
    return _Console(file=stream, highlight=False, width=None if stream.isatty() else 200)


def size(count: int | None) -> str:
    """Bytes as a person reads them; a dash for what is not known."""
    if count is None:
        return "-"
    value = float(count)
    for unit in UNITS:
        if value < STEP or unit == UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}" if value < TEN else f"{value:.0f} {unit}"
        value /= STEP
    raise AssertionError


def plural(count: int, one: str, many: str) -> str:
    """`3 files`."""
    return f"{count:,} {one if count == 1 else many}"


def confirm(question: str, *, yes: bool, default: bool = True) -> None:
    """Ask; `yes` answers for the person. Without a terminal to ask on, UsageError says to use --yes."""
    from vaultfs.errors import UsageError  # noqa: PLC0415 - beside its only use

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(detail="This has to be confirmed and there is no terminal to ask on: use --yes")
    click.confirm(question, default=default, abort=True, err=True)


__all__ = ["confirm", "console", "emit", "plural", "printable", "say", "size", "warn"]
