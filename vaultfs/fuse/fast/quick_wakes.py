"""Processors that do not go to sleep between two requests of a burst.

A program and the daemon wake each other for every request. A processor with nothing to do is put to sleep at once, and
in a virtual machine waking it takes the host some 40 µs: twice what most requests take (docs/performance.md). Linux
has a way to say that this is too long, for as long as one says so (Documentation/power/pm_qos_interface.rst): whoever
holds /dev/cpu_dma_latency open may write into it how many µs waking may take. However the daemon ends, that ends, too.
"""

from __future__ import annotations

import logging
import os
import struct
import time
from contextlib import suppress
from pathlib import Path

import trio

_log = logging.getLogger(__name__)

DEVICE = "/dev/cpu_dma_latency"
DRIVER = Path("/sys/devices/system/cpu/cpuidle/current_driver")
BURST = 8  # so many requests in a row, each quick after the last one
QUIET_NS = 3_000_000  # so long after the last of them processors may sleep again
SWITCHED_OFF = "switched off"
_US = struct.Struct("=i")
ANY_US = 2_000_000_000  # Linux's own default
VIRTUAL_US = 0  # a guest's processor either stays awake or goes to the host, which takes long
SHALLOW_US = 5  # all others: the lightest sleep, which takes 1 or 2 µs to end and saves most of the power


class QuickWakes:
    """One mount's. `available`: they may be asked for, and are not at the moment. `lack`: why never, else empty."""

    def __init__(self, device: str = DEVICE, *, wanted: bool = True) -> None:
        self.available = False
        self.lack = "" if wanted else SWITCHED_OFF
        self.last = 0  #: when a request was seen, on the clock of `time.perf_counter_ns`
        self._device, self._number = device, -1
        self._row = 0
        if not wanted:
            return
        try:
            self._number = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            self.lack = f"{device}: {error.strerror}"
        else:
            self.available = True
        self._us = VIRTUAL_US if _driver() == b"haltpoll" else SHALLOW_US

    def due(self, *, quick: bool) -> bool:
        """One request more, `quick` after the last one or not: whether it is time to ask."""
        self._row = self._row + 1 if quick else 0
        return self._row >= BURST

    def ask(self) -> None:
        """From now on; whoever asks runs `end_when_quiet` next."""
        self.available, self._row = False, 0
        self._say(self._us)

    async def end_when_quiet(self) -> None:
        """Take it back when nothing has been seen for a while."""
        while (rest := self.last + QUIET_NS - time.perf_counter_ns()) > 0:  # noqa: ASYNC110 - it is time that counts
            await trio.sleep(rest / 1e9)
        self._say(ANY_US)
        self.available = not self.lack

    def _say(self, us: int) -> None:
        if self.lack:
            return
        try:
            os.write(self._number, _US.pack(us))
        except OSError as error:
            _log.warning("processors cannot be kept awake: %s", error.strerror)
            self.close(f"{self._device}: {error.strerror}")

    def close(self, why: str = "closed") -> None:
        """For good; once is enough."""
        self.available = False
        self.lack = self.lack or why
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)


def _driver() -> bytes:
    """What puts processors to sleep here; empty if nothing says so."""
    with suppress(OSError):
        return DRIVER.read_bytes().strip()
    return b""
