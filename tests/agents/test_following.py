"""A third machine follows while A's agent works: each line at once, and the follower is the one who takes over."""

from __future__ import annotations

import shutil
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.agents.conftest import join
from tests.agents.remembered import remembered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.agents.computer import Computer

WITHIN = 5.0
LINES = 20


class Watch(threading.Thread):
    """Notes when each line of a file was there, looking all the time."""

    def __init__(self, file: Path, lines: int) -> None:
        super().__init__(daemon=True)
        self.file, self.lines = file, lines
        self.seen: list[float] = []
        self.enough = threading.Event()

    def run(self) -> None:
        """Until all are there, or nobody wants to know any more."""
        while len(self.seen) < self.lines and not self.enough.is_set():
            try:
                found = self.file.read_bytes().count(b"\n")
            except OSError:
                found = 0
            self.seen += [time.monotonic()] * (found - len(self.seen))
            time.sleep(0.02)  # another machine's file: there is nothing to await


@pytest.mark.long
@pytest.mark.parametrize("name", ["claude", "hermes", "codex", "openclaw"])
def test_a_third_machine_sees_each_line_and_takes_over(
    name: str, need: Callable[..., None], computer: Callable[..., Computer], base: Path
) -> None:
    """The agent writes twenty lines in its own shell, half a second each; the conversation itself comes too."""
    need(name)
    a, b, c = (computer(label, live="true") for label in "abc")
    join(a, b)
    shutil.copy(a.key, c.key)
    a.turn(name, "one", how="first")
    a.handoff()
    c.mount("--read-only")
    target = a.person / "agent-vault/notes.log"
    here, there = Watch(a.path("notes.log"), LINES), Watch(c.path("notes.log"), LINES)
    here.start()
    there.start()
    command = f"for i in $(seq {LINES}); do echo line $i >> {target}; sleep 0.5; done"
    done = a.turn(name, "two", say=f"RUN {command}")
    here.join(30)
    there.join(30)
    there.enough.set()
    assert len(here.seen) == LINES, (done, here.seen)
    assert len(there.seen) == LINES, "the follower has all of them"
    late = [theirs - mine for mine, theirs in zip(here.seen, there.seen, strict=True)]
    print(f"{name}: a line is there after {sorted(late)[LINES // 2]:.2f} s, the slowest after {max(late):.2f} s")  # noqa: T201
    assert max(late) <= WITHIN, late
    c.until(lambda: "two" in remembered(c.path(name), base / "copy")[0], 10, "the conversation is there too")
    a.handoff()
    c.catch_up()
    c.umount()
    c.mount()
    assert c.turn(name, "three").marks == ["one", "two", "three"]
    c.handoff()
    a.catch_up()
    assert a.turn(name, "four").marks == ["one", "two", "three", "four"]
