"""From what a person wrote to a remote that works."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from vaultfs.remote.directory import DirectoryBackend
from vaultfs.remote.program import find_rclone
from vaultfs.remote.rclone import RcloneBackend, describe
from vaultfs.remote.remote import Limits, Remote
from vaultfs.remote.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


#: Followed by our process id and something random: a directory with rclone's socket and what waits to be uploaded.
PREFIX = "remote-"


def is_directory(spec: str) -> bool:
    """Whether `spec` names a directory of this machine rather than one of rclone's remotes."""
    return spec.startswith(("/", "./", "../", "~")) or spec in {".", ".."}


@asynccontextmanager
async def open_remote(
    spec: str,
    runtime: Path,
    *,
    limits: Limits | None = None,
    bandwidth: int | None = None,
    program: Path | None = None,
) -> AsyncIterator[Remote]:
    """The remote, while the block runs. Opening asks the store nothing: the first call tells whether it works.

    Args:
        spec: a directory, or any rclone remote: `name:path`, or a connection string
            `:s3,provider=Other,endpoint=…:bucket/path`.
        runtime: a private directory (mode 0700) for rclone's socket and for what waits to be uploaded.
        limits: how long calls may take.
        bandwidth: bytes a second each way; None: no limit.
        program: the rclone to run; None: `find_rclone` looks for one.

    Raises UsageError where `spec` is no remote, RcloneMissingError where rclone is needed and there is none.
    """
    if is_directory(spec):
        yield Remote(DirectoryBackend(_directory(spec)), limits)
        return
    label = describe(spec)
    program = program or await find_rclone()
    _sweep(runtime)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=runtime) as private:
        spool = Path(private) / "spool"
        spool.mkdir()
        supervisor = Supervisor(program, Path(private), label)
        remote = Remote(RcloneBackend(supervisor, spec, spool), limits)
        await supervisor.limit_bandwidth(bandwidth)
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            try:
                yield remote
            except Exception as error:  # noqa: BLE001 - raised below, where no nursery wraps it in a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure


def _directory(spec: str) -> Path:
    return Path(spec).expanduser().absolute()


def _sweep(runtime: Path) -> None:
    """Remove what those left that were killed. It is ciphertext, but takes room."""
    for left in runtime.glob(f"{PREFIX}*-*"):
        pid = left.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)
