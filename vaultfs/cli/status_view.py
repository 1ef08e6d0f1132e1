"""A status as a person likes to read it, in 80 columns."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vaultfs.cli.output import plural, size
from vaultfs.cli.status_presence import presence_rows
from vaultfs.cli.status_sync import ago, devices, sync_rows
from vaultfs.daemon.paths import home_relative

if TYPE_CHECKING:
    from vaultfs.daemon.status import Status

STATES = {"mounted": "green", "unmounted": "dim", "dead": "red", "busy": "yellow"}
SHORT = 8
MOST_OPEN = 8


def view(found: Status, others: list[str], *, now: float) -> Group:
    """The picture of one status; `others` are further vaults to mention."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=9)
    table.add_column(overflow="fold")
    for label, text in _rows(found, now):
        table.add_row(label, text)
    color = STATES.get(found.state, "yellow")
    title = Text.assemble((found.vault, "bold"), "  ", ("● " + found.state, color))
    parts: list[Text | Table] = [title, table, *devices(found, now)]
    if others:
        parts.append(Text("Other vaults here: " + ", ".join(others) + " (--vault NAME)", style="dim"))
    return Group(*parts)


def _rows(found: Status, now: float) -> list[tuple[str, Text]]:
    rows: list[tuple[str, Text | str | None]] = [
        ("Mount", _mount(found)),
        ("Since", _since(found, now)),
        ("Wallet", found.wallet),
        ("Device", f"{found.device.label} ({found.device.id[:SHORT]})" if found.device else None),
        ("Content", _content(found)),
        ("Unsealed", _dirty(found)),
        ("Open", _open(found, now)),
        ("On disk", _storage(found)),
        *sync_rows(found, now),
        *presence_rows(found, now),
        ("Start", _startup(found)),
        ("FUSE", found.fuse.text or found.fuse.mode if found.fuse else None),
        ("Format", f"version {found.format_version}" if found.format_version else None),
        ("Health", _health(found)),
    ]
    return [(label, text if isinstance(text, Text) else Text(text)) for label, text in rows if text]


def _mount(found: Status) -> str | None:
    if not found.mountpoint:
        return None
    return home_relative(found.mountpoint) + (" (read-only)" if found.read_only else "")


def _since(found: Status, now: float) -> str | None:
    if not found.since:
        return None
    begun = datetime.fromisoformat(found.since)
    process = f", process {found.pid}" if found.pid else ""
    return f"{begun.astimezone():%Y-%m-%d %H:%M:%S} ({ago(now - begun.timestamp())}){process}"


def _content(found: Status) -> str | None:
    if found.files is None or found.directories is None:
        return None
    files = plural(found.files, "file", "files")
    return f"{files} in {plural(found.directories, 'directory', 'directories')}, {size(found.bytes)}"


def _dirty(found: Status) -> str | None:
    if found.dirty_bytes is None:
        return None
    return f"{size(found.dirty_bytes)}, safe in the journal" if found.dirty_bytes else "nothing"


def _open(found: Status, now: float) -> Text | str | None:
    if found.state != "mounted" or found.files is None:
        return None
    if not found.open_for_writing:
        return "nothing is open for writing"
    lines = []
    for item in found.open_for_writing[:MOST_OPEN]:
        age = ago(now - datetime.fromisoformat(item.since).timestamp())
        lines.append(f"{item.path} (process {item.pid}, {age})")
    if len(found.open_for_writing) > MOST_OPEN:
        lines.append(f"and {len(found.open_for_writing) - MOST_OPEN} more")
    return Text("\n".join(lines))


def _storage(found: Status) -> str:
    parts = [f"packs {size(found.storage.pack_bytes)}", f"journal {size(found.storage.journal_bytes)}"]
    if found.storage.garbage_bytes:
        parts.append(f"garbage {size(found.storage.garbage_bytes)}")
    if found.storage.cache_bytes:
        parts.append(f"cache {size(found.storage.cache_bytes)}")
    return ", ".join(parts)


def _startup(found: Status) -> Text | None:
    if found.startup is None or found.startup.clean:
        return None
    return Text(" ".join(startup_lines(found)), style="yellow")


def startup_lines(found: Status) -> list[str]:
    """What was done at the start after a crash; nothing after a clean end."""
    start = found.startup
    if start is None or start.clean:
        return []
    records = plural(start.records, "record", "records")
    lost = (
        "nothing was lost."
        if not start.dropped_bytes
        else f"the last {plural(start.dropped_bytes, 'byte was', 'bytes were')} incomplete and dropped "
        "(never acknowledged to any program)."
    )
    return [f"After a crash: replayed {records} in {start.seconds:.2f} s; {lost}", *start.notes]


def _health(found: Status) -> Text:
    if found.health.ok:
        return Text("ok", style="green")
    return Text("\n".join(found.health.problems), style="red")
