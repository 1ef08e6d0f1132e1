"""`vaultfs run`: the environment, the terminal, signals and the exit code are the agent's; then it hands off."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections import UserDict
from typing import TYPE_CHECKING

import pytest

from tests.support.driver import command
from vaultfs.agents.profiles import profile
from vaultfs.agents.starting import run
from vaultfs.daemon.cards import read_cards

if TYPE_CHECKING:
    from collections.abc import Callable, KeysView
    from pathlib import Path

    from tests.machines_mounted.desk import Desk

AGENT = r"""#!{python}
import os, signal, sys
if sys.argv[1] == "say":
    print(os.environ["HERMES_HOME"], sys.argv[2:], os.isatty(0))
elif sys.argv[1] == "write":
    open(os.path.join(os.environ["HERMES_HOME"], "turn"), "w").write(sys.argv[2])
elif sys.argv[1] == "wait":
    def told(number, frame):
        os.write(1, b"told " + signal.Signals(number).name.encode() + b"\n")  # print may be under way: not reentrant
        os._exit(7)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, told)
    print("ready", os.getpgrp() == os.tcgetpgrp(0) if os.isatty(0) else "", flush=True)
    while True:
        signal.pause()
elif sys.argv[1] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(sys.argv[1]) if sys.argv[1].isdigit() else 0)
"""


def install(desk: Desk) -> Path:
    """An agent called hermes on the PATH of that machine."""
    program = desk.home / "bin/hermes"
    program.parent.mkdir(exist_ok=True)
    program.write_text(AGENT.replace("{python}", sys.executable))
    program.chmod(0o755)
    desk.environment["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    return program


@pytest.fixture
def hermes(home: Desk) -> Path:
    """On the one machine; its state is empty."""
    return install(home)


def start(desk: Desk, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command(), "run", *arguments],
        env=desk.environ(), cwd=desk.home, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_agent_gets_its_directory_and_its_end_is_ours(home: Desk, hermes: Path) -> None:
    done = home.run("run", "hermes", "--no-handoff", "--", "say", "--json", "-h", "a b")
    assert done.stdout == f"{home.path('hermes')} ['--json', '-h', 'a b'] False\n"
    assert "/hermes/logs/" in (home.mountpoint / ".vaultignore").read_text(), "a first start has the rules"
    assert (home.path("hermes/skills")).readlink().as_posix() == "../skills"
    cards = list(read_cards(home.mountpoint).values())
    assert [(card.agents, card.projects) for card in cards] == [({"hermes": "hermes"}, [str(home.home)])]
    assert home.run("run", "hermes", "--no-handoff", "--", "3", check=False).returncode == 3
    assert home.run("run", "hermes", "--no-handoff", "--", "die", check=False).returncode == 128 + 9
    hermes.unlink()
    missing = home.run("run", "hermes", check=False)
    assert missing.returncode == 106
    assert "--program" in missing.stderr


def test_what_is_sent_to_us_is_passed_on(home: Desk, hermes: Path) -> None:
    assert hermes.exists()
    for number in (signal.SIGTERM, signal.SIGHUP):
        process = start(home, "hermes", "--no-handoff", "--", "wait")
        assert process.stdout
        assert process.stdout.readline().startswith("ready")
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
        assert out == f"told {number.name}\n"
        assert process.returncode == 7


class Hurried(UserDict[str, str]):
    """An environment: while it is read, which is before there is a child, we are told to end."""

    def keys(self) -> KeysView[str]:
        os.kill(os.getpid(), signal.SIGTERM)
        return super().keys()


def test_what_is_sent_while_the_agent_starts_is_not_lost(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import time; time.sleep(20)"]
    environ = Hurried(os.environ)
    assert run(profile("hermes"), str(tmp_path), words, environ) == 128 + signal.SIGTERM


def test_the_terminal_is_the_agents(home: Desk, hermes: Path) -> None:
    """Ctrl-C reaches the agent, which decides; vaultfs goes on and hands off."""
    assert hermes.exists()
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*command(), "run", "hermes", "--", "wait"],
        env=home.environ(), cwd=home.home, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - so that Ctrl-C is one
    )  # fmt: skip
    os.close(terminal)
    screen = b""
    deadline = time.monotonic() + 60
    typed = False
    while time.monotonic() < deadline:
        if select.select([controller], [], [], 1)[0]:
            try:
                screen += os.read(controller, 65536)
            except OSError:
                break
        if b"ready True" in screen and not typed:
            os.write(controller, b"\x03")
            typed = True
    os.close(controller)
    assert process.wait(30) == 7, screen
    assert b"told SIGINT" in screen
    assert b"Safe to open elsewhere" in screen


def test_state_that_is_not_adopted_yet_is_not_passed_over(home: Desk, hermes: Path) -> None:
    assert hermes.exists()
    (home.home / ".hermes").mkdir()
    (home.home / ".hermes/state.db").write_text("x")
    done = home.run("run", "hermes", "--", "0", check=False)
    assert done.returncode == 104
    assert "vaultfs adopt hermes" in done.stderr


def test_two_machines_hand_off_and_are_told(desk: Callable[..., Desk]) -> None:
    a, b = desk("a"), desk("b")
    for one in (a, b):
        install(one)
    a.run("run", "hermes", "--", "write", "one")
    b.sync()
    assert b.path("hermes/turn").read_text() == "one", "it was handed off"
    told = b.run("run", "hermes", "--", "write", "two")
    assert "Warning: a: wrote there" in told.stderr
    assert "Safe to open elsewhere" in told.stderr
    b.umount()
    done = b.run("run", "hermes", "--", "0", check=False)
    assert done.returncode == 105
    assert "vaultfs mount ~/agent-vault" in done.stderr
    b.environment |= {"VAULTFS_WALLET": f"keyfile:{b.key}", "VAULTFS_REMOTE": b.remote}
    said = b.run("run", "hermes", "--mount", "--", "say").stdout
    assert f"{b.path('hermes')} [] False" in said
