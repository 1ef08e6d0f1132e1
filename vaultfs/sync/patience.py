"""How often a poll may meet what can be honest before it is an alarm.

A store may show half an object while it is being uploaded, or list what cannot be read yet. So one name has some polls
until it opens. And so has a device, whatever its heads are called: else another name at each poll would buy a store
as much time as it likes. A device that publishes quickly is not taken for that, as its heads open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

PATIENCE = 3  # polls with one name
LONG = 10  # polls with changing names


class Failing:
    """Counts the polls in which something of a device did not open."""

    def __init__(self) -> None:
        self._names: dict[tuple[bytes, int], int] = {}
        self._devices: dict[bytes, int] = {}

    def __contains__(self, device: object) -> bool:
        """Whether something of it failed that may come yet."""
        return device in self._devices

    def opened(self, device: bytes) -> None:
        """A newer head of the device opened: what failed before it was on its way."""
        self._devices.pop(device, None)

    def after(self, failed: Mapping[bytes, Mapping[int, str]], known: Container[bytes]) -> dict[bytes, int]:
        """After a poll: by device the number of a head that failed for too long.

        `failed`: by device and number why a head did not open in this poll. `known`: devices that are remembered also
        while nothing of them fails.
        """
        names = {
            (device, number): self._names.get((device, number), 0) + 1 for device in failed for number in failed[device]
        }
        self._names = names
        counts = {device: count for device, count in self._devices.items() if device in failed or device in known}
        self._devices = counts | {device: counts.get(device, 0) + 1 for device in failed}
        lasting: dict[bytes, int] = {}
        for device, numbers in failed.items():
            stay = [number for number in numbers if names[device, number] >= PATIENCE]
            if stay or self._devices[device] >= LONG:
                lasting[device] = max(stay or numbers)
        return lasting
