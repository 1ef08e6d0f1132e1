"""`vaultfs log`: the commits on the remote."""

from __future__ import annotations

import heapq
from functools import partial
from typing import TYPE_CHECKING

import click
import trio

from vaultfs.cli.options import json_option, pass_app, verb
from vaultfs.cli.output import console, emit, say, warn
from vaultfs.cli.progress import Bar
from vaultfs.cli.remotely import Reader, reading, when
from vaultfs.daemon.status import instant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultfs.cli.app import App
    from vaultfs.format.head import Head
    from vaultfs.format.node import Nodes
    from vaultfs.sync.archive import Archive
    from vaultfs.sync.conflicts import Path

AHEAD = 8  # heads of one device that are asked for at once
MOST = 2000  # commits that are looked through for a path
NANO = 1_000_000_000


@verb("log", examples=["log", "log hermes/state.db --limit 5", "log --json"])
@click.argument("path", required=False)
@click.option("--limit", "-n", type=click.IntRange(min=1), default=20, show_default=True, help="How many to list.")
@reading
@json_option
@pass_app
def command(
    app: App,
    *,
    path: str | None,
    limit: int,
    vault: str | None,
    wallet: str | None,
    remote: str | None,
    as_json: bool,
) -> None:
    """List the commits on the remote, the newest first; with PATH those in which something there changed.

    COMMIT in the list is what `diff`, `ls`, `cat` and `restore` take.
    """
    reader = Reader(app, vault=vault, wallet=wallet, remote=remote)
    wanted = reader.path(path) if path is not None else None
    with Bar("Reading commits", quiet=as_json) as bar:
        found, names, complete = reader.archive(partial(_collect, path=wanted, limit=limit, bar=bar))
    if as_json:
        emit([_fact(head, name) for head, name in zip(found, names, strict=True)])
    elif found:
        _show(found, names)
    else:
        say("Nothing has been published yet." if path is None else f"No commit that is kept changed {path}.")
    if not complete:
        warn(f"Only the newest {MOST} commits were looked through.")


async def _collect(archive: Archive, *, path: Path | None, limit: int, bar: Bar) -> tuple[list[Head], list[str], bool]:
    await archive.newest()
    found: list[Head] = []
    looked = 0
    async for head in _by_time(archive):
        looked += 1
        bar.update(0, text=f"Reading commits ({looked})")
        if looked > MOST:
            break
        if path is None or await _changed(archive, head, path):
            found.append(head)
        if len(found) == limit:
            break
    return found, [archive.name_of(head) for head in found], looked <= MOST


async def _by_time(archive: Archive) -> AsyncIterator[Head]:
    """All heads, the newest first; a few of each device are fetched ahead."""
    waiting: list[tuple[int, bytes, int]] = []

    async def add(device: bytes, number: int) -> None:
        numbers = archive.numbers[device]
        place = numbers.index(number)
        await archive.fetch((device, other) for other in numbers[max(0, place - AHEAD + 1) : place + 1])
        head = await archive.head(device, number)
        heapq.heappush(waiting, (-head.time, device, number))

    for device, numbers in archive.numbers.items():
        await add(device, numbers[-1])
    while waiting:
        _, device, number = heapq.heappop(waiting)
        yield await archive.head(device, number)
        before = archive.before(device, number)
        if before is not None:
            await add(device, before)


async def _changed(archive: Archive, head: Head, path: Path) -> bool:
    """Whether the device changed something at or below `path` in this commit, or since its one before."""
    await archive.use(head)
    before = archive.before(head.device, head.number)
    older = await archive.head(head.device, before) if before is not None else None
    if older is not None:
        await archive.use(older)
    return await trio.to_thread.run_sync(partial(_differs, archive.nodes(), head, older, path), abandon_on_cancel=True)


def _differs(nodes: Nodes, head: Head, older: Head | None, path: Path) -> bool:
    from vaultfs.sync.walking import Snapshot  # noqa: PLC0415 - not for --help

    def look(one: Head | None) -> object:
        try:
            return None if one is None else Snapshot(nodes, one.root).find(path).item
        except (FileNotFoundError, NotADirectoryError):
            return None

    new, old = look(head), look(older)
    if new == old:
        return False
    return new is None or _by(new, head, older) or old is None


def _by(item: object, head: Head, older: Head | None) -> bool:
    """Whether any of what stands there was written by the head's own device since its head before.

    What came from other machines by a merge is in their commits.
    """
    from vaultfs.tree.incoming import Incoming  # noqa: PLC0415 - not for --help

    assert isinstance(item, Incoming)  # noqa: S101 - for the types
    since = older.number if older is not None else 0
    below = item.below
    dots = [(dot.device, dot.counter) for dot in (item.element.version, item.element.placed) if dot is not None]
    if below is not None:
        dots += [(span.device, span.high) for span in below.versions]
        dots += [(dot.device, dot.counter) for dot in (*below.placed, below.stamp) if dot is not None]
    return any(device == head.device and counter > since for device, counter in dots)


def _fact(head: Head, name: str) -> dict[str, object]:
    return {
        "commit": name,
        "device": head.device.hex(),
        "label": head.label,
        "number": head.number,
        "time": instant(head.time / NANO),
        "root": head.root.hex(),
    }


def _show(found: list[Head], names: list[str]) -> None:
    from rich.table import Table  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("COMMIT", "WHEN", "MACHINE"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "WHEN")
    for head, name in zip(found, names, strict=True):
        table.add_row(Text(name), when(head.time), Text(head.label))
    console().print(table)
