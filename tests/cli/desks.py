"""Two people's machines, one vault, a directory as the remote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.cli.person import Person
from vaultfs import clock

if TYPE_CHECKING:
    from pathlib import Path


class Desk(Person):
    """A machine, and the remote that it knows."""

    remote: Path

    def join(self, key: Path, *more: str) -> Any:
        """Mount the vault for the first time."""
        return self.json("mount", str(self.mountpoint), "--remote", str(self.remote), "--wallet", str(key), *more)

    def sync(self) -> Any:
        """Publish, and follow."""
        return self.json("sync", "--wait")

    def status(self) -> Any:
        return self.json("status")


def machine(base: Path, name: str) -> Desk:
    desk = Desk(base / name)
    desk.remote = base / "remote"
    return desk


# Conflicts.


def a_tick_later() -> None:
    """Return when the clock has gone on: what is written within one tick of it is of the same time."""
    tick = clock.tick()
    while clock.tick() == tick:
        pass
