"""The part of a status that is about who else works where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from vaultfs.daemon.presence import lease_sentence, sentence

if TYPE_CHECKING:
    from vaultfs.daemon.status import Status

MOST = 8


def presence_rows(found: Status, now: float) -> list[tuple[str, Text | None]]:
    """Who wrote less than a minute ago or has something open, and what is leased."""
    busy = [sentence(driver, one.path, now) for one in found.driving for driver in one.devices if driver.recent(now)]
    leases = [lease_sentence(lease) for lease in found.leases]
    return [("At work", _lines(busy, "yellow")), ("Leases", _lines(leases, ""))]


def _lines(lines: list[str], style: str) -> Text | None:
    if len(lines) > MOST:
        lines = [*lines[:MOST], f"and {len(lines) - MOST} more"]
    return Text("\n".join(lines), style=style) if lines else None
