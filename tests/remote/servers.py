"""Real protocol servers on loopback, by rclone: S3, SFTP, WebDAV."""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 90
KINDS = ("s3", "sftp", "webdav")
USER, PASSWORD = "mole", "under-the-lawn"
_OPTIONS = {
    "s3": ["--auth-key", f"{USER},{PASSWORD}"],
    "sftp": ["--user", USER, "--pass", PASSWORD],
    "webdav": ["--user", USER, "--pass", PASSWORD],
}


@dataclass(frozen=True)
class Server:
    """A running server: what it serves is below `root`."""

    kind: str
    root: Path
    port: int
    program: Path

    def named(self, name: str, *, password: str = PASSWORD) -> str:
        """The section of rclone's configuration that calls an S3 server by a name."""
        keys = f"access_key_id = {USER}\nsecret_access_key = {password}\n"
        return f"[{name}]\ntype = s3\nprovider = Rclone\nendpoint = http://127.0.0.1:{self.port}\n{keys}"

    def spec(self, place: str, *, password: str = PASSWORD, port: int | None = None) -> str:
        """The remote `place` as rclone has it."""
        at = port or self.port
        if self.kind == "s3":
            keys = f"access_key_id={USER},secret_access_key={password}"
            return f":s3,provider=Rclone,endpoint='http://127.0.0.1:{at}',{keys}:{place}"
        obscured = obscure(self.program, password)
        if self.kind == "sftp":
            return f":sftp,host=127.0.0.1,port={at},user={USER},pass={obscured}:{place}"
        return f":webdav,url='http://127.0.0.1:{at}',vendor=rclone,user={USER},pass={obscured}:{place}"


def obscure(program: Path, password: str) -> str:
    """The password as rclone wants it in a connection string."""
    return subprocess.run([program, "obscure", password], check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def serve(program: Path, kind: str, root: Path, log: Path) -> Iterator[Server]:
    """A server that runs while the block does, on a port the kernel chooses."""
    # what a test puts into the directory itself is seen after a moment (0s would keep rclone busy for nothing)
    command = [
        program,
        "serve",
        kind,
        "--addr",
        "127.0.0.1:0",
        *_OPTIONS[kind],
        "--dir-cache-time",
        "100ms",
        "--vfs-read-wait",
        "0s",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, f":local:{root}"], stderr=output, stdin=subprocess.DEVNULL)
    try:
        yield Server(kind, root, _port(process, log), program)
    finally:
        process.terminate()
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"127\.0\.0\.1:(\d+)", log.read_text())
        if found and found[1] != "0":
            return int(found[1])
        time.sleep(0.02)  # another process's file: nothing to await
    raise AssertionError(f"rclone serve did not start: {log.read_text()}")
