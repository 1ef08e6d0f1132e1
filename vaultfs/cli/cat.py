"""`vaultfs cat`: a file as it was."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click
import trio

from vaultfs.cli.options import pass_app, verb
from vaultfs.cli.recall import is_exact
from vaultfs.cli.remotely import Reader, at_option, commit_at, reading, shown_path

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.sync.archive import Archive
    from vaultfs.sync.conflicts import Path


@verb("cat", examples=["cat notes.md --at desktop:41", 'cat notes.md --at "2 hours ago" > old.md'])
@click.argument("path")
@at_option
@reading
@pass_app
def command(app: App, *, path: str, at: str | None, vault: str | None, wallet: str | None, remote: str | None) -> None:
    """Print the file at PATH as it is in a commit on the remote. Needs no mount."""
    reader = Reader(app, vault=vault, wallet=wallet, remote=remote)
    reader.archive(partial(_print, path=reader.path(path), at=at), strict=not is_exact(at))


async def _print(archive: Archive, *, path: Path, at: str | None) -> None:
    head = await commit_at(archive, at)
    work = partial(_write, archive, path, head.root, archive.name_of(head))
    await trio.to_thread.run_sync(work, abandon_on_cancel=True)


def _write(archive: Archive, path: Path, root: bytes, name: str) -> None:
    from vaultfs.errors import NotInCommitError  # noqa: PLC0415 - not for --help
    from vaultfs.format.node import File  # noqa: PLC0415
    from vaultfs.sync.history import content  # noqa: PLC0415
    from vaultfs.sync.walking import Snapshot  # noqa: PLC0415

    nodes = archive.nodes()
    with shown_path(path, name):
        found = Snapshot(nodes, root).find(path)
    element = found.item.element
    if not isinstance(element, File):
        raise NotInCommitError(path=b"/".join(path).decode(errors="replace"), commit=name, detail="it is not a file")
    for piece in content(nodes, archive.source(), element):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
