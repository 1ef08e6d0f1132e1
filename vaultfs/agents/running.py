"""Whether an agent runs here: by its pid files, by what has its directory open, by its program and environment."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.daemon.holders import users_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.agents.profiles import Profile

_WORDS = 3  # of a command line: the interpreter, an option, the program
_MOST = 1 << 16
_INTERPRETER = re.compile(r"node|bun|deno|python[0-9.]*|(ba|da|z)?sh")
_PID = re.compile(rb'"?pid"?\s*[:=]?\s*(\d+)|^\s*(\d+)\s*$', re.MULTILINE)


class Sign(NamedTuple):
    """A process, and how it was found."""

    pid: int
    detail: str


def signs(profile: Profile, directory: str, *, most: int = 5) -> list[Sign]:
    """Processes that use the agent's state in `directory`, a few, by pid. An ordinary user sees the own only."""
    resolved = os.path.realpath(directory)
    found: dict[int, str] = {}
    for pid, file in _pid_files(profile, resolved):
        found.setdefault(pid, f"pid {pid}, as {file} says")
    for user in users_of(resolved, most=most):
        found.setdefault(user.pid, f"pid {user.pid} ({user.command}) has {user.path} open")
    for pid in _programs(profile, resolved):
        found.setdefault(pid, f"pid {pid} is {profile.title}")
    found.pop(os.getpid(), None)
    return [Sign(pid, detail) for pid, detail in sorted(found.items())[:most]]


def _pid_files(profile: Profile, directory: str) -> Iterator[tuple[int, str]]:
    for name in profile.running.pid_files:
        with suppress(OSError), open(f"{directory}/{name}", "rb") as file:
            for match in _PID.finditer(file.read(_MOST)):
                pid = int(match[1] or match[2])
                # A number may have been given to another process since.
                if _is_program(profile, pid):
                    yield pid, name


def _programs(profile: Profile, directory: str) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit() and _is_program(profile, int(name)) and _state(profile, int(name)) == directory:
            yield int(name)


def _is_program(profile: Profile, pid: int) -> bool:
    """Whether it was started as the agent's program, or as an interpreter that runs it."""
    words = [os.path.basename(os.fsdecode(word)) for word in _read(f"/proc/{pid}/cmdline").split(b"\0")[:_WORDS]]
    if _INTERPRETER.fullmatch(words[0]):
        words = [word for word in words[1:] if not word.startswith("-")]
    return bool(words) and (words[0] in profile.running.processes or _stem(words[0]) in profile.running.processes)


def _stem(name: str) -> str:
    return re.sub(r"\.(js|mjs|cjs|py)$", "", name)


def _state(profile: Profile, pid: int) -> str | None:
    """The directory that a process of the agent uses, by its environment."""
    environment = dict(item.split(b"=", 1) for item in _read(f"/proc/{pid}/environ").split(b"\0") if b"=" in item)
    if not environment:
        return None
    value = os.fsdecode(environment.get(profile.env.encode(), b""))
    if value:
        return os.path.realpath(value.removesuffix(profile.env_at).rstrip("/") if profile.env_at else value)
    home = os.fsdecode(environment.get(b"HOME", b""))
    return os.path.realpath(profile.directory.replace("~", home, 1)) if home else None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST)
    except OSError:
        return b""
