"""When to commit: soon after writing stops or becomes little beside what waits; at the latest now and then."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaultfs.sync.ports import Pace

_LITTLE = 10  # a tenth of what waits


class Pacing:
    """Looked at again and again. Times are seconds of any clock; `written` is a count that grows with what is written.

    Due is a commit `pace.after` seconds after the last change, and at most `pace.every` after the first. It is also due
    when the last `pace.after` seconds brought no more than a tenth of what waits: a thousand files were copied, and the
    database that somebody works in all the time must not keep them.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._before = 0  # the count when there was nothing to commit
        self._since: float | None = None
        self._marks: deque[tuple[float, int]] = deque()

    def nothing(self, written: int) -> None:
        """There is nothing to commit."""
        self._before, self._since = written, None
        self._marks.clear()

    def waited(self, now: float) -> float:
        """Seconds since the first change was seen."""
        return 0.0 if self._since is None else now - self._since

    def due(self, now: float, written: int) -> bool:
        """There is something to commit: whether it is time."""
        if self._since is None:
            self._since = now
        marks, start = self._marks, now - self._pace.after
        marks.append((now, written))
        while len(marks) > 1 and marks[1][0] <= start:
            marks.popleft()
        if self.waited(now) >= self._pace.every:
            return True
        lately = written - marks[0][1]
        return marks[0][0] <= start and lately * _LITTLE <= written - self._before
