"""The part of a status that is about the remote and other machines, in 80 columns."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from vaultfs.cli.output import plural, size

if TYPE_CHECKING:
    from vaultfs.daemon.status import Status
    from vaultfs.daemon.sync_status import HoldFact, PeerFact, SyncFact

SHORT = 8
MOST = 8
STEPS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))

Row = tuple[str, Text | str | None]


def sync_rows(found: Status, now: float) -> list[Row]:
    """The lines about the remote."""
    sync = found.sync
    if sync is None:
        return [("Remote", found.remote)]
    return [
        ("Remote", _remote(found, sync, now)),
        ("Published", _published(sync, now) if not found.read_only else None),
        ("Pending", _pending(found, sync, now)),
        ("Waiting", _holds(sync)),
        ("Conflicts", _conflicts(sync)),
        ("Alarms", Text("\n".join(alarm.text for alarm in sync.alarms), style="red") if sync.alarms else None),
    ]


def devices(found: Status, now: float) -> list[Text | Table]:
    """A table of the machines, where there are others."""
    sync = found.sync
    if sync is None or not any(not one.this for one in sync.devices):
        return []
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("MACHINE", "COMMIT", "MADE", "LAG", "OPEN THERE"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"MADE", "LAG"})
    for one in sync.devices:
        lag = "-" if one.lag is None or one.this else f"{one.lag:.1f} s"
        style = "red" if not one.accepted else None
        name = Text(one.label + (" (here)" if one.this else ""), style=style or "")
        number = str(one.last.number) + ("*" if one.waiting else "") if one.last is not None else "-"
        made = since(one.last.time, now) if one.last is not None else "-"
        table.add_row(name, number, made, lag, Text(_open(one)))
    parts: list[Text | Table] = [Text(""), table]
    if any(one.waiting for one in sync.devices):
        parts.append(Text("* not merged here yet", style="dim"))
    return parts


def _remote(found: Status, sync: SyncFact, now: float) -> Text:
    label = found.remote or ""
    if sync.trouble is not None:
        began = f" ({since(sync.trouble.since, now)})" if sync.trouble.since else ""
        return Text(f"{label}\n{sync.trouble.kind}{began}: {sync.trouble.text}", style="red")
    if sync.reachable is None:
        return Text(f"{label} (not asked yet)")
    return Text.assemble(label, (f"  reachable, looked at {since(sync.seen, now)}", "green"))


def _published(sync: SyncFact, now: float) -> str:
    if sync.published is None:
        return "nothing since the mount"
    made = f", made {since(sync.published.time, now)}" if sync.published.time else ""
    return f"commit {sync.published.number}{made}"


def _pending(found: Status, sync: SyncFact, now: float) -> Text | str | None:
    if found.read_only:
        return None
    if sync.all_published:
        return Text("nothing: safe to open elsewhere", style="green")
    pending = sync.pending
    parts = [plural(pending.files, "change", "changes")] if pending.files else []
    parts += [plural(pending.commits, "commit", "commits")] if pending.commits else []
    parts += [size(pending.bytes)] if pending.bytes else []
    oldest = f", the oldest {since(pending.oldest, now)}" if pending.oldest else ""
    moving = f", {size(int(sync.transfers.rate))} a second" if sync.transfers.rate else ""
    return (", ".join(parts) or "not known yet") + oldest + moving


def held(hold: HoldFact, label: str | None) -> str:
    """What waits, of whose (the label of a device), and until when."""
    newer = f"a newer version by {label}" if label else "a newer version"
    if hold.staying:
        return f"{hold.path}: {newer} waits until {hold.staying}, which stays on this machine, is moved out of it"
    pids = ", ".join(map(str, hold.pids))
    return f"{hold.path}: {newer} waits until {f'process {pids}' if pids else 'a program'} closes it"


def _holds(sync: SyncFact) -> Text | None:
    """Newer versions that wait for a close, and what is on its way."""
    labels = {one.id: one.label for one in sync.devices}
    lines = [held(hold, labels.get(hold.device or "")) for hold in sync.holds[:MOST]]
    if len(sync.holds) > MOST:
        lines.append(f"and {len(sync.holds) - MOST} more")
    rest = sync.lag - len(sync.holds)
    if rest > 0:
        lines.append(f"{plural(rest, 'name is', 'names are')} being brought up to date")
    return Text("\n".join(lines), style="yellow") if lines else None


def _conflicts(sync: SyncFact) -> Text | None:
    if not sync.conflicts:
        return None
    return Text(f"{sync.conflicts}: see vaultfs conflicts", style="yellow")


def _open(one: PeerFact) -> str:
    paths = [item.path for item in one.open[:MOST]]
    if len(one.open) > MOST:
        paths.append(f"and {len(one.open) - MOST} more")
    return "\n".join(paths) or "-"


def since(time: str | None, now: float) -> str:
    """`3 minutes ago`, for a time of a status."""
    return "never" if time is None else ago(now - datetime.fromisoformat(time).timestamp())


def ago(seconds: float) -> str:
    """`3 minutes ago`."""
    for length, name in STEPS:
        count = int(max(seconds, 0) // length)
        if count:
            return plural(count, name, name + "s") + " ago"
    return "just now"
