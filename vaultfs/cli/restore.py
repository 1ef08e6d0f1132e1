"""`vaultfs restore`: bring back what was there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click
import trio

from vaultfs.cli.options import json_option, pass_app, verb
from vaultfs.cli.output import emit, plural, printable, say, size, warn
from vaultfs.cli.progress import Bar
from vaultfs.cli.recall import is_exact
from vaultfs.cli.remotely import Reader, at_option, commit_at, reading, shown_path
from vaultfs.daemon.paths import home_relative

if TYPE_CHECKING:
    from vaultfs.cli.app import App
    from vaultfs.sync.archive import Archive
    from vaultfs.sync.conflicts import Path
    from vaultfs.sync.restoring import Restored

SHOWN = 20


@verb(
    "restore",
    examples=[
        "restore hermes/state.db --at desktop:41 --to ~/old",
        'restore hermes --at "2 hours ago" --to /tmp/hermes',
    ],
)
@click.argument("path")
@at_option
@click.option("--to", "target", default=".", metavar="DIR", help="The directory to write into (default: this one).")
@reading
@json_option
@pass_app
def command(
    app: App,
    *,
    path: str,
    at: str | None,
    target: str,
    vault: str | None,
    wallet: str | None,
    remote: str | None,
    as_json: bool,
) -> None:
    """Write what is at PATH in a commit on the remote into a plain directory, under its own name. Needs no mount.

    Nothing is written over. What only makes sense as a whole (a database with its -wal, a git directory) comes whole.
    """
    reader = Reader(app, vault=vault, wallet=wallet, remote=remote)
    write(reader, reader.path(path), at, target, as_json=as_json)


def write(reader: Reader, path: Path, at: str | None, target: str, *, as_json: bool) -> None:
    """Restore, and tell what was done. ProblemsFoundError if something could not be."""
    from vaultfs.errors import ProblemsFoundError  # noqa: PLC0415 - not for --help

    with Bar("Restoring", quiet=as_json) as bar:
        work = partial(_restore, path=path, at=at, target=target, bar=bar)
        name, done = reader.archive(work, strict=not is_exact(at))
    if as_json:
        failures = [{"path": _text(failure.path), "detail": failure.detail} for failure in done.failures]
        counts = {key: value for key, value in vars(done).items() if isinstance(value, int)}
        emit({"commit": name, "target": target, **counts, "failures": failures})
    else:
        _tell(name, target, done)
    if done.failures:
        raise ProblemsFoundError(count=len(done.failures))


async def _restore(archive: Archive, *, path: Path, at: str | None, target: str, bar: Bar) -> tuple[str, Restored]:
    from vaultfs.sync.restoring import restore  # noqa: PLC0415 - not for --help
    from vaultfs.sync.walking import Snapshot  # noqa: PLC0415

    head = await commit_at(archive, at)
    name = archive.name_of(head)

    def work() -> Restored:
        snapshot = Snapshot(archive.nodes(), head.root)
        with shown_path(path, name):
            found = snapshot.find(path)
            whole, files = snapshot.together(found)
        below = whole.item.below
        total = below.size if below is not None else sum(getattr(one.item.element, "size", 0) for one in files)

        def progress(done: Restored) -> None:
            bar.update(done.bytes, total)

        return restore(snapshot, archive.source(), path, target, progress=progress)

    return name, await trio.to_thread.run_sync(work, abandon_on_cancel=True)


def _tell(name: str, target: str, done: Restored) -> None:
    files = plural(done.files + done.links, "file", "files")
    directories = f" in {plural(done.directories, 'directory', 'directories')}" if done.directories else ""
    links = f", {plural(done.symlinks, 'symbolic link', 'symbolic links')}" if done.symlinks else ""
    say(f"Restored {files}{directories}{links}, {size(done.bytes)}, from {name} to {home_relative(target)}.")
    if done.attributes_lost:
        warn(f"{plural(done.attributes_lost, 'attribute', 'attributes')} could not be kept there.")
    for failure in done.failures[:SHOWN]:
        warn(f"Not restored: {_text(failure.path)}: {failure.detail}")
    if len(done.failures) > SHOWN:
        warn(f"and {len(done.failures) - SHOWN} more")


def _text(path: Path) -> str:
    return printable(b"/".join(path))
