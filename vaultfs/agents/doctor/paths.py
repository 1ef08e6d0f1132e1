"""Paths that agents remember: they must mean the same on this machine as on the others."""

from __future__ import annotations

import os
import re
from itertools import islice
from typing import TYPE_CHECKING

import apsw
import msgspec

from vaultfs.agents.doctor.databases import NotLookedAtError, databases, opened
from vaultfs.agents.doctor.finding import command, ok, problem, warning
from vaultfs.agents.finding import below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.agents.doctor.finding import Finding
    from vaultfs.agents.doctor.scene import Scene
    from vaultfs.agents.profiles import Profile

_PROJECTS = 200
_BEGINNING = 1 << 16  # bytes of a transcript in which its directory stands
_SHOWN = 5
_CWD = re.compile(rb'"cwd"\s*:\s*("(?:[^"\\]|\\.){1,4096}")')


def mountpoint(scene: Scene) -> Iterator[Finding]:
    """The vault's own path, on each device that says it."""
    other = {device: card.mountpoint for device, card in scene.cards.items() if card.mountpoint}
    if not scene.mountpoint or not other:
        return
    wrong = {device: path for device, path in other.items() if path != scene.mountpoint}
    for device, path in wrong.items():
        text = (
            f"{scene.label(device)} has the vault at {path}, this machine at {scene.mountpoint}: agents that remember "
            "absolute paths (Codex) do not find their sessions."
        )
        mend = f"{command('vaultfs', 'umount', scene.mountpoint)} && {command('vaultfs', 'mount', path)}"
        yield (problem if "codex" in scene.agents else warning)("paths", text, mend)
    if not wrong:
        yield ok("paths", f"The vault is at {scene.mountpoint} on every machine that says where it has it.")


def projects(scene: Scene) -> Iterator[Finding]:
    """Project directories that other devices work in, and those that Claude Code has sessions of."""
    missing: dict[str, str] = {}
    for device, card in scene.cards.items():
        for path in card.projects:
            if path.startswith("/") and not os.path.isdir(path):
                missing.setdefault(path, f"{scene.label(device)} works in {path}")
    claude = scene.agents.get("claude")
    if claude is not None and scene.mountpoint:
        for path in _claude_projects(scene.directory(claude)):
            if not os.path.isdir(path):
                missing.setdefault(path, f"Claude Code has sessions of {path}")
    for path, text in islice(missing.items(), _SHOWN):
        said = f"{text}, which is not on this machine: agents that find sessions by directory do not go on with them."
        yield warning("projects", said, command("mkdir", "-p", path))
    if len(missing) > _SHOWN:
        yield warning("projects", f"And {len(missing) - _SHOWN} more project directories are not on this machine.")
    if not missing and scene.mountpoint:
        yield ok("projects", "Every project directory that agents remember is on this machine, too.")


def _claude_projects(directory: str) -> Iterator[str]:
    """The directories that its transcripts were made in; the names in projects/ do not tell them exactly."""
    try:
        with os.scandir(f"{directory}/projects") as listed:
            found = [entry.path for entry in islice(listed, _PROJECTS) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for project in sorted(found):
        path = _cwd(project)
        if path is not None:
            yield path


def _cwd(project: str) -> str | None:
    try:
        names = sorted(name for name in os.listdir(project) if name.endswith(".jsonl"))
        for name in names[:_SHOWN]:
            with open(f"{project}/{name}", "rb") as file:
                match = _CWD.search(file.read(_BEGINNING))
            if match is not None:
                path = msgspec.json.decode(match[1], type=str)
                return path if path.startswith("/") else None
    except (OSError, msgspec.DecodeError):
        return None
    return None


def codex(scene: Scene) -> Iterator[Finding]:
    """The absolute paths of sessions in Codex's database, as a copy of it has them."""
    profile = scene.agents.get("codex")
    if profile is None or not scene.mountpoint:
        return
    directory = scene.directory(profile)
    for path in databases(directory):
        if re.fullmatch(r"state_\d+\.sqlite", os.path.basename(path)):
            yield from _codex(scene, profile, path, directory)


def _link(path: str, directory: str) -> str | None:
    """What makes the agent's directory known where it was when `path` was remembered; None if something is there."""
    old, found, _ = path.partition("/sessions/")
    if not found or not old.startswith("/") or os.path.lexists(old):
        return None
    return f"{command('mkdir', '-p', os.path.dirname(old))} && {command('ln', '-s', directory, old)}"


def _codex(scene: Scene, profile: Profile, path: str, directory: str) -> Iterator[Finding]:
    try:
        with opened(path) as database:
            rows = list(database.execute("SELECT DISTINCT rollout_path FROM threads"))
    except NotLookedAtError:
        return  # told by the check of databases
    except apsw.Error:
        return  # another version of Codex has other tables; damage is told by the check of databases
    found = [str(row[0]) for row in rows]
    link = scene.state(profile)
    wrong = [
        one
        for one in found
        if not below(one, directory) and not (below(one, link) and below(os.path.realpath(link), directory))
    ]
    if wrong:
        text = (
            f"{len(wrong)} of {len(found)} sessions are remembered by Codex at paths that are not here, such as "
            f"{wrong[0]}: they cannot be resumed. Mount the vault where it was, or make its directory known there."
        )
        yield problem("codex", text, _link(wrong[0], directory), profile.name)
    else:
        yield ok("codex", f"Codex remembers {len(found)} sessions, all of them at paths of this vault.", profile.name)
