"""Notifications on the person's desktop: by notify-send, where there is one and a session it can reach."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from vaultfs.daemon.presence import sentence
from vaultfs.daemon.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultfs.daemon.presence import DriverFact

PAUSE = 600.0  # seconds in which one agent is told of once
_PATIENCE = 5.0
_log = logging.getLogger(__name__)


class Desktop:
    """Tells; at most once in ten minutes for one agent. `on`: the setting `notifications`."""

    def __init__(self, *, on: bool) -> None:
        self.on = on
        self._told: dict[str, float] = {}

    async def tell(self, agent: str, path: str, others: Sequence[DriverFact]) -> None:
        """That other devices work with the agent, too. Never raises; a desktop that does not answer is left alone."""
        now = trio.current_time()
        if not self.on or now - self._told.get(agent, -PAUSE) < PAUSE:
            return
        program, environment = shutil.which("notify-send"), session()
        if program is None or environment is None:
            return
        self._told[agent] = now
        title = f"{printable(agent)} is in use on another machine"
        body = "\n".join(sentence(driver, path, time.time()) for driver in others)
        command = [program, "--app-name=vaultfs", "--", title, escape(body, quote=False)]  # bodies may be markup
        with trio.move_on_after(_PATIENCE):
            try:
                await trio.run_process(
                    command,
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=False,
                    start_new_session=True,
                )
            except OSError as error:
                _log.info("no notification: %s", error.strerror)


def session() -> dict[str, str] | None:
    """The environment in which programs reach the person's session bus; None where there is none."""
    if os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return dict(os.environ)
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    bus = Path(runtime, "bus")
    return {**os.environ, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}"} if bus.is_socket() else None
