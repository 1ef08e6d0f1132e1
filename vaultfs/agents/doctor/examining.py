"""All checks, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.agents.doctor import databases, machine, paths, remote, states, sync
from vaultfs.agents.doctor.finding import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultfs.agents.doctor.finding import Finding
    from vaultfs.agents.doctor.scene import Scene

CHECKS: dict[str, Callable[[Scene], Iterator[Finding]]] = {
    "fuse": machine.fuse,
    "wakes": machine.wakes,
    "rclone": machine.rclone,
    "space": machine.room,
    "mount": sync.mount,
    "clock": machine.clock,
    "remote": remote.remote,
    "pending": sync.pending,
    "conflicts": sync.conflicts,
    "driving": sync.driving,
    "paths": paths.mountpoint,
    "projects": paths.projects,
    "state": states.outside,
    "locks": states.leftovers,
    "databases": databases.integrity,
    "codex": paths.codex,
}


def examine(scene: Scene, begun: Callable[[str], None]) -> Iterator[Finding]:
    """What every check finds. `begun` is called with the name of each; one that fails says so and stops no other."""
    for name, check in CHECKS.items():
        begun(name)
        try:
            yield from check(scene)
        except OSError as error:
            yield note(name, f"This could not be looked at: {error.strerror or 'input/output error'}.")
