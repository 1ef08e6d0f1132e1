"""What time it is. Every moment that is written down, or compared with one that was, is asked for here.

So a test can put another clock in the place of these and live through a month in a second. How long to wait is no
matter of this module: that is trio's clock.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# CLOCK_REALTIME_COARSE, which Python has no name for.
_COARSE_CLOCK = 5

# Variables and not functions: the tree asks for every single write, and a call more would cost as much as the answer.
now: Callable[[], int] = time.time_ns
"""Nanoseconds since 1970."""

tick: Callable[[], int] = partial(time.clock_gettime_ns, _COARSE_CLOCK)
"""The same, as the kernel stamps files: a finer clock there would let a file be created after it was written."""

steady: Callable[[], int] = time.monotonic_ns
"""Nanoseconds that nobody sets back, and that stand still while the machine sleeps."""

since_boot: Callable[[], int] = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
"""Nanoseconds that nobody sets back, and that also count while the machine sleeps."""
