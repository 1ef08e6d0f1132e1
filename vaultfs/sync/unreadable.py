"""Heads that this machine cannot read, and honestly so: a later vaultfs wrote them, or they are under newer keys.

Anybody can write bytes that say so, for ever. So it is told, and left to a person: a vaultfs that is up to date, on a
machine that has all keys, shows what they are. It ends by itself with the next head of that device that opens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vaultfs import clock
from vaultfs.errors import NewerFormatError, NewerKeysError
from vaultfs.format.head import head_name
from vaultfs.sync.facts import Alarm
from vaultfs.sync.patience import PATIENCE
from vaultfs.sync.strangers import FEW

if TYPE_CHECKING:
    from collections.abc import Callable

KIND = "unreadable"  # `Alarm.kind`


@dataclass
class _Met:
    """One such head. `times`: polls that met one of the device; `looked`: how often keys were looked for since."""

    number: int
    error: NewerFormatError
    times: int = 0
    looked: int = 0
    since: int = field(default_factory=clock.now)

    @property
    def lasts(self) -> bool:
        """Whether what would make it readable was waited for: keys come by themselves, a newer vaultfs does not."""
        return (self.looked if isinstance(self.error, NewerKeysError) else self.times) >= PATIENCE


class Unreadable:
    """By device the newest of them. `passed`: numbers that a person passes over until the next start, or newer keys.

    They are not given up for good, unlike damaged heads: what such a head needs must not be removed from the remote.
    """

    def __init__(self) -> None:
        self._met: dict[bytes, _Met] = {}
        self.passed: dict[bytes, set[int]] = {}

    @property
    def errors(self) -> dict[bytes, NewerFormatError]:
        """Why, by device."""
        return {device: met.error for device, met in self._met.items()}

    def meet(self, device: bytes, number: int, error: NewerFormatError) -> None:
        """A head cannot be read, once more."""
        met = self._met.setdefault(device, _Met(number, error))
        met.number, met.error, met.times = number, error, met.times + 1

    def end(self, device: bytes, number: int | None = None) -> None:
        """A head with that number opened, or there is none any more that does not."""
        met = self._met.get(device)
        if met is not None and (number is None or number >= met.number):
            del self._met[device]

    def keep(self, wanted: Callable[[bytes], bool]) -> None:
        """Forget devices that are not `wanted` any more."""
        self._met = {device: met for device, met in self._met.items() if wanted(device)}

    def accept(self, device: bytes) -> None:
        """A person goes on without it; without all that one alarm is about."""
        if device not in self._met:
            return
        lasting = self._lasting
        more = lasting[FEW:] if device in lasting[FEW : FEW + 1] else []
        for one in {device, *more}:
            self.passed.setdefault(one, set()).add(self._met.pop(one).number)

    def keys(self, lacking: set[bytes], *, grown: bool) -> None:
        """Newer keys were looked for when these devices had heads that need them."""
        if grown:
            self.passed.clear()
        for device in lacking & self._met.keys():
            self._met[device].looked = 0 if grown else self._met[device].looked + 1

    @property
    def lacking(self) -> set[bytes]:
        """Devices with heads that need newer keys."""
        return {device for device, met in self._met.items() if isinstance(met.error, NewerKeysError)}

    @property
    def _lasting(self) -> list[bytes]:
        return [device for device, met in self._met.items() if met.lasts]

    @property
    def alarms(self) -> list[Alarm]:
        """What a person is told: one for each device, and where there are many, one for those that are left."""
        lasting = self._lasting
        alarms: list[Alarm] = []
        for device in lasting[: FEW + 1]:
            met = self._met[device]
            what = "Nothing newer of that machine is"
            if len(alarms) == FEW and len(lasting) > FEW + 1:
                what = f"So it is with {len(lasting) - FEW - 1} more. Nothing newer of these machines is"
            text = (
                f"{met.error.message} {what} merged here; whether the remote holds it back or changed it cannot be told"
            )
            alarms.append(Alarm(KIND, text, device, head_name(device, met.number), met.since))
        return alarms
