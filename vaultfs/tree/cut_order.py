"""In what order directories and files are moved, removed and made, so that each step can be done after the one before.

As with system calls: what is moved must find its new directory there and the name free, and what is removed must hold
nothing that stays. Where names change places in a circle, one of them waits under a name of its own at the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vaultfs.tree.changes import Slot


class Step(NamedTuple):
    """What becomes of one inode: it is moved, removed (`new` None) or, a directory, made (`old` None)."""

    ino: int
    old: Slot | None
    new: Slot | None


class Order:
    """Puts steps into an order.

    `above_new`, `above_old`: the directory that a directory is in, in the end and before; None at the top.
    `emit` gets each step in turn, and True if it is only moved out of the way for now.
    """

    def __init__(
        self,
        steps: Iterable[Step],
        emit: Callable[[Step, bool], None],
        *,
        above_new: Callable[[int], int | None],
        above_old: Callable[[int], int | None],
    ) -> None:
        self._steps = list(steps)
        self._emit = emit
        # Two moments of a step: something is out of its old place, and it is in its new one.
        self._left: list[list[int]] = [[] for _ in self._steps]
        self._placed: list[list[int]] = [[] for _ in self._steps]
        self._needs: list[set[tuple[int, bool]]] = [set() for _ in self._steps]
        self._away: set[int] = set()
        self._done: set[int] = set()
        self._collect(above_new, above_old)

    def _collect(self, above_new: Callable[[int], int | None], above_old: Callable[[int], int | None]) -> None:
        leaving = {step.old: number for number, step in enumerate(self._steps) if step.old is not None}
        coming = {step.ino: number for number, step in enumerate(self._steps) if step.new is not None}
        removed = {step.ino: number for number, step in enumerate(self._steps) if step.new is None}
        holder_new: dict[int, int | None] = {}
        holder_old: dict[int, int | None] = {}
        for number, step in enumerate(self._steps):
            if step.new is not None:
                occupant = leaving.get(step.new)
                if occupant is not None and occupant != number:
                    self._need(number, occupant, placed=False)
                directory = _nearest(step.new[0], coming, above_new, holder_new)
                if directory is not None:
                    self._need(number, directory, placed=True)
                if step.ino in removed:  # what cannot be moved is removed, and made again elsewhere
                    self._need(number, removed[step.ino], placed=False)
            if step.old is not None:
                directory = _nearest(step.old[0], removed, above_old, holder_old)
                if directory is not None and directory != number:
                    self._need(directory, number, placed=False)

    def _need(self, number: int, other: int, *, placed: bool) -> None:
        if (other, placed) not in self._needs[number]:
            self._needs[number].add((other, placed))
            (self._placed if placed else self._left)[other].append(number)

    def run(self) -> None:
        """Emits all steps."""
        ready = [number for number in range(len(self._steps) - 1, -1, -1) if not self._needs[number]]
        waiting = iter(range(len(self._steps)))
        while len(self._done) < len(self._steps):
            while ready:
                number = ready.pop()
                self._emit(self._steps[number], False)  # as documented
                self._done.add(number)
                if number not in self._away:
                    ready += self._met(self._left[number], (number, False))
                ready += self._met(self._placed[number], (number, True))
            for number in waiting:
                if number not in self._done:
                    other = self._in_a_circle(number)
                    self._emit(self._steps[other], True)
                    self._away.add(other)
                    ready += self._met(self._left[other], (other, False))
                    waiting = iter(range(number, len(self._steps)))
                    break

    def _met(self, numbers: list[int], need: tuple[int, bool]) -> list[int]:
        ready = []
        for number in numbers:
            needs = self._needs[number]
            needs.discard(need)
            if not needs:
                ready.append(number)
        return ready

    def _in_a_circle(self, number: int) -> int:
        """A move that waits, directly or not, for its own old place to be free."""
        path: list[tuple[int, bool]] = []
        seen: dict[int, int] = {}
        while number not in seen:
            seen[number] = len(path)
            other, placed = min(self._needs[number])
            path.append((other, placed))
            number = other
        circle = path[seen[number] :]
        return next(other for other, placed in circle if not placed and self._steps[other].new is not None)


def _nearest(
    ino: int, steps: dict[int, int], above: Callable[[int], int | None], known: dict[int, int | None]
) -> int | None:
    """The step of the directory, or of the nearest one above it that has one."""
    way = []
    here: int | None = ino
    found: int | None = None
    while here is not None:
        if here in known:
            found = known[here]
            break
        way.append(here)
        if here in steps:
            found = steps[here]
            break
        here = above(here)
    for each in way:
        known[each] = found
    return found
