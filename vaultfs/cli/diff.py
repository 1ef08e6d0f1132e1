"""`vaultfs diff`: what is different between two commits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click
import trio

from vaultfs.cli.options import json_option, pass_app, verb
from vaultfs.cli.output import emit, printable, say
from vaultfs.cli.progress import Bar
from vaultfs.cli.recall import is_exact
from vaultfs.cli.remotely import Reader, commit_at, reading

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.sync.archive import Archive
    from vaultfs.sync.comparing import Change
    from vaultfs.sync.conflicts import Path

SIGNS = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}


@verb(
    "diff",
    examples=["diff desktop:41", "diff desktop:41 laptop:7 --path hermes", 'diff "2 hours ago" --json'],
)
@click.argument("old", metavar="COMMIT")
@click.argument("new", metavar="[COMMIT]", required=False)
@click.option("--path", default="", help="Only what is at or below this path.")
@reading
@json_option
@pass_app
def command(
    app: App,
    *,
    old: str,
    new: str | None,
    path: str,
    vault: str | None,
    wallet: str | None,
    remote: str | None,
    as_json: bool,
) -> None:
    """List what changed from one COMMIT to another, by default the newest: + added, - removed, ~ changed, > moved.

    A time may stand for a commit: then it is the newest of that time.
    """
    reader = Reader(app, vault=vault, wallet=wallet, remote=remote)
    with Bar("Comparing", quiet=as_json):
        work = partial(_compare, old=old, new=new, path=reader.path(path))
        found = reader.archive(work, strict=not (is_exact(old) and is_exact(new)))
    if as_json:
        emit([_fact(change) for change in found])
        return
    for change in found:
        slash = "/" if change.directory else ""
        before = f"{_text(change.old)}{slash} -> " if change.old is not None else ""
        say(f"{SIGNS[change.how]} {before}{_text(change.path)}{slash}")
    if not found:
        say("There is no difference.")


async def _compare(archive: Archive, *, old: str, new: str | None, path: Path) -> list[Change]:
    from vaultfs.sync.comparing import diff  # noqa: PLC0415 - not for --help

    a, b = await commit_at(archive, old), await commit_at(archive, new)
    work = partial(diff, archive.nodes(), a.root, b.root, path)
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


def _fact(change: Change) -> dict[str, object]:
    return {
        "how": str(change.how),
        "path": _text(change.path),
        "directory": change.directory,
        "old": None if change.old is None else _text(change.old),
    }


def _text(path: Path) -> str:
    return printable(b"/".join(path))
