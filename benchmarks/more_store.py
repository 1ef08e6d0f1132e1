"""A vault that is published to a real S3 server on this machine, and how far its publishing is."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.more_base import MEGABYTE, Published
from benchmarks.targets import PASSWORD, Rclone, end
from vaultfs.remote.with_parent import long_turns

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "agents"
START_SECONDS = 60


@contextmanager
def elsewhere(work: Path, megabytes: int) -> Iterator[tuple[Path, str]]:
    """A directory for a server's objects, and what to say of it: in memory where there is room.

    A store somewhere in the world does not write to this machine's disk, and every fsync here would wait for that.
    """
    memory = Path("/dev/shm")
    room = memory.is_dir() and shutil.disk_usage(memory).free >= megabytes * MEGABYTE
    with TemporaryDirectory(prefix="vaultfs-bench.", dir=memory if room else work) as name:
        yield Path(name), "in memory" if room else "on the same disk"


@contextmanager
def serve(directory: Path) -> Iterator[str]:
    """`rclone serve s3` while the block runs; yields the section of rclone's configuration that calls it `store`."""
    (directory / "s3" / BUCKET).mkdir(parents=True)
    log = directory / "s3.log"
    command = [Rclone.command(), "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", f"bench,{PASSWORD}"]
    command += ["--vfs-read-wait", "0s", f":local:{directory / 's3'}"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stderr=output,
            env=os.environ | {"RCLONE_CONFIG": os.devnull},
            start_new_session=True,
            preexec_fn=partial(long_turns, ctypes.CDLL(None), 19),  # noqa: PLW1509 - no threads run here
        )
    # A store somewhere in the world is at work on other processors: here it gets what nobody else wants.
    with suppress(OSError):
        Path(f"/proc/{server.pid}/autogroup").write_text("19")
    try:
        keys = f"access_key_id = bench\nsecret_access_key = {PASSWORD}\n"
        yield f"[store]\ntype = s3\nprovider = Rclone\nendpoint = http://127.0.0.1:{_port(server, log)}\n{keys}"
    finally:
        end(server)


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit and server.poll() is None:
        found = re.search(r"127\.0\.0\.1:(\d+)", log.read_text())
        if found and found[1] != "0":
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(f"rclone serve did not start: {log.read_text()[-500:]}")


class OnS3(Published):
    """A vault on that server."""

    def __init__(self, home: Path, section: str) -> None:
        super().__init__(home)
        self.section = section

    def remote(self) -> str:
        """By its name in the configuration."""
        return f"store:{BUCKET}/vault"

    def mount(self) -> None:
        """The configuration stands where rclone looks for it in that home."""
        place = self.home / "config/rclone/rclone.conf"
        place.parent.mkdir(parents=True)
        place.write_text(self.section)
        super().mount()

    def limit(self, rate: int) -> None:
        """Bytes a second; 0: no limit."""
        self.vaultfs("remote", "limit", str(rate), "--vault", "bench")

    def progress(self) -> tuple[int, int, bool]:
        """(bytes that wait, bytes that went up so far, whether some are on their way now)."""
        sync = self.status()["sync"]
        waits = int(sync["pending"]["bytes"])
        return waits, int(sync["requests"]["bytes_up"]), waits > 0 and sync["transfers"]["total"] > 0
