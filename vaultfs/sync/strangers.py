"""Names of heads that no machine made: anybody who can write to the store can list any number of them.

A device counts as known when one of its heads opened here. Of the others only some are read in a poll, and a few are
alarms of their own; what is more of them is one alarm, which is there as long as they are listed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs import clock
from vaultfs.format.head import head_name
from vaultfs.sync.facts import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

FEW = 8  # alarms of their own
AT_ONCE = 256  # read in one poll


def in_turn(
    devices: Iterable[bytes], vouched: Container[bytes], begun: Container[bytes], read: Container[bytes]
) -> list[bytes]:
    """Those whose turn it is.

    First the `vouched` ones, of whom this machine knows otherwise. Then those that were `begun` with, so that it comes
    to an end, and those that were `read` in vain at the end.
    """
    turn = sorted(devices, key=lambda one: (one not in vouched, one in read, one not in begun, one))
    return turn[:AT_ONCE]


class Strangers:
    """Devices whose heads failed for too long, above the first few: by device the number of the head."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._since = 0

    def __contains__(self, device: object) -> bool:
        return device in self._numbers

    def add(self, device: bytes, number: int) -> None:
        """One more."""
        self._since = self._since or clock.now()
        self._numbers[device] = number

    def keep(self, listed: Callable[[bytes, int], bool]) -> None:
        """Forget those that are not listed any more."""
        self._numbers = {device: number for device, number in self._numbers.items() if listed(device, number)}
        self._since = self._since if self._numbers else 0

    @property
    def alarms(self) -> list[Alarm]:
        """The one about all of them; `device` is one of them, whose acceptance accepts all."""
        if not self._numbers:
            return []
        device, number = next(iter(self._numbers.items()))
        text = (
            f"{len(self._numbers)} more names below heads/ are of no machine of this vault: nothing in them opens. "
            "Somebody else writes to the remote"
        )
        return [Alarm("damaged", text, device, head_name(device, number), self._since)]

    def accept(self, device: bytes) -> dict[bytes, int]:
        """All of them, if it is the one that the alarm names."""
        if device != next(iter(self._numbers), None):
            return {}
        numbers, self._numbers, self._since = self._numbers, {}, 0
        return numbers
