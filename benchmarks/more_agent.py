"""An agent at work in its own directory: a transcript, a database, saves, small files read; paced, as agents are.

As a program: `python -m benchmarks.more_agent DIRECTORY RATE SEED` makes RATE operations a second until its input ends,
then prints how many it made.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks.workloads import LINE, ROW

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SMALL_FILES = 100
APPENDS_PER_FSYNC = 10
# One operation in that many of each kind.
_MIX = {"append": 10, "transaction": 5, "save": 2, "read": 3}


class Agent:
    """Its files, and one operation after another."""

    def __init__(self, directory: Path, seed: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._dice = random.Random(seed)
        self._appended = 0
        self._small = directory / "notes"
        self._small.mkdir(exist_ok=True)
        for number in range(SMALL_FILES):
            (self._small / f"note-{number}.md").write_bytes(ROW * (1 + number % 12))
        self._log = os.open(directory / "session.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self._database = sqlite3.connect(directory / "state.db", isolation_level=None, timeout=30)
        self._database.execute("pragma journal_mode=wal")
        self._database.execute("pragma synchronous=normal")
        self._database.execute("create table if not exists m(id integer primary key, role text, content text)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._log)
        self._database.close()

    def step(self) -> None:
        """One operation, drawn by lot."""
        kind = self._dice.choices(list(_MIX), weights=list(_MIX.values()))[0]
        getattr(self, kind)()

    def append(self) -> None:
        """A line of the transcript; an fsync now and then."""
        os.write(self._log, ROW)
        self._appended += 1
        if self._appended % APPENDS_PER_FSYNC == 0:
            os.fsync(self._log)

    def transaction(self) -> None:
        """One row more; now and then an old one changed."""
        self._database.execute("insert into m(role, content) values('user', ?)", (LINE,))
        if self._dice.random() < 0.2:
            self._database.execute("update m set role = 'old' where id = ?", (self._dice.randrange(1, 50),))

    def save(self) -> None:
        """The settings: a temporary file, fsync, rename over the old one."""
        target = self.directory / "config.json"
        temporary = self.directory / "config.json.tmp"
        with open(temporary, "wb") as file:
            file.write(ROW * self._dice.randrange(1, 30))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, target)

    def read(self) -> None:
        """One of its notes."""
        with open(self._small / f"note-{self._dice.randrange(SMALL_FILES)}.md", "rb") as file:
            file.read()


def work(directory: Path, rate: float, seed: int) -> int:
    """At that pace until the input ends; how many operations. One that came late is not made up for."""
    made, due = 0, time.monotonic()
    os.set_blocking(0, False)
    with Agent(directory, seed) as agent:
        print("ready", flush=True)
        while _wanted():
            agent.step()
            made += 1
            due = max(due + 1 / rate, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
    return made


def _wanted() -> bool:
    """Whether the other side still holds our input."""
    with suppress(BlockingIOError):
        return os.read(0, 1) != b""
    return True


@contextmanager
def working(directories: Sequence[Path], rate: float) -> Iterator[list[int]]:
    """An agent of its own process in each directory while the block runs; afterwards the list has what each made."""
    made: list[int] = []
    agents = []
    try:
        for seed, directory in enumerate(directories):
            command = [sys.executable, "-m", "benchmarks.more_agent", str(directory), str(rate), str(seed)]
            agents.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for agent in agents:
            assert agent.stdout is not None
            if agent.stdout.readline() != "ready\n":
                raise RuntimeError("an agent did not start")
        yield made
    finally:
        for agent in agents:
            assert agent.stdin is not None
            agent.stdin.close()
        made += map(_end, agents)


def _end(agent: subprocess.Popen[str]) -> int:
    try:
        agent.wait(60)
    except subprocess.TimeoutExpired:
        agent.kill()
        agent.wait()
    assert agent.stdout is not None
    with agent.stdout:
        said = agent.stdout.read().split()
    return int(said[-1]) if said and said[-1].isdigit() else 0


if __name__ == "__main__":
    print(work(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
