"""Who else works with what is in a directory of the vault: facts for `status`, sentences for people.

`vaultfs run` calls `warnings_at`, which asks the mount's own status: no process, no socket, no remote.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from vaultfs.daemon.sync_status import PathFact  # noqa: TC001 - msgspec reads it when it runs
from vaultfs.daemon.text import instant, printable

if TYPE_CHECKING:
    import os

RECENT = 60.0  #: seconds in which what another device wrote is "just now"
_SHOWN = 3


class DriverFact(msgspec.Struct, frozen=True):
    """Another device: its id (hex) and name, when it wrote there last (null: not known), what it has open there."""

    device: str
    label: str
    wrote: str | None = None
    open: list[PathFact] = msgspec.field(default_factory=list)

    def recent(self, now: float) -> bool:
        """Whether it wrote less than a minute ago (by that device's clock and this one's), or has something open."""
        if self.open:
            return True
        return self.wrote is not None and now - datetime.fromisoformat(self.wrote).timestamp() < RECENT


class DrivenFact(msgspec.Struct, frozen=True):
    """A directory of the vault (`agent`: the adopted agent that it is of), and the other devices that wrote there."""

    path: str
    agent: str | None = None
    devices: list[DriverFact] = msgspec.field(default_factory=list)


class LeaseFact(msgspec.Struct, frozen=True):
    """A lease that holds: the path ("": the whole vault), whose it is, from when until when. `this`: this machine's."""

    path: str
    device: str
    label: str
    this: bool
    since: str
    until: str


class _Status(msgspec.Struct):
    """What is needed here of `vaultfs.daemon.status.Status`, which has these facts in it."""

    driving: list[DrivenFact] = msgspec.field(default_factory=list)
    leases: list[LeaseFact] = msgspec.field(default_factory=list)


def warnings_at(mountpoint: str | os.PathLike[str], path: str, now: float | None = None) -> list[str]:
    """Sentences for whoever is about to write below `path` (from the top of the vault) here; empty: nobody else is.

    Never raises: what cannot be found out is no reason not to work.
    """
    try:
        found = msgspec.json.decode(Path(mountpoint, ".vaultfs", "status").read_bytes(), type=_Status)
    except (OSError, msgspec.DecodeError):
        return []
    now = time.time() if now is None else now
    said = [sentence(driver, path, now) for driver in drivers(found.driving, path) if driver.recent(now)]
    return said + [lease_sentence(lease) for lease in found.leases if not lease.this and _touch(lease.path, path)]


def drivers(driving: list[DrivenFact], path: str) -> list[DriverFact]:
    """The other devices in the directory `path`; those of the directory above it where that alone is known."""
    above = [one for one in driving if path == one.path or path.startswith(one.path + "/")]
    return max(above, key=lambda one: len(one.path)).devices if above else []


def sentence(driver: DriverFact, path: str, now: float) -> str:
    """What another device does there."""
    parts = []
    if driver.wrote is not None:
        seconds = max(now - datetime.fromisoformat(driver.wrote).timestamp(), 0)
        parts.append(f"wrote there {_ago(seconds)}")
    if driver.open:
        names = ", ".join(one.path for one in driver.open[:_SHOWN])
        more = f" and {len(driver.open) - _SHOWN} more" if len(driver.open) > _SHOWN else ""
        parts.append(f"has {names}{more} open for writing")
    return f"{driver.label}: {' and '.join(parts) or 'was there'} ({path or 'the vault'})."


def lease_sentence(lease: LeaseFact) -> str:
    """Who wishes to be alone where, until when."""
    until = datetime.fromisoformat(lease.until).astimezone()
    return f"{lease.label} has leased {lease.path or 'the whole vault'} until {until:%Y-%m-%d %H:%M}."


def lease_fact(device: bytes, label: str, this: bool, path: str, since: datetime, until: datetime) -> LeaseFact:
    """A lease, fit for JSON and screens."""
    times = (instant(moment.astimezone(UTC).timestamp()) for moment in (since, until))
    return LeaseFact(printable(path), device.hex(), printable(label), this, *times)


def _touch(one: str, other: str) -> bool:
    """Whether one is at or below the other, or the other way round."""
    return not one or not other or one == other or one.startswith(other + "/") or other.startswith(one + "/")


def _ago(seconds: float) -> str:
    for length, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        count = int(seconds // length)
        if count:
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return "just now"
