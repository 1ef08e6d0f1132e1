"""What `vaultfs status --json`, the control socket and MOUNT/.vaultfs/status say. One shape for all three.

The fields are a promise to programs (docs/cli-contract.md): they may be added to, never renamed or removed.
Sizes are bytes, times RFC 3339 in UTC. What is not known is null: most is only known while mounted.
"""

from __future__ import annotations

import platform

import msgspec

import vaultfs
from vaultfs.daemon.presence import DrivenFact, LeaseFact  # noqa: TC001 - msgspec reads them when it runs
from vaultfs.daemon.sync_status import SyncFact  # noqa: TC001 - msgspec reads it when it runs
from vaultfs.daemon.text import instant, printable
from vaultfs.fuse.options import PYFUSE3

SCHEMA = 1

Bytes = bytes  # in a class that has a field of that name


class DeviceFact(msgspec.Struct, frozen=True):
    """A machine in the vault: its id in hex, and the name a person gave it."""

    id: str
    label: str


class OpenFact(msgspec.Struct, frozen=True):
    """A file open for writing here, the process, and since when."""

    path: str
    pid: int
    since: str


class StorageFact(msgspec.Struct, frozen=True):
    """Bytes on this disk: changes not yet sealed, sealed packs, what is dead in them, the read cache."""

    journal_bytes: int = 0
    pack_bytes: int = 0
    garbage_bytes: int = 0
    cache_bytes: int = 0


class HealthFact(msgspec.Struct, frozen=True):
    """`ok`, and if not, what is wrong."""

    ok: bool = True
    problems: list[str] = msgspec.field(default_factory=list)


class StartupFact(msgspec.Struct, frozen=True):
    """What opening the store found: `clean`, or what was replayed after a crash."""

    clean: bool = True
    records: int = 0
    bytes: int = 0
    seconds: float = 0.0
    dropped_bytes: int = 0
    notes: list[str] = msgspec.field(default_factory=list)


class FuseFact(msgspec.Struct, frozen=True):
    """How the kernel is talked to: mode is `handshake` (fast) or `plain`, text says why.

    `lane`: `both`, or `pyfuse3` alone. `requests`: how many of each kind came; `passed_on`: of those, how many pyfuse3
    answered (both are empty where it answers all). `missing`: what the kernel does not offer. `quick_wakes`: `yes`, or
    why processors are not kept awake between requests that come quickly (empty where pyfuse3 answers all).
    """

    mode: str = ""
    text: str = ""
    lane: str = PYFUSE3
    requests: dict[str, int] = msgspec.field(default_factory=dict)
    passed_on: int = 0
    quick_wakes: str = ""
    missing: list[str] = msgspec.field(default_factory=list)


class VersionsFact(msgspec.Struct, frozen=True):
    """What runs."""

    vaultfs: str
    python: str
    pyfuse3: str
    kernel: str


class Status(msgspec.Struct, kw_only=True):
    """One vault on this machine. `state`: mounted, unmounted, dead (daemon gone), busy (another command)."""

    schema: int = SCHEMA
    vault: str
    vault_id: str | None = None
    state: str = "unmounted"
    wallet: str | None = None
    device: DeviceFact | None = None
    mountpoint: str | None = None
    pid: int | None = None
    since: str | None = None
    read_only: bool = False
    remote: str | None = None
    published: bool = False
    files: int | None = None
    directories: int | None = None
    bytes: int | None = None
    dirty_bytes: int | None = None
    open_for_writing: list[OpenFact] = msgspec.field(default_factory=list)
    storage: StorageFact = StorageFact()
    format_version: int | None = None
    sync: SyncFact | None = None
    driving: list[DrivenFact] = msgspec.field(default_factory=list)
    leases: list[LeaseFact] = msgspec.field(default_factory=list)
    health: HealthFact = HealthFact()
    startup: StartupFact | None = None
    fuse: FuseFact | None = None
    versions: VersionsFact | None = None

    def encode(self) -> Bytes:
        """The JSON, indented, with a newline at the end."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def decode(text: bytes) -> Status:
    """A daemon's answer; fields of a newer one are ignored. Raises `msgspec.DecodeError`."""
    return msgspec.json.decode(text, type=Status)


def of_facts(facts: dict[str, object]) -> Status:
    """A status from its plain values."""
    return msgspec.convert(facts, type=Status)


def versions() -> VersionsFact:
    """The versions of this process."""
    from importlib import metadata  # noqa: PLC0415 - only the daemon asks; it would be a tenth of what a command takes

    try:
        pyfuse3 = metadata.version("pyfuse3")
    except metadata.PackageNotFoundError:
        pyfuse3 = ""
    return VersionsFact(vaultfs.__version__, platform.python_version(), pyfuse3, platform.release())


__all__ = ["Status", "decode", "instant", "of_facts", "printable", "versions"]
