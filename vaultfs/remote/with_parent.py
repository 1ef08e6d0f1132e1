"""Become another program that dies with its parent: `python -I with_parent.py PARENT-PID PROGRAM ARGUMENT...`.

It gives way to programs that people wait for: to publish means to hash and to encrypt once more, for the line.

A program of its own, because the kernel's request must be made between fork and exec, where Python with threads
must not run, and is forgotten by nothing else.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
NICE = 10  # a tenth of a processor that is wanted elsewhere, all of one that is not
TURN_NS = 100_000_000  # the longest turn that Linux grants: who wants a shorter one, as all others do, goes first
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}  # no C library of ours knows it by name
_SCHED_ATTR = struct.Struct("<IIQiIQQQ")  # size, policy (0: usual), flags, nice, priority, runtime, deadline, period


def long_turns(libc: ctypes.CDLL, nice: int) -> None:
    """For this process at `nice`, and all of its threads to come; Linux before 6.12 takes no notice."""
    number = _SCHED_SETATTR.get(os.uname().machine)
    if number is not None and sys.maxsize > 1 << 32:
        libc.syscall(number, 0, _SCHED_ATTR.pack(_SCHED_ATTR.size, 0, 0, nice, 0, TURN_NS, 0, 0), 0)


def main(parent: int, command: list[str]) -> None:
    """Never returns."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(1)
    long_turns(libc, os.nice(NICE))
    # Where each session is a group of its own, as on desktops, that alone would count among its own processes only.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICE), encoding="ascii")
    os.execv(command[0], command)  # noqa: S606 - no shell is what is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
