"""Rounds of load, power cut, remount, verify: the store lies on a disk that forgets what was not synced."""

# ruff: noqa: T201 - `cuts` reports for the soak
from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.crash.load import WORKERS, Load
from tests.crash.lossy import Lossy
from tests.crash.rounds import kill_all, machine, signal_all
from tests.support.driver import Machine, command, detach, find_key, is_mounted
from tests.support.leftovers import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

# what `close` and hand-over promise does not reach past the daemon
FSYNCED = [name for name in WORKERS if name not in ("closer", "holder")]
PER_ROUND = 3
KEEP = 2


@contextmanager
def machine_on_a_lossy_disk() -> Iterator[tuple[Machine, Lossy]]:
    """A machine whose XDG_DATA_HOME is such a disk, with a new vault on it."""
    base = scratch()
    disk = Lossy(base)
    try:
        disk.start()
        with machine(data=disk.mountpoint) as home:
            yield home, disk
    finally:
        disk.stop()
        shutil.rmtree(base, ignore_errors=True)


class CutRounds:
    """One vault that lives through many power cuts."""

    def __init__(self, home: Machine, disk: Lossy, seed: int) -> None:
        self.machine = home
        self.disk = disk
        self.rng = random.Random(seed)
        self.seed = seed
        self.number = 0
        self.cuts = 0
        self.acknowledged = 0
        self.loads: list[Load] = []

    def power_cut(self) -> None:
        """The disk goes, then the daemon and the mount with it; the machine comes up with what is durable.

        Half the time the daemon stops first, with requests that it has not answered; else it sees its disk go.
        """
        if self.rng.random() < 0.5:
            signal_all(self.machine, signal.SIGSTOP)
        self.disk.cut(self.rng, drop_all=self.rng.random() < 0.4)
        kill_all(self.machine)
        self.cuts += 1

    def boot(self) -> None:
        """No mount is left after a boot, and the disk is there again."""
        if is_mounted(self.machine.mountpoint):
            detach(self.machine.mountpoint)
        self.disk.detach()
        self.disk.start()

    def round(self) -> list[str]:
        """Mount, load, cut, boot, mount, verify; what is wrong, if anything."""
        self.number += 1
        if not is_mounted(self.machine.mountpoint):
            self.machine.mount()
        load = Load(
            self.machine.mountpoint / f"round-{self.number}",
            self.machine.home / f"logs-{self.number}",
            self.seed + self.number,
            self.rng.sample(FSYNCED, PER_ROUND),
        )
        load.directory.mkdir()
        load.start()
        load.wait_for_acknowledgements()
        time.sleep(self.rng.choice([0.0, 0.1, 0.5, 1.5]) * self.rng.random())
        at = time.monotonic()
        self.power_cut()
        wrong = load.crashed(at=at, power=True)
        self.boot()
        while self.rng.random() < 0.2:
            self.cut_during_mount()
        self.machine.mount()
        health = find_key(self.machine.status(), "health")
        if find_key(health, "ok") is False:
            wrong.append(f"health after the boot: {health}")
        self.loads.append(load)
        self.acknowledged += load.acknowledged()
        for each in self.loads[-KEEP:]:
            wrong += [f"{each.directory.name}: {line}" for line in each.verify()]
        while len(self.loads) > KEEP:
            shutil.rmtree(self.loads.pop(0).directory)
        return [f"cut {self.number} (seed {self.seed}, {' '.join(load.names)}): {line}" for line in wrong]

    def cut_during_mount(self) -> None:
        """The power fails again while the store is opened and replayed."""
        running = subprocess.Popen(
            [*command(), *self.machine.mount_command()],
            env=self.machine.environ(),
            cwd=self.machine.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(self.rng.random() * 1.2)
        self.power_cut()
        running.wait()
        self.boot()


def cuts(count: int, seed: int) -> list[str]:
    """That many cuts, the vault made anew every ten; broken promises are printed at once."""
    wrong: list[str] = []
    done = acknowledged = 0
    while done < count:
        with machine_on_a_lossy_disk() as (home, disk):
            rounds = CutRounds(home, disk, seed)
            while rounds.cuts < 10 and done + rounds.cuts < count:
                found = rounds.round()
                for line in found:
                    print(f"LOST {line}", flush=True)
                wrong += found
        done += rounds.cuts
        acknowledged += rounds.acknowledged
        seed += 1000
        print(f"{done} power cuts, {acknowledged} acknowledgements, {len(wrong)} broken", flush=True)
    return wrong
