"""Where agents have their state on this machine, and what is left in it of other machines' processes."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

import msgspec

from vaultfs.agents.doctor.finding import command, note, ok, problem, warning
from vaultfs.agents.doctor.scene import this_device
from vaultfs.agents.doctor.walking import files_below
from vaultfs.agents.finding import below, holds_something

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.agents.doctor.finding import Finding
    from vaultfs.agents.doctor.scene import Scene
    from vaultfs.agents.profiles import Profile

_SHOWN = 5
_LOCK = re.compile(r".*\.(pid|lock|lck)|Singleton(Lock|Cookie|Socket)|lock\.mdb")
_LOCK_MAX = 256  # bytes: what is longer is no lock, as with `Cargo.lock`
_PID = re.compile(rb"\b(\d{1,7})\b")


class _Writer(msgspec.Struct):
    device: str = ""
    deviceId: str = ""  # noqa: N815 - the name in the attribute


def outside(scene: Scene) -> Iterator[Finding]:
    """State that the agent would use, or has, outside of the vault."""
    for name, profile in scene.agents.items():
        yield from _outside(scene, name, profile) if scene.mountpoint else ()


def _outside(scene: Scene, name: str, profile: Profile) -> Iterator[Finding]:
    target, state = scene.directory(profile), scene.state(profile)
    adopt = command("vaultfs", "adopt", name)
    if not os.path.isdir(target):
        text = f"{profile.title} is not in the vault: nothing of it follows from machine to machine."
        yield problem("state", text, adopt, name)
        return
    usual = os.path.abspath(os.path.expanduser(profile.directory))
    leads = below(os.path.realpath(state), target)
    if leads:
        yield ok("state", f"{profile.title} started here finds its state in the vault.", name)
    elif profile.env in scene.environ:
        text = f"{profile.env} is {scene.environ[profile.env]}: {profile.title} started here does not use the vault."
        yield problem("state", text, f"unset {profile.env}", name)
    elif holds_something(state):
        text = (
            f"{profile.title} started here uses {state}, which is not in the vault: it does not know what others did."
        )
        yield problem("state", text, adopt, name)
    else:
        text = f"There is no link {state} into the vault: {profile.title} finds its state only by vaultfs run."
        yield warning("state", text, adopt, name)
    if leads and profile.env in scene.environ and holds_something(usual) and not below(os.path.realpath(usual), target):
        text = f"{usual} has an older state in it, which {profile.title} uses wherever {profile.env} is not set."
        yield warning("state", text, adopt, name)


def leftovers(scene: Scene) -> Iterator[Finding]:
    """Pid and lock files of other hosts, and such of this one whose process is gone."""
    if not scene.mountpoint or scene.status is None:
        return
    me = this_device(scene.status).hex()
    for name, profile in scene.agents.items():
        directory = scene.directory(profile)
        found = [said for said in _locks(profile, directory, me) if said is not None]
        for path, text in found[:_SHOWN]:
            yield warning("locks", text, command("rm", "-r", path), name)
        if len(found) > _SHOWN:
            yield note("locks", f"And {len(found) - _SHOWN} more such files of {profile.title}.", None, name)
        if not found and os.path.isdir(directory):
            yield ok("locks", f"No pid or lock file of another host is in {profile.title}'s state.", name)


def _locks(profile: Profile, directory: str, me: str) -> Iterator[tuple[str, str] | None]:
    pid_files = set(profile.running.pid_files)
    for path, found in files_below(directory):
        name = path.rsplit("/", 1)[-1]
        if path in pid_files or _LOCK.fullmatch(name):
            full = f"{directory}/{path}"
            if stat.S_ISREG(found.st_mode) and found.st_size <= _LOCK_MAX:
                yield _lock(full, me, pid=path in pid_files or name.endswith(".pid"))


def _lock(path: str, me: str, *, pid: bool) -> tuple[str, str] | None:
    """The path, and what is the matter with it; None: nothing is."""
    try:
        writer = msgspec.json.decode(os.getxattr(path, "user.vaultfs.lastWriter"), type=_Writer)
        with open(path, "rb") as file:
            found = _PID.search(file.read(_LOCK_MAX))
    except (OSError, msgspec.DecodeError):
        return None
    if found is None:
        return None  # an empty lock file is locked by flock, or by nobody: it is in nobody's way
    if writer.deviceId != me:
        return path, f"{path} names process {int(found[1])} of {writer.device}, not of this machine."
    if pid and not os.path.exists(f"/proc/{int(found[1])}"):
        return path, f"{path} names process {int(found[1])}, which is gone."
    return None
