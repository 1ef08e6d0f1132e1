"""A real S3 server on loopback that can be ended and started again on the same port, and what lies in it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.remote.servers import PASSWORD, USER

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS = 90
BUCKET = "shelf"


@dataclass
class Store:
    """`rclone serve s3` over a directory. The vault is `store:shelf/vault` for every machine that is told so."""

    program: Path
    base: Path
    port: int = 0
    prefix: tuple[str, ...] = ()  #: words before the command: another network namespace
    address: str = "127.0.0.1"
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def root(self) -> Path:
        """What the server serves."""
        return self.base / "objects"

    @property
    def vault(self) -> Path:
        """The vault's objects, as files."""
        return self.root / BUCKET / "vault"

    spec = f"store:{BUCKET}/vault"

    def configuration(self, port: int | None = None, address: str | None = None) -> str:
        """The section of rclone's configuration that calls this server `store`."""
        at = f"{address or self.address}:{port or self.port}"
        keys = f"access_key_id = {USER}\nsecret_access_key = {PASSWORD}\n"
        return f"[store]\ntype = s3\nprovider = Rclone\nendpoint = http://{at}\n{keys}"

    def start(self) -> None:
        """Serve; returns when it answers."""
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / BUCKET).mkdir(exist_ok=True)
        log = self.base / "server.log"
        command = [
            *self.prefix, str(self.program), "serve", "s3", "--addr", f"{self.address}:{self.port}",
            "--auth-key", f"{USER},{PASSWORD}", "--dir-cache-time", "100ms", "--vfs-read-wait", "0s",
            f":local:{self.root}",
        ]  # fmt: skip
        environ = os.environ | {"RCLONE_CONFIG": "/dev/null"}
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stderr=output, stdin=subprocess.DEVNULL, env=environ)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(re.escape(self.address) + r":(\d+)", log.read_text())
            if found and found[1] != "0":
                self.port = int(found[1])
                return
            time.sleep(0.02)  # another process's file: nothing to await
        raise AssertionError(f"rclone serve did not start: {log.read_text()}")

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End the server, as rudely as asked."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(90)
            self.process = None

    def objects(self) -> dict[str, int]:
        """Every object of the vault by name, with its size."""
        found = {}
        for directory, _, names in os.walk(self.vault):
            for name in names:
                path = os.path.join(directory, name)
                found[os.path.relpath(path, self.vault)] = os.stat(path).st_size
        return found
