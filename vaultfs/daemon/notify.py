"""Tell systemd how a service is doing (sd_notify, Type=notify)."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 1.0  # seconds that the manager may need to take what it must know
LOOK = 5.0  # seconds between two looks at what there is to tell


def notify(**facts: str) -> bool:
    """Send `facts` (READY="1", STATUS="...") to the service manager; False if there is none, or it does not listen.

    Only for READY and STOPPING a manager that is busy is waited for: a full queue must not hold up the mount.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    text = "\n".join(f"{key}={value}" for key, value in facts.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(PATIENCE if facts.keys() & {"READY", "STOPPING"} else 0.0)
            sender.sendto(text.encode(), address)
    except OSError:
        # A manager that has gone is no reason to stop serving files.
        return False
    return True


async def keep_told(words: Callable[[], str]) -> None:
    """Until cancelled: tell the manager `words` where they change, and that we live, where it wants to know."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return
    interval = _watchdog() / 2
    told = ""
    while True:
        await trio.sleep(min(LOOK, interval) if interval else LOOK)
        text = words()
        if text != told and notify(STATUS=text):
            told = text
        if interval:
            notify(WATCHDOG="1")


def _watchdog() -> float:
    """Seconds after which the manager gives up a service that is silent; 0 if it waits for ever."""
    limit, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not limit.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(limit) / 1e6
