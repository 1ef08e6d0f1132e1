"""Which of a device's old heads stay: the newest, then ever fewer.

Every head is a commit that one can go back to, and one more line in each listing. Kept are the newest `NEWEST`, one for
every ten minutes of the last day, and one for each day of the retention. And what `gc` must not miss (docs/sync.md,
"Room on the remote"): what was replaced within the last `RECENT`, and for `LATE_DAYS` every late head
(vaultfs.sync.step).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vaultfs.sync.step import WITHIN

if TYPE_CHECKING:
    from collections.abc import Sequence

NEWEST = 50
RECENT = 2 * WITHIN
LATE_DAYS = 90
_SECOND = 1_000_000_000
_OFTEN = 600 * _SECOND
_DAY = 86_400 * _SECOND


class Kept(NamedTuple):
    """A head on the remote: its number, when it was stored (ns since 1970), whether it was late."""

    number: int
    stored: int
    late: bool = False


def surplus(heads: Sequence[Kept], now: int, days: int) -> list[int]:
    """The numbers of heads that can go. `heads`: ascending; `days`: the retention."""
    kept: set[int] = set()
    out = []
    for at, head in enumerate(heads[:-NEWEST] if len(heads) > NEWEST else ()):
        age = now - head.stored
        step = _OFTEN if age < _DAY else _DAY
        place = head.stored // step * 2 + (step == _DAY)
        needed = now - heads[at + 1].stored <= RECENT or (head.late and age <= LATE_DAYS * _DAY)
        if not needed and (place in kept or age > days * _DAY):
            out.append(head.number)
        kept.add(place)
    return out
