"""One poll: what is known of our own heads before it, what it has listed, and what became of each look."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Own:
    """What this machine knows of its own heads.

    `published`: the highest number that the remote is known to have. `queued`: the bytes of a head that was made and
    is not known to be there; None for a number that was never used. `public_key`: ours; None: whichever was seen.
    """

    device: bytes
    published: Callable[[], int] = lambda: 0
    queued: Callable[[int], bytes | None] = lambda _: None
    public_key: bytes | None = None


class Found(Enum):
    """What became of a look at one head."""

    OPENED = auto()
    MISSING = auto()
    BROKEN = auto()
    LATER = auto()  # see `Unreadable`


@dataclass
class Looking:
    """What one poll has listed, and found. `failed`: by device and number why a head did not open."""

    listed: dict[bytes, set[int]]
    failed: dict[bytes, dict[int, str]] = field(default_factory=dict)
    found: dict[tuple[bytes, int], Found] = field(default_factory=dict)

    def shows(self, device: bytes, number: int) -> bool:
        """Whether that head is listed; what is in it is another matter."""
        return number in self.listed.get(device, ())

    def fail(self, device: bytes, number: int, why: str) -> None:
        """It may still be on its way to there."""
        self.failed.setdefault(device, {})[number] = why
