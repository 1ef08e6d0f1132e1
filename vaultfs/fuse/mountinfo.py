"""Which mounts there are, from /proc/self/mountinfo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FILESYSTEM_TYPE = "fuse.vaultfs"

_ESCAPE = re.compile(rb"\\([0-7]{3})")
_FIELDS_BEFORE_OPTIONAL = 6
_FIELDS_AFTER_OPTIONAL = 3


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One mount. `device` is `major:minor`, the minor being the FUSE connection's number.

    `owner` is the user whose daemon serves it, None where the kernel does not say.
    """

    mountpoint: bytes
    device: str
    kind: str
    source: bytes
    owner: int | None = None

    @property
    def is_vault(self) -> bool:
        """Whether this is one of ours."""
        return self.kind == FILESYSTEM_TYPE


def _plain(field: bytes) -> bytes:
    """A mountinfo field with its octal escapes (space, tab, newline, backslash, hash) undone."""
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 8) & 0xFF,)), field)


def parse(text: bytes) -> list[MountEntry]:
    """The mounts in mountinfo's order; a later one on the same place covers an earlier. Odd lines are skipped."""
    entries = []
    for line in text.split(b"\n"):
        before, separator, after = line.partition(b" - ")
        head, tail = before.split(b" "), after.split(b" ")
        if not separator or len(head) < _FIELDS_BEFORE_OPTIONAL or len(tail) < _FIELDS_AFTER_OPTIONAL:
            continue
        entries.append(
            MountEntry(
                mountpoint=_plain(head[4]),
                device=head[2].decode("ascii", "replace"),
                kind=_plain(tail[0]).decode("utf-8", "replace"),
                source=_plain(tail[1]),
                owner=_owner(tail[2]),
            ),
        )
    return entries


def _owner(options: bytes) -> int | None:
    """From a FUSE mount's own options."""
    found = re.search(rb"(?:^|,)user_id=(\d+)(?:,|$)", options)
    return int(found[1]) if found else None


def mounts() -> list[MountEntry]:
    """All mounts this process sees."""
    return parse(Path("/proc/self/mountinfo").read_bytes())


def mounted_at(mountpoint: str | bytes) -> MountEntry | None:
    """The topmost mount at just this (absolute, resolved) place, or None."""
    place = mountpoint if isinstance(mountpoint, bytes) else mountpoint.encode("utf-8", "surrogateescape")
    found = None
    for entry in mounts():
        if entry.mountpoint == place:
            found = entry
    return found


def vault_at(mountpoint: str | bytes) -> MountEntry | None:
    """The mount at this place if it is a vault of ours, alive or dead."""
    entry = mounted_at(mountpoint)
    return entry if entry is not None and entry.is_vault else None
