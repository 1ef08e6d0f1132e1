"""What a device says of itself to the others, and how far that is believed. No files here: see `vaultfs.daemon.cards`.

Any holder of the vault's keys can write any card. So all of it is foreign: checked for kind, number and length, shown
through `printable`, and what is wrong is passed over.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

FORMAT = 1
CARD_MAX = 1 << 16  #: bytes of a card
LONGEST = timedelta(days=7)  #: of a lease
SKEW = timedelta(hours=1)  # that two clocks may differ, before a lease that ends too late is taken for nonsense
_PATH_MAX = 4096
_PROJECTS_MAX = 256
_LEASES_MAX = 64
_NAME = re.compile(r"([0-9a-f]{32})\.json")

_Path = Annotated[str, msgspec.Meta(max_length=_PATH_MAX)]
_Word = Annotated[str, msgspec.Meta(max_length=256)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Lease(msgspec.Struct, frozen=True):
    """A device wishes to be the only one that writes at and below `path` (from the top of the vault; "": all of it).

    `since`, `until`: instants with a time zone, RFC 3339 in the file.
    """

    path: _Path
    since: _Time
    until: _Time

    def holds(self, now: datetime) -> bool:
        """Whether it still counts, by this machine's clock. One that would go on for longer than can be never does."""
        return now < self.until <= now + LONGEST + SKEW

    def covers(self, path: str) -> bool:
        """Whether `path` is at or below that of the lease."""
        return not self.path or path == self.path or path.startswith(self.path + "/")

    def touches(self, path: str) -> bool:
        """Whether something is at or below both."""
        return self.covers(path) or not path or self.path.startswith(path + "/")


class Card(msgspec.Struct, frozen=True):
    """One device: where its vault is mounted, its HOME, its agents (name to path in the vault), project directories.

    `mountpoint`, `home` and `projects` are absolute paths there; "" is what is not known.
    """

    format: int = FORMAT
    label: _Word = ""
    mountpoint: _Path = ""
    home: _Path = ""
    agents: Annotated[dict[_Word, _Path], msgspec.Meta(max_length=64)] = msgspec.field(default_factory=dict)
    projects: Annotated[list[_Path], msgspec.Meta(max_length=_PROJECTS_MAX)] = msgspec.field(default_factory=list)
    leases: Annotated[list[Lease], msgspec.Meta(max_length=_LEASES_MAX)] = msgspec.field(default_factory=list)

    def leased(self, now: datetime) -> list[Lease]:
        """The leases that hold now."""
        return [lease for lease in self.leases if lease.holds(now)]


def card_name(device: bytes) -> str:
    """The name of a device's card."""
    return device.hex() + ".json"


def device_of(name: str | bytes) -> bytes | None:
    """The id of the device whose card is called so; None if that is no card's name."""
    found = _NAME.fullmatch(name if isinstance(name, str) else name.decode("utf-8", "replace"))
    return bytes.fromhex(found[1]) if found else None


def decode_card(data: bytes) -> Card | None:
    """The card with these bytes; None if they are none. What a newer version added is passed over."""
    if len(data) > CARD_MAX:
        return None
    try:
        card = msgspec.json.decode(data, type=Card)
    except (msgspec.DecodeError, RecursionError):
        return None
    agents = {name: path for name, path in card.agents.items() if path and in_vault(path)}
    leases = [lease for lease in card.leases if in_vault(lease.path)]
    return msgspec.structs.replace(card, agents=agents, leases=leases)


def encode_card(card: Card, now: datetime) -> bytes:
    """The bytes of this device's card, as others will take it. Leases that are over are left out, and what is too much.

    ValueError if it is nothing that `decode_card` would take.
    """
    card = msgspec.structs.replace(
        card,
        leases=[
            msgspec.structs.replace(lease, since=_whole(lease.since), until=_whole(lease.until))
            for lease in card.leased(now)[-_LEASES_MAX:]
        ],
        projects=card.projects[-_PROJECTS_MAX:],
    )
    data = msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"
    if decode_card(data) != card:
        raise ValueError("too much, or too long, or no path of a vault")
    return data


def in_vault(path: str) -> bool:
    """Whether that is how a path is written from the top of a vault: no `/` before or after it, no `.` or `..`."""
    return not path or (not {"", ".", ".."} & set(path.split("/")) and "\0" not in path)


def _whole(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=0)
