"""Progress bars: at a terminal, after a second, and gone afterwards. The rest is silent."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

from tests.support.driver import REPOSITORY

SCRIPT = """
import sys
from vaultfs.cli import progress
progress.PATIENCE = float(sys.argv[1]); progress.STEP = 0.0
with progress.Bar("Fetching", quiet=len(sys.argv) > 2) as bar:
    for done in range(0, 1001, 100):
        bar.update(done * 1024, 1000 * 1024)
print("done")
"""


def at_terminal(*arguments: str) -> str:
    controller, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment,
    )
    os.close(terminal)
    screen, deadline = "", time.monotonic() + 90
    while time.monotonic() < deadline:
        if not select.select([controller], [], [], 1)[0]:
            continue
        try:
            screen += os.read(controller, 65536).decode()
        except OSError:
            break
    os.close(controller)
    assert process.wait(90) == 0, screen
    return screen


def test_what_takes_long_shows_how_far_it_is() -> None:
    screen = at_terminal("0")
    assert "Fetching" in screen
    assert "1000.0 KiB" in screen or "1.0 MiB" in screen or "1,000.0" in screen
    assert "done" in screen


def test_what_is_quick_or_quiet_shows_nothing() -> None:
    assert at_terminal("60").strip() == "done"
    assert at_terminal("0", "quiet").strip() == "done"


def test_without_a_terminal_nothing_is_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "0"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
