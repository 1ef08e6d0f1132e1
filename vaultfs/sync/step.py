"""In step: since when what this machine refers to was all in heads that others could see, or made here since.

Right after a look that brought everything in, with nothing changed here since the last cut, whatever the working tree
and the base refer to is in a head that is on the remote, or was just made. What a later cut takes was made from that.
A head that comes within `WITHIN` of such a moment brings back nothing that all heads had lost before. One that comes
later may: its machine was away, asleep or could not publish. Such a head is *late*: it stays on the remote for
`LATE_DAYS` (vaultfs.sync.thinning), so that `gc` sees it, however soon others replace it (docs/sync.md, "Room on the
remote").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs import clock

if TYPE_CHECKING:
    from collections.abc import Iterable

WITHIN = 5 * 60 * 1_000_000_000  # ns; what is replaced stays for twice as long (thinning.RECENT)


class Step:
    """Moments of looks, and what was cut from which. Nothing of it outlives the process: who starts is out of step."""

    def __init__(self) -> None:
        self._look: int | None = None  # when the last look that brought everything in began
        self._cut: int | None = None  # that look, at the last cut
        self._made: dict[int, int] = {}  # by the numbers of commits that wait: the moment they were made from

    def looked(self, begun: int, *, clean: bool) -> None:
        """A look that began then has brought everything in; `clean`: nothing was changed here since the last cut."""
        self._look = begun
        if clean:
            self._cut = begun

    def cut(self) -> int | None:
        """A cut takes what was changed; returns what it was made from, None where that is not known."""
        moment, self._cut = self._cut, self._look
        return moment

    def failed(self, moment: int | None) -> None:
        """The cut that was made from `moment` came to nothing: the next one takes what it had."""
        self._cut = moment

    def made(self, number: int, moment: int | None) -> None:
        """A commit waits that was made from what was there at `moment`."""
        if moment is not None:
            self._made[number] = moment

    def merged(self, number: int) -> None:
        """A commit waits that has only what heads and commits have."""
        self.made(number, self._look)

    def late(self, numbers: Iterable[int]) -> bool:
        """Whether a head with these commits, stored just now, is late. They are forgotten."""
        moments = [self._made.pop(number, None) for number in numbers]
        now = clock.since_boot()
        return any(moment is None or now - moment > WITHIN for moment in moments)
