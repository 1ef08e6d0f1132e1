"""Which processes keep a mount busy, from /proc: an ordinary user sees the own processes only."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultfs.fuse.mountinfo import parse

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class UsedBy:
    """One process, and the first thing of it found below the mount point."""

    pid: int
    command: str
    path: str

    def __str__(self) -> str:
        """For a sentence."""
        return f"{self.command} (pid {self.pid}) uses {self.path}"


def users_of(mountpoint: str, *, most: int = 20) -> list[UsedBy]:
    """Processes with a file, directory, program or mapping below `mountpoint`; the answer is bounded."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        path = next(_below(mountpoint, _links(entry.path)), None) or next(
            _below(mountpoint, _mappings(entry.path)), None
        )
        if path is not None:
            found.append(UsedBy(int(entry.name), _command(entry.path), path))
            if len(found) == most:
                break
    return sorted(found, key=lambda user: user.pid)


def sandboxes_with(mountpoint: str, device: str, *, most: int = 5) -> list[str]:
    """Processes that have the mount in a mount namespace of their own, one of each, in words.

    The kernel keeps a mount for them that is gone everywhere else: containers, sandboxes, some services. `device`: its
    `major:minor`; where that is not known any more, what is mounted in the same place is taken for it.
    """
    where = os.fsencode(mountpoint)
    own = _namespace("/proc/self")
    found: dict[str, str] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or len(found) == most:
            continue
        namespace = _namespace(entry.path)
        if namespace in found or namespace in {own, ""}:
            continue
        with suppress(OSError), open(f"{entry.path}/mountinfo", "rb") as file:  # noqa: PTH123
            if any(one.is_vault and (one.device == device or one.mountpoint == where) for one in parse(file.read())):
                found[namespace] = f"{_command(entry.path)} (pid {entry.name}) has it in mounts of its own"
    return list(found.values())


def _namespace(process: str) -> str:
    try:
        return os.readlink(f"{process}/ns/mnt")  # noqa: PTH115
    except OSError:
        return ""


def _below(mountpoint: str, paths: Iterator[str]) -> Iterator[str]:
    prefix = mountpoint.rstrip("/") + "/"
    return (path for path in paths if path == mountpoint or path.startswith(prefix))


def _links(process: str) -> Iterator[str]:
    names = [f"{process}/cwd", f"{process}/root", f"{process}/exe"]
    with suppress(OSError):  # gone, or somebody else's
        names += [f"{process}/fd/{name}" for name in os.listdir(f"{process}/fd")]  # noqa: PTH208
    for name in names:
        try:
            yield os.readlink(name)  # noqa: PTH115 - never follow into a mount that may hang
        except OSError:
            continue


def _mappings(process: str) -> Iterator[str]:
    try:
        with open(f"{process}/maps", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            for line in file:
                fields = line.rstrip("\n").split(maxsplit=5)
                if len(fields) == 6:  # noqa: PLR2004 - proc(5): the sixth is the path
                    yield fields[5]
    except OSError:
        return


def _command(process: str) -> str:
    try:
        with open(f"{process}/comm", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return "?"
