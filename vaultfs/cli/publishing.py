"""Have the daemon publish, and show how far it is."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import msgspec

from vaultfs.cli.progress import Bar
from vaultfs.cli.status_sync import held
from vaultfs.daemon.asking import ask
from vaultfs.daemon.client import NoAnswerError, call
from vaultfs.daemon.report import report
from vaultfs.daemon.status import decode

if TYPE_CHECKING:
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.daemon.sync_status import SyncFact

TICK = 0.2
SECOND = 1.0


def ask_with_bar(place: VaultPlaces, target: str, wish: msgspec.Struct, seconds: float, *, quiet: bool) -> None:
    """As `asking.ask`, with a bar of what waits to be published while it takes its time."""
    with ThreadPoolExecutor(1) as pool, Bar("Publishing", quiet=quiet) as bar:
        future = pool.submit(ask, place, target, wish, timeout=seconds)
        started, most = time.monotonic(), 0
        while wait([future], TICK).not_done:
            if not bar.live or time.monotonic() - started < SECOND:
                continue
            found = _look(place)
            if found is not None:
                most = max(most, found.pending.bytes)
                text = f"Publishing ({found.trouble.kind})" if found.trouble is not None else "Publishing"
                bar.update(most - found.pending.bytes, most, text)
        future.result()


def outcome(place: VaultPlaces) -> dict[str, Any]:
    """For JSON: where things stand now."""
    found = report(place)
    published = found.sync.published if found.sync is not None else None
    return {
        "vault": place.name,
        "published": found.published,
        "commit": published.number if published is not None else None,
        "open_for_writing": [item.path for item in found.open_for_writing],
        "holds": [hold.path for hold in found.sync.holds] if found.sync is not None else [],
    }


def waiting(place: VaultPlaces) -> list[str]:
    """What of other machines is not in place here, in words: who works here should know."""
    sync = report(place).sync
    if sync is None:
        return []
    labels = {one.id: one.label for one in sync.devices}
    return [f"Not in place yet: {held(hold, labels.get(hold.device or ''))}" for hold in sync.holds]


def _look(place: VaultPlaces) -> SyncFact | None:
    try:
        return decode(call(place.socket, "GET", "/status", timeout=SECOND)).sync
    except (NoAnswerError, msgspec.DecodeError):
        return None
