"""Memory of the daemon over a simulated day: 96 rounds of mixed work, each for a quarter of an hour, published."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
from collections import deque
from contextlib import ExitStack
from pathlib import Path

from benchmarks.more_agent import Agent
from benchmarks.more_base import Found, Part, Published, mounted, note, pieces, table

AGENTS = 2
KEPT_FILES = 400  # of those that are made and removed
COLUMNS = 12
PUBLISH_SECONDS = 120.0
_PERSON = {f"GIT_{role}_{key}": "bench@localhost" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}


class Day:
    """The work in one mounted vault, round after round."""

    def __init__(self, target: Published, stack: ExitStack, steps: int, files: int) -> None:
        self.target = target
        self.steps, self.files = steps, files
        self._dice = random.Random(7)
        self._made: deque[Path] = deque()
        self._number = 0
        self._data = next(iter(pieces(1, 7)))
        self.agents = [stack.enter_context(Agent(target.root / f"agent{one}", one)) for one in range(AGENTS)]
        self.scratch = target.root / "scratch"
        self.scratch.mkdir()
        self.repository = target.root / "repository"
        self.repository.mkdir()
        self._git("init", "-q")

    def _git(self, *arguments: str) -> None:
        env = {**os.environ, **_PERSON, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run(["git", "-C", str(self.repository), *arguments], check=True, env=env, capture_output=True)

    def round(self, number: int) -> None:
        """What two agents do in a quarter of an hour, more or less."""
        for _ in range(self.steps):
            for agent in self.agents:
                agent.step()
        for _ in range(self.files):
            self._number += 1
            path = self.scratch / f"d{self._number % 20}" / f"file-{self._number}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(self._data[: self._dice.choice((200, 2_000, 20_000, 200_000))])
            self._made.append(path)
        while len(self._made) > KEPT_FILES:
            self._made.popleft().unlink()
        for path in self._dice.sample(list(self._made), min(20, len(self._made))):
            path.read_bytes()
        if number % 4 == 0:
            for one in range(10):
                (self.repository / f"source-{one}.py").write_text(
                    f"# {number}\n" * (100 + one * self._dice.randrange(9))
                )
            self._git("add", ".")
            self._git("commit", "-q", "-m", f"round {number}")


def memory(pid: int) -> tuple[int, int]:
    """(resident, of it anonymous) in KiB."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]), int(fields["RssAnon"].split()[0])


def slope(figures: list[int]) -> float:
    """By how much they grow from one to the next: the straight line through them."""
    return statistics.linear_regression(range(len(figures)), figures).slope


def run(part: Part) -> Found:
    """One vault, published to a directory; memory is read when a round is published."""
    rounds, steps, files = (16, 20, 10) if part.quick else (96 * part.days, 150, 60)
    shown_every = max(rounds // COLUMNS, 1)
    with ExitStack() as stack:
        (target,) = stack.enter_context(mounted([Published(part.work / "vaultfs")]))
        assert isinstance(target, Published)
        pid = int(target.status()["pid"])
        day = Day(target, stack, steps, files)
        resident, anonymous = [], []
        for number in range(1, rounds + 1):
            day.round(number)
            target.wait_published(PUBLISH_SECONDS)
            now = memory(pid)
            resident.append(now[0])
            anonymous.append(now[1])
            if number % shown_every == 0:
                note(f"day: round {number} of {rounds}, {now[0] / 1024:.1f} MiB")
        there = target.status()
    marks = range(shown_every, rounds + 1, shown_every)
    lines = [
        [name, *(f"{figures[mark - 1] / 1024:.1f}" for mark in marks)]
        for name, figures in (("resident", resident), ("of it anonymous", anonymous))
    ]
    half = rounds // 2
    slopes = slope(resident[half:]), slope(anonymous[half:])
    about = (
        f"{rounds} rounds of {AGENTS * steps} operations of {AGENTS} agents, {files} files made and as many old ones "
        f"removed, a git commit in every fourth; each published to a directory before memory is read. At the end "
        f"{there['files']:,} files, {there['bytes'] / 1e6:.0f} MB, {there['sync']['published']['number']:,} commits. "
        f"Over the last half resident memory changes by **{slopes[0]:+.1f} KiB a round** (anonymous {slopes[1]:+.1f})."
    )
    body = table(["MiB at round", *map(str, marks)], lines)
    return Found(f"{about}\n\n{body}", {"resident": resident, "anonymous": anonymous, "slopes": slopes})
