"""Hold a lossyfs from a test: start, inject faults, cut the power, clean up."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from tests.support.driver import REPOSITORY, detach, is_mounted

if TYPE_CHECKING:
    import random
    from pathlib import Path


class Lossy:
    """A forgetful disk at `base/disk`; its durable content is handed on from one process to the next."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.mountpoint = base / "disk"
        self.mountpoint.mkdir()
        self.saved: Path | None = None
        self.generation = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _socket(self) -> Path:
        return self.base / f"control-{self.generation}"

    def start(self) -> None:
        """Mount it with what was durable at the last cut."""
        self.generation += 1
        arguments = [str(self.mountpoint), str(self._socket), *([str(self.saved)] if self.saved else [])]
        self._process = subprocess.Popen([sys.executable, "-m", "tests.crash.lossyfs", *arguments], cwd=REPOSITORY)
        deadline = time.monotonic() + 90
        while not (is_mounted(self.mountpoint) and self._socket.exists()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("lossyfs did not start")
            time.sleep(0.01)

    def order(self, **order: Any) -> dict[str, Any]:
        """One order, and its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self._socket))
            connection.sendall(json.dumps(order).encode())
            return json.loads(connection.makefile().readline())  # type: ignore[no-any-return]

    def cut(self, rng: random.Random, *, drop_all: bool) -> Path:
        """Cut the power: the disk is gone, and what it keeps lies in a plain directory."""
        self.saved = self.base / f"durable-{self.generation}"
        self.saved.mkdir()
        self.order(do="cut", seed=rng.randrange(1 << 30), drop_all=drop_all, save=str(self.saved))
        assert self._process is not None
        self._process.wait(90)
        return self.saved

    def fault(self, code: int, after: int) -> None:
        """From the n-th change on, all fail."""
        self.order(do="fault", errno=code, after=after)

    def heal(self) -> dict[str, Any]:
        """No more faults; how many changes were made and refused."""
        facts = self.order(do="facts")
        self.order(do="heal")
        return facts

    def stop(self) -> None:
        """Unmount and end it, whatever state it is in."""
        if is_mounted(self.mountpoint):
            detach(self.mountpoint)
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def detach(self) -> None:
        """Remove the dead mount after a cut."""
        if is_mounted(self.mountpoint):
            detach(self.mountpoint)
        assert not os.path.ismount(self.mountpoint)
