"""The status of a mounted vault, by its daemon."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from vaultfs.daemon.status import (
    DeviceFact,
    FuseFact,
    HealthFact,
    OpenFact,
    StartupFact,
    Status,
    StorageFact,
    instant,
    printable,
    versions,
)
from vaultfs.daemon.sync_status import sync_fact
from vaultfs.fuse.options import BOTH, PYFUSE3

if TYPE_CHECKING:
    from vaultfs.daemon.following import Following
    from vaultfs.daemon.job import Opened
    from vaultfs.daemon.neighbors import Neighbors
    from vaultfs.fuse.fast.lane import FastLane
    from vaultfs.fuse.session import MountReport
    from vaultfs.tree import Tree

NANO = 1_000_000_000


class LiveStatus:
    """Makes a `Status` from the tree whenever somebody asks. Called in the trio loop only."""

    def __init__(self, opened: Opened, tree: Tree, following: Following, neighbors: Neighbors) -> None:
        self._neighbors = neighbors
        self._tree = tree
        self._following = following
        job, identity, start = opened.job, opened.identity, tree.startup
        self._lane: FastLane | None = None
        self.where = f"Mounted at {printable(job.mountpoint)}"  #: for `in_words`
        # What never changes while mounted.
        self._fixed = Status(
            vault=job.vault.name,
            vault_id=opened.keys.vault_id.hex(),
            state="mounted",
            wallet=opened.wallet or None,
            device=DeviceFact(identity.id.hex(), identity.label),
            mountpoint=printable(job.mountpoint),
            pid=os.getpid(),
            since=instant(job.since),
            read_only=job.options.read_only,
            remote=job.remote or None,
            startup=StartupFact(
                start.clean, start.records, start.bytes, start.seconds, start.dropped_bytes, list(start.notes)
            ),
            versions=versions(),
        )

    def mounted(self, report: MountReport) -> None:
        """The kernel answers: how it is talked to."""
        self._lane = report.lane
        lane = "both lanes" if report.lane is not None else "pyfuse3 alone"
        text = f"handshake done, writes are fast, {lane}" if report.way == "handshake" else f"writes are slower, {lane}"
        if report.detail:
            text += f" ({report.detail})"
        lane = PYFUSE3 if report.lane is None else BOTH
        self._fixed = msgspec.structs.replace(
            self._fixed,
            fuse=FuseFact(report.way, text, lane, missing=report.missing, quick_wakes=report.quick_wakes),
        )

    def now(self) -> Status:
        """The status at this moment."""
        stats = self._tree.stats()
        problems = [printable(text) for text in self._tree.health]
        found = self._following.facts()
        sync = None if found is None else sync_fact(found)
        problems += [alarm.text for alarm in sync.alarms] if sync is not None else []
        return msgspec.structs.replace(
            self._fixed,
            files=stats.files,
            directories=stats.directories,
            bytes=stats.bytes,
            dirty_bytes=stats.dirty_bytes,
            open_for_writing=[
                OpenFact(printable(item.path), item.pid, instant(item.since_ns / NANO))
                for item in self._tree.open_for_writing()
            ],
            storage=StorageFact(stats.journal_bytes, stats.pack_bytes, stats.garbage_bytes, 0),
            format_version=stats.format_version,
            published=sync is not None and sync.all_published,
            sync=sync,
            fuse=self._fuse(),
            driving=self._neighbors.driving(),
            leases=self._neighbors.leases(),
            health=HealthFact(not problems, problems),
        )

    def _fuse(self) -> FuseFact | None:
        fixed, lane = self._fixed.fuse, self._lane
        if fixed is None or lane is None:
            return fixed
        return msgspec.structs.replace(fixed, requests=lane.requests(), passed_on=lane.relayed)

    def in_words(self) -> str:
        """One line for the service manager."""
        found = self._following.facts()
        sync = None if found is None else sync_fact(found)
        if sync is None:
            return f"{self.where}."
        if sync.all_published:
            return f"{self.where}; all is published."
        if sync.trouble is not None:
            return f"{self.where}; not all is published: {sync.trouble.text}"
        return f"{self.where}; {sync.pending.bytes} bytes are to be published."

    def encode(self) -> bytes:
        """The JSON of `now`, for whoever asks."""
        self._neighbors.asked()
        return self.now().encode()

    def facts(self) -> dict[str, object]:
        """The status as plain values, for the command that waits for the mount."""
        facts: dict[str, object] = msgspec.to_builtins(self.now())
        return facts
