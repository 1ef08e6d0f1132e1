"""What a test run may leave behind, and must not: FUSE mounts and daemons."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

#: The start of a script in a new mount namespace. The copies there of what other tests have mounted would keep that
#: alive after they unmount it: their daemons would serve on, and `umount` wait, until the namespace ends.
ONLY_OWN_MOUNTS = (
    "for point in $(grep -E '^[^ ]+ [^ ]+ fuse' /proc/self/mounts | cut -d' ' -f2); "
    'do umount -l "$point" 2>/dev/null; done; '
)


def scratch(place: str = "/var/tmp") -> Path:
    """A new directory on the machine's own file system that other users may pass through.

    It carries the run's mark, so that what is left below it is noticed.
    """
    mark = os.environ.get("VAULTFS_TEST_RUN", "soak")[:8]
    path = Path(tempfile.mkdtemp(prefix=f"vaultfs-test-{mark}-", dir=place))
    path.chmod(0o755)
    return path


def fuse_mounts() -> set[str]:
    """Mount points of every FUSE file system on this machine."""
    found = set()
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, *_ = line.split(" ")
        if kind == "fuse" or kind.startswith("fuse."):
            found.add(point.encode().decode("unicode_escape"))
    return found


def processes_marked(mark: str) -> set[int]:
    """Processes of ours, but for this one: by the run's mark in their environment, or in a path they were given.

    A daemon hides its environment from all but root, not its arguments.
    """
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            ours = f"vaultfs-test-{mark[:8]}".encode() in (entry / "cmdline").read_bytes()
            ours = ours or f"VAULTFS_TEST_RUN={mark}".encode() in (entry / "environ").read_bytes().split(b"\0")
            zombie = b") Z " in (entry / "stat").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        if ours and not zombie:
            found.add(int(entry.name))
    return found


def command_line(pid: int) -> str:
    """What a process runs, for a message."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "(gone)"
