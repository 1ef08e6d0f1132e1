"""The page vaultfs(1), made from what `--help` shows: so every verb and option stands in it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

import vaultfs
from vaultfs.cli.main import VERBS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDS = """\
.SH EXIT STATUS
0 is success, 2 a wrong command line. Every error has a number of its own; they stand in docs/cli\\-contract.md.
.SH ENVIRONMENT
.TP
.B VAULTFS_*
Every setting can be given in the environment: \\fBvaultfs config list\\fR.
.TP
.B XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR
Where settings, vaults, logs and sockets are.
.SH FILES
.TP
.I ~/.config/vaultfs/config.toml
The settings.
.TP
.I ~/.config/vaultfs/units/NAME.env
For the user unit vaultfs@NAME.service: MOUNTPOINT, OPTIONS, HANDOFF_SECONDS.
.TP
.I ~/.local/share/vaultfs/NAME
A vault, encrypted.
.SH SEE ALSO
.BR mount.vaultfs (8),
.BR rclone (1)
"""


def date() -> str:
    """Of the version, as man(1) wants it."""
    changed = Path(vaultfs.__file__).stat().st_mtime
    return datetime.fromtimestamp(changed, UTC).strftime("%Y-%m-%d")


def page() -> str:
    """The source of the page, for man(1)."""
    parts = [
        f'.TH VAULTFS 1 {date()} "vaultfs {vaultfs.__version__}" "User commands"',
        ".SH NAME\nvaultfs \\- " + _text("a wallet-keyed, encrypted vault as a plain directory"),
        ".SH SYNOPSIS\n.B vaultfs\n.I VERB\n[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION\n" + _paragraphs(cli.help or ""),
        ".SH VERBS",
    ]
    with click.Context(cli, info_name="vaultfs") as ctx:
        for name in VERBS:
            command = cli.get_command(ctx, name)
            if command is not None:
                parts += _verb(command, ctx, name)
    return "\n".join(parts) + "\n" + _ENDS


def _verb(command: click.Command, above: click.Context, name: str) -> Iterator[str]:
    """One verb, and those below it."""
    with click.Context(command, parent=above, info_name=name) as ctx:
        usage = " ".join(command.collect_usage_pieces(ctx))
        yield f".SS {_text(ctx.command_path)}\n.B {_text(ctx.command_path)}\n{_text(usage)}".rstrip()
        yield ".PP\n" + _paragraphs(command.help or "")
        for parameter in command.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option) and "--help" not in parameter.opts:
                yield f".TP\n.B {_text(record[0])}\n{_text(record[1])}"
        if command.epilog:
            yield ".PP\n" + _paragraphs(command.epilog)
        if isinstance(command, click.Group):
            for below in command.list_commands(ctx):
                found = command.get_command(ctx, below)
                if found is not None:
                    yield from _verb(found, ctx, below)


def _paragraphs(text: str) -> str:
    """A docstring or an epilog: paragraphs are filled, those marked for click stay as they are."""
    import inspect  # noqa: PLC0415 - only here

    found = []
    for part in re.split(r"\n\s*\n", inspect.cleandoc(text).strip("\n")):
        lines = part.split("\n")
        if lines[0].strip() == "\b":
            body = "\n".join(_text(line) for line in lines[2:])
            found.append(f"{_text(lines[1])}\n.PP\n.nf\n{body}\n.fi")
        else:
            found.append(_text(" ".join(lines)))
    return "\n.PP\n".join(found)


def _text(text: str) -> str:
    """Nothing of it is a request of roff."""
    text = " ".join(text.split()) if "\n" in text else text
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = text.replace("~", "\\(ti").replace("^", "\\(ha").replace("`", "\\(ga")
    return re.sub(r"^([.'])", r"\\&\1", text)
