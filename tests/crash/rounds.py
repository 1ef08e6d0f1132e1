"""Rounds of load, SIGKILL at a random moment, remount, verify. Used by the test and by the soak."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.crash.load import WORKERS, Load
from tests.support.driver import Machine, command, find_key, is_mounted, wait_gone
from tests.support.leftovers import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# each round takes three: all ten would only wait for each other on a small machine
PER_ROUND = 3
KEEP = 3


@contextlib.contextmanager
def machine(data: Path | None = None) -> Iterator[Machine]:
    """A machine with a new vault, not yet mounted."""
    base = scratch()
    made = Machine(base / "home", data=data)
    try:
        made.init()
        yield made
    finally:
        made.abandon()
        kill_all(made)
        shutil.rmtree(base, ignore_errors=True)


def processes_of(home: Machine) -> set[int]:
    """Every process of that HOME: the command, and the daemon wherever it is in its start.

    The daemon hides its environment from all but root, not its arguments.
    """
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if os.fsencode(home.mountpoint) in (entry / "cmdline").read_bytes().split(
                    b"\0"
                ) or f"HOME={home.home}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
    return found


def signal_all(home: Machine, number: signal.Signals) -> set[int]:
    """Sends a signal to every process of that HOME; to which."""
    found = processes_of(home)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return found


def kill_all(home: Machine) -> None:
    """SIGKILL every process of that HOME."""
    for pid in signal_all(home, signal.SIGKILL):
        wait_gone(pid)


class KillRounds:
    """One vault that lives through many kills."""

    def __init__(self, home: Machine, seed: int) -> None:
        self.machine = home
        self.rng = random.Random(seed)
        self.seed = seed
        self.number = 0
        self.kills = 0
        self.acknowledged = 0
        self.loads: list[Load] = []
        self.slowest_mount = 0.0

    def workers(self) -> Sequence[str]:
        """This round's workers: each kind comes up about equally often."""
        return self.rng.sample(list(WORKERS), PER_ROUND)

    def round(self) -> list[str]:
        """Mount, load, kill, mount again, verify this round and those before; what is wrong, if anything."""
        self.number += 1
        if not is_mounted(self.machine.mountpoint):
            self.machine.mount()
        pid = self.machine.pid()
        load = Load(
            self.machine.mountpoint / f"round-{self.number}",
            self.machine.home / f"logs-{self.number}",
            self.seed + self.number,
            self.workers(),
        )
        load.directory.mkdir()
        load.start()
        load.wait_for_acknowledgements()
        time.sleep(self.rng.choice([0.0, 0.05, 0.3, 1.0, 1.6]) * self.rng.random() * 1.2)
        at = time.monotonic()
        self.machine.kill(pid)
        self.kills += 1
        wrong = load.crashed(at=at)
        wrong += self.recover()
        self.loads.append(load)
        self.acknowledged += load.acknowledged()
        for each in self.loads[-KEEP:]:
            wrong += [f"{each.directory.name}: {line}" for line in each.verify()]
        while len(self.loads) > KEEP:
            shutil.rmtree(self.loads.pop(0).directory)
        extra = self.rng.random()
        if extra < 0.15:
            wrong += self.kill_while_unmounting()
        elif extra < 0.2:
            self.machine.umount()
        return [f"round {self.number} (seed {self.seed}, {' '.join(load.names)}): {line}" for line in wrong]

    def recover(self) -> list[str]:
        """Mount over the dead mount; sometimes the first attempts are killed as well."""
        while self.rng.random() < 0.2:
            self.kill_during(list(self.machine.mount_command()), self.rng.random() * 1.2)
        start = time.monotonic()
        self.machine.mount()
        self.slowest_mount = max(self.slowest_mount, time.monotonic() - start)
        health = find_key(self.machine.status(), "health")
        ok = find_key(health, "ok")
        return [] if ok in (True, None) else [f"health after the remount: {health}"]

    def kill_while_unmounting(self) -> list[str]:
        """The daemon dies while it makes the store clean."""
        self.kill_during(["umount", str(self.machine.mountpoint)], self.rng.random() * 0.8)
        self.machine.mount()
        return [f"after a kill in umount: {line}" for load in self.loads[-KEEP:] for line in load.verify()]

    def kill_during(self, arguments: list[str], seconds: float) -> None:
        """Run a command, and kill it and the daemon after some time."""
        running = subprocess.Popen(
            [*command(), *arguments],
            env=self.machine.environ(),
            cwd=self.machine.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(seconds)
        kill_all(self.machine)
        running.wait()
        self.kills += 1
