"""`vaultfs install-helpers`: what mount(8), systemd, man and the shells know of vaultfs."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import vaultfs
from vaultfs.cli.options import json_option, pass_app, verb
from vaultfs.cli.output import emit, say, warn
from vaultfs.errors import UsageError

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.cli.helper_files import Where
    from vaultfs.cli.helper_work import Fact


@verb(
    "install-helpers",
    examples=[
        "install-helpers --user",
        "install-helpers --user --dry-run",
        "install-helpers --prefix /usr",
        "install-helpers --user --remove",
    ],
)
@click.option("--user", is_flag=True, help="For you alone: systemd unit, completions, man page.")
@click.option("--prefix", metavar="DIR", type=click.Path(path_type=Path), help="Where, for everybody (/usr/local).")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--remove", is_flag=True, help="Remove what this command has written.")
@json_option
@click.pass_context
@pass_app
def command(
    app: App, ctx: click.Context, *, user: bool, prefix: Path | None, dry_run: bool, remove: bool, as_json: bool
) -> None:
    """Install what mount(8), systemd, man and the shells need; as root for everybody, with --user for you alone.

    Files that something else wrote are never overwritten nor removed. Run it again after an upgrade.
    """
    from vaultfs.cli import helper_work as work  # noqa: PLC0415 - not for --help
    from vaultfs.cli.completion import script  # noqa: PLC0415
    from vaultfs.cli.helper_files import Where, places_for  # noqa: PLC0415

    if user and prefix is not None:
        raise UsageError(detail="--user has its own places; leave out --prefix")
    where = Where.user(app.places) if user else Where.system(None if prefix is None else prefix.absolute())
    if not user and prefix is None and os.geteuid() != 0:
        raise UsageError(detail="Only root installs for everybody: use --user, or sudo")
    root = ctx.find_root().command
    if remove:
        found = work.remove(where, dry_run=dry_run)
        after = ["systemctl --user daemon-reload" if user else "systemctl daemon-reload"] if found else []
    else:
        found = work.install(where, places_for(where, lambda shell: script(root, shell)), dry_run=dry_run)
        after = _next(app, user=user)
    if as_json:
        emit({"user": user, "dry_run": dry_run, "remove": remove, "files": found, "next": after})
        return
    _show(found, dry_run=dry_run, remove=remove)
    if not remove:
        for text in _notes(where, user=user):
            warn(text)
    if after and not dry_run:
        say("Next:\n  " + "\n  ".join(after))


def _show(found: list[Fact], *, dry_run: bool, remove: bool) -> None:
    would = "would be " if dry_run else ""
    for fact in found:
        if fact.done == "foreign":
            warn(f"left alone, not ours: {fact.path}")
        else:
            say(f"{would if fact.done != 'unchanged' else ''}{fact.done}: {fact.path}")
    if not found and remove:
        say("There is nothing of ours.")


def _next(app: App, *, user: bool) -> list[str]:
    names = app.places.names() or ["default"]
    start = [f"systemctl --user enable --now vaultfs@{name}" for name in names]
    if user:
        return ["systemctl --user daemon-reload", *start]
    return ["systemctl daemon-reload", "systemctl enable vaultfs-sleep@USER", *start]


def _notes(where: Where, *, user: bool) -> list[str]:
    """What the person has to know, because we cannot do it for them."""
    from vaultfs.cli.helper_files import SYSTEM_HELPERS, program  # noqa: PLC0415 - not for --help

    notes = []
    helpers = where.helpers
    if helpers is not None and helpers.resolve() != SYSTEM_HELPERS.resolve():
        notes.append(f"mount(8) looks in {SYSTEM_HELPERS} only, not in {helpers}.")
    if user:
        notes.append(f"zsh looks in there if .zshrc has, before compinit: fpath=({where.zsh} $fpath)")
        return notes
    if path := _closed(program()) or _closed(Path(sys.executable)):
        notes.append(f"Other users cannot run vaultfs: {path} is closed to them.")
    if path := next(filter(None, map(_loose, (program(), Path(sys.executable), Path(vaultfs.__file__)))), ""):
        notes.append(
            f"mount(8) runs vaultfs as root, and somebody else can change {path}: unless that somebody is to have "
            "root's rights, install vaultfs as root (in /opt, say), and these from there."
        )
    return notes


def _loose(path: Path) -> str:
    """The first place on the way that somebody else than root can write to; "" if there is none."""
    for place in (path, *path.parents, *path.resolve().parents, path.resolve()):
        found = place.stat()
        shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if found.st_uid != 0 or shared:
            return str(place)
    return ""


def _closed(path: Path) -> str:
    """The first directory on the way that only its owner may pass; "" if there is none."""
    for directory in reversed(path.resolve().parents):
        if not directory.stat().st_mode & 0o001:
            return str(directory)
    return ""
