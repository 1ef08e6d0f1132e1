"""TAB in real shells, after a real `vaultfs install-helpers --user`."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.person import Person

BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
SECONDS = 30


class Terminal:
    """An interactive shell, and what it shows."""

    def __init__(self, person: Person, *command: str, **environment: str) -> None:
        how = person.how()
        # Nothing of ours is in PATH: what is installed knows where vaultfs is.
        env = {**how["env"], "PATH": "/usr/bin:/bin", "TERM": "dumb", "PS1": "ready> ", **environment}
        self.controller, terminal = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True, **{**how, "env": env}
        )
        os.close(terminal)

    def until(self, text: str) -> str:
        """All that is shown until `text` is."""
        screen, deadline = "", time.monotonic() + SECONDS
        while text not in screen and time.monotonic() < deadline:
            if select.select([self.controller], [], [], 1)[0]:
                try:
                    screen += os.read(self.controller, 65536).decode(errors="replace")
                except OSError:
                    break
        assert text in screen, f"never shown: {text!r}\n{screen}"
        return screen

    def type(self, text: str) -> None:
        """Keys."""
        os.write(self.controller, text.encode())

    def end(self) -> None:
        """Close the window."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self.controller)


@pytest.fixture
def home(person: Person) -> Person:
    """Somebody with two vaults and the helpers."""
    person.ok("init", "work", "--yes")
    person.ok("install-helpers", "--user")
    return person


@pytest.mark.fuse
def test_machines_where_a_commit_is_wanted(person: Person) -> None:
    person.ok("init", "--remote", str(person.home / "store"), "--device-label", "office", "--yes")
    ask = {"_VAULTFS_COMPLETE": "zsh_complete", "COMP_WORDS": "vaultfs ls --at o", "COMP_CWORD": "3"}
    environment = {**person.how()["env"], **ask}
    assert person.run(env=environment).stdout.strip() == "", "not mounted: TAB does not wait for the remote"
    person.mount()
    person.write("a", "a")
    person.ok("handoff")
    assert person.run(env=environment).stdout.startswith("plain\noffice\ncommit ")


def shell(name: str) -> str:
    """Its path; skips where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here (./test installs it where it may)")
    return found


def completes(terminal: Terminal) -> None:
    """Verbs, options and vaults, one TAB each."""
    terminal.until("ready> ")
    for typed, shown in (
        ("vaultfs hando", "handoff"),
        ("vaultfs mount --foreg", "--foreground"),
        ("vaultfs status --vault w", "work"),
        ("vaultfs conflicts ke", "keep"),
    ):
        terminal.type(f"{typed}\t")
        terminal.until(shown[len(typed.rpartition(" ")[2]) :])
        terminal.type("\x15")  # Ctrl-U: an empty line


def test_bash(home: Person) -> None:
    if not BASH_COMPLETION.exists():
        pytest.skip("no bash-completion here (./test installs it where it may)")
    (home.home / ".bashrc").write_text(f". {BASH_COMPLETION}\nPS1='ready> '\nbind 'set enable-bracketed-paste off'\n")
    terminal = Terminal(home, shell("bash"), "-i")
    try:
        completes(terminal)
    finally:
        terminal.end()


def test_zsh(home: Person) -> None:
    (home.home / ".zshrc").write_text(
        "fpath=(~/.local/share/zsh/site-functions $fpath)\nautoload -Uz compinit\ncompinit -u\nPS1='ready> '\n"
        "unset zle_bracketed_paste\nbindkey -e\n"
    )
    terminal = Terminal(home, shell("zsh"), "-o", "no_global_rcs", "-i", TERM="vt100")
    try:
        completes(terminal)
    finally:
        terminal.end()


def test_fish(home: Person) -> None:
    # fish asks nothing about a program that it does not find, so there is one; which is not what is asked.
    decoy = home.home / "bin/vaultfs"
    decoy.parent.mkdir()
    decoy.write_text("#!/bin/false\n")
    decoy.chmod(0o755)
    for typed, shown in (("vaultfs hando", "handoff"), ("vaultfs status --vault w", "work")):
        how = home.how()
        env = {**how["env"], "PATH": f"{decoy.parent}:/usr/bin:/bin", "TERM": "dumb"}
        done = subprocess.run(
            [shell("fish"), "-c", f"complete -C '{typed}'"],
            capture_output=True, text=True, check=True, timeout=SECONDS, **{**how, "env": env},
        )  # fmt: skip
        assert done.stdout.split()[:1] == [shown], done.stdout + done.stderr
