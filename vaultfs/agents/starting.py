"""Runs an agent as a child that has the terminal, and whose end is ours."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from vaultfs.agents import ignoring
from vaultfs.agents.finding import holds_something, state_directory, value_for
from vaultfs.agents.links import follow
from vaultfs.errors import AgentNotInVaultError, AgentStartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

    from vaultfs.agents.profiles import Profile

PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)  # the kernel sends them to the child, too
_DIED = 128  # as the shell says it: and the signal's number


def prepare(profile: Profile, mountpoint: str, environ: Mapping[str, str]) -> str:
    """The agent's directory in the vault; made, with its rules, for one that has no state anywhere yet.

    AgentNotInVaultError: it has state on this machine, which is to be adopted first.
    """
    target = f"{mountpoint}/{profile.name}"
    if holds_something(target):
        return target
    own = state_directory(profile, environ).path
    if holds_something(own) and os.path.realpath(own) != target:
        raise AgentNotInVaultError(title=profile.title, mountpoint=mountpoint, name=profile.name)
    ignoring.ensure(mountpoint, profile, share=None)
    os.makedirs(target, mode=0o700, exist_ok=True)
    follow(mountpoint, profile)
    return target


def command_line(profile: Profile, arguments: Sequence[str], program: str | None) -> list[str]:
    """What is to be started. AgentStartError: there is no such program."""
    words = [program, *profile.command[1:]] if program else list(profile.command)
    found = shutil.which(words[0]) if words else None
    if found is None:
        what = f"there is no program '{words[0]}' on the PATH" if words else "its profile names no command"
        raise AgentStartError(title=profile.title, detail=what)
    return [found, *words[1:], *arguments]


def run(profile: Profile, directory: str, words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Start it, wait for its end, and return its exit code, or 128 and the signal that ended it.

    It is in our process group, so that the terminal, Ctrl-C and Ctrl-Z are its own; what is sent to us alone is
    passed on. AgentStartError.
    """
    with _handlers() as started:
        try:
            process = subprocess.Popen(words, env={**environ, profile.env: value_for(profile, directory)})  # noqa: S603
        except OSError as error:
            raise AgentStartError(title=profile.title, detail=f"{words[0]}: {error.strerror}") from error
        started(process)
        code = process.wait()
    return code if code >= 0 else _DIED - code


@contextmanager
def _handlers() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    """Gives what is to be told of the child; what came while it was being started is passed on then.

    Functions, not SIG_IGN: a program that is started gets the default instead of them.
    """
    child: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        if not child:
            early.append(number)
        for process in child:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    def started(process: subprocess.Popen[bytes]) -> None:
        child.append(process)
        for number in early:
            pass_on(number, None)

    before = {number: signal.signal(number, pass_on) for number in PASSED_ON}
    before |= {number: signal.signal(number, lambda *_: None) for number in FROM_TERMINAL}
    try:
        yield started
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
