"""What `status` says about other machines and the remote: the engine's facts as JSON has them.

The fields are a promise to programs, as those of `vaultfs.daemon.status`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from vaultfs.daemon.text import instant, printable

if TYPE_CHECKING:
    from vaultfs.sync import facts

NANO = 1_000_000_000

Bytes = int  # in a class that has a field of that name


class TroubleFact(msgspec.Struct, frozen=True):
    """Why the remote does not work, since when. `kind`: unreachable, sign-in, permission, full, gone, refused."""

    kind: str
    text: str
    since: str | None = None


class CommitFact(msgspec.Struct, frozen=True):
    """A commit of one device: its number, as `vaultfs log` shows it, and when it was made."""

    number: int
    time: str | None = None


class PathFact(msgspec.Struct, frozen=True):
    """A path in the vault, and since when."""

    path: str
    since: str | None = None


class PeerFact(msgspec.Struct, frozen=True, kw_only=True):
    """One machine, as its newest commit that was seen here says. `lag`: seconds until that was seen here."""

    id: str
    label: str
    this: bool = False
    last: CommitFact | None = None
    lag: float | None = None
    waiting: bool = False
    accepted: bool = True
    open: list[PathFact] = msgspec.field(default_factory=list)
    held: list[PathFact] = msgspec.field(default_factory=list)


class PendingFact(msgspec.Struct, frozen=True):
    """What is here and not on the remote yet; `oldest`: when the oldest of it was written."""

    commits: int = 0
    files: int = 0
    bytes: int = 0
    oldest: str | None = None


class HoldFact(msgspec.Struct, frozen=True):
    """A newer version waits until these processes close the file. `device`: the id of whose version it is.

    `staying`: or until this is moved out of the directory, because it stays on this machine.
    """

    path: str
    pids: list[int] = msgspec.field(default_factory=list)
    since: str | None = None
    device: str | None = None
    staying: str | None = None


class AlarmFact(msgspec.Struct, frozen=True):
    """Something that must not be: rollback, forged, damaged. `device`: the id of whom it is about."""

    kind: str
    text: str
    device: str | None = None
    object: str | None = None
    since: str | None = None


class TransferFact(msgspec.Struct, frozen=True):
    """What is under way, in bytes, and bytes a second."""

    done: int = 0
    total: int = 0
    rate: float = 0.0


class SyncFact(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about other machines and the remote. `seen`: when the remote was last looked at successfully."""

    reachable: bool | None = None
    trouble: TroubleFact | None = None
    root: str | None = None
    published: CommitFact | None = None
    committed: CommitFact | None = None
    seen: str | None = None
    devices: list[PeerFact] = msgspec.field(default_factory=list)
    pending: PendingFact = PendingFact()
    holds: list[HoldFact] = msgspec.field(default_factory=list)
    lag: int = 0
    conflicts: int = 0
    alarms: list[AlarmFact] = msgspec.field(default_factory=list)
    transfers: TransferFact = TransferFact()
    requests: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def all_published(self) -> bool:
        """Whether another machine can open the vault and find everything."""
        pending = self.pending
        return self.root is not None and not (pending.commits or pending.files or pending.bytes)


def sync_fact(found: facts.SyncFacts) -> SyncFact:
    """The engine's facts, fit for JSON."""
    trouble = found.trouble
    return SyncFact(
        reachable=found.reachable,
        trouble=None if trouble is None else TroubleFact(str(trouble.kind), trouble.text, _when(trouble.since)),
        root=found.root.hex() or None,
        published=_commit(found.published),
        committed=_commit(found.committed),
        seen=_when(found.seen),
        devices=[_peer(device) for device in found.devices],
        pending=PendingFact(
            found.pending.commits, found.pending.files, found.pending.bytes, _when(found.pending.oldest)
        ),
        holds=[
            HoldFact(
                printable(hold.path),
                list(hold.pids),
                _when(hold.since),
                hold.device.hex() or None,
                printable(hold.staying) or None,
            )
            for hold in found.holds
        ],
        lag=found.lag,
        conflicts=found.conflicts,
        alarms=[
            AlarmFact(alarm.kind, alarm.text, alarm.device.hex() or None, alarm.object or None, _when(alarm.since))
            for alarm in found.alarms
        ],
        transfers=TransferFact(found.transfers.done, found.transfers.total, found.transfers.rate),
        requests=found.requests,
    )


def _peer(device: facts.DeviceFacts) -> PeerFact:
    return PeerFact(
        id=device.id.hex(),
        label=device.label,
        this=device.this,
        last=_commit(device.last),
        lag=device.lag,
        waiting=device.waiting,
        accepted=device.accepted,
        open=[PathFact(printable(item.path), _when(item.since)) for item in device.open],
        held=[PathFact(printable(item.path), _when(item.since)) for item in device.held],
    )


def _commit(commit: facts.Commit | None) -> CommitFact | None:
    return None if commit is None else CommitFact(commit.number, _when(commit.time))


def _when(time: int) -> str | None:
    return instant(time / NANO) if time else None
