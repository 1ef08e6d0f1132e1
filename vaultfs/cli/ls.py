"""`vaultfs ls`: what was in a directory."""

from __future__ import annotations

import stat
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click
import trio

from vaultfs.cli.options import json_option, pass_app, verb
from vaultfs.cli.output import console, emit, printable
from vaultfs.cli.progress import Bar
from vaultfs.cli.recall import is_exact
from vaultfs.cli.remotely import Reader, at_option, commit_at, reading, shown_path, when
from vaultfs.daemon.status import instant

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.format.head import Head
    from vaultfs.format.node import Nodes
    from vaultfs.sync.archive import Archive
    from vaultfs.sync.conflicts import Path
    from vaultfs.sync.walking import Found

NANO = 1_000_000_000


class Line(NamedTuple):
    """One file of the list."""

    path: str
    kind: str
    mode: int
    size: int
    mtime: int
    target: str | None
    writer: str


@verb("ls", examples=["ls", "ls hermes --at desktop:41", 'ls -R hermes --at "2 hours ago" --json'])
@click.argument("path", default="")
@at_option
@click.option("--recursive", "-R", is_flag=True, help="Everything below, too.")
@reading
@json_option
@pass_app
def command(
    app: App,
    *,
    path: str,
    at: str | None,
    recursive: bool,
    vault: str | None,
    wallet: str | None,
    remote: str | None,
    as_json: bool,
) -> None:
    """List what is at PATH in a commit on the remote. Needs no mount."""
    reader = Reader(app, vault=vault, wallet=wallet, remote=remote)
    with Bar("Reading", quiet=as_json):
        lines = reader.archive(
            partial(_list, path=reader.path(path), at=at, recursive=recursive), strict=not is_exact(at)
        )
    if as_json:
        emit([{**line._asdict(), "mode": f"{line.mode:04o}", "mtime": instant(line.mtime / NANO)} for line in lines])
        return
    from rich.table import Table  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, show_header=False)
    for number in range(5):
        table.add_column(no_wrap=True, justify="right" if number == 1 else "left")
    for line in lines:
        name = line.path + (f" -> {line.target}" if line.target is not None else "")
        kind = {"directory": stat.S_IFDIR, "symlink": stat.S_IFLNK}.get(line.kind, stat.S_IFREG)
        row = (stat.filemode(kind | line.mode), str(line.size), when(line.mtime), line.writer, name)
        table.add_row(*map(Text, row))
    console().print(table)


async def _list(archive: Archive, *, path: Path, at: str | None, recursive: bool) -> list[Line]:
    head = await commit_at(archive, at)
    labels = {one.device: one.label for one in await archive.newest()}
    work = partial(_lines, archive.nodes(), head, path, labels, recursive, archive.name_of(head))
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


def _lines(
    nodes: Nodes,
    head: Head,
    path: Path,
    labels: dict[bytes, str],
    recursive: bool,
    name: str,
) -> list[Line]:
    from vaultfs.format.node import Directory, Unit  # noqa: PLC0415 - not for --help
    from vaultfs.sync.walking import Snapshot  # noqa: PLC0415

    snapshot = Snapshot(nodes, head.root)
    with shown_path(path, name):
        top = snapshot.find(path)
    if not isinstance(top.item.element, Directory | Unit):
        return [_line(top, labels)]
    found = (one for one in snapshot.walk(top) if one is not top) if recursive else snapshot.inside(top)
    return [_line(one, labels) for one in found]


def _line(found: Found, labels: dict[bytes, str]) -> Line:
    from vaultfs.format.node import Directory, File, Symlink, Unit  # noqa: PLC0415 - not for --help

    element = found.item.element
    kind = (
        "directory" if isinstance(element, Directory | Unit) else "symlink" if isinstance(element, Symlink) else "file"
    )
    size = element.size if isinstance(element, File) else found.item.below.size if found.item.below is not None else 0
    target = printable(element.target) if isinstance(element, Symlink) else None
    writer = labels.get(element.version.device) or element.version.device.hex()[:8]
    return Line(printable(b"/".join(found.path)), kind, element.mode, size, element.mtime, target, writer)
