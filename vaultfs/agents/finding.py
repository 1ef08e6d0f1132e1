"""Where an agent's state is on this machine, and where it is in the vault."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultfs.agents.profiles import Profile


class Found(NamedTuple):
    """A directory, absolute, its own links not followed, and how it was found: given, environment, default."""

    path: str
    how: str


def state_directory(profile: Profile, environ: Mapping[str, str], given: str | None = None) -> Found:
    """Where the agent looks for its state; it need not be there. UsageError: its variable names something else."""
    if given is not None:
        return Found(os.path.abspath(os.path.expanduser(given)), "given")
    value = environ.get(profile.env, "")
    if value:
        path = os.path.abspath(os.path.expanduser(value))
        if profile.env_at and not path.endswith("/" + profile.env_at):
            raise UsageError(
                detail=f"{profile.env} is {value}, which does not end in {profile.env_at}; "
                "name the directory above it with --from DIR, without that variable"
            )
        return Found(path.removesuffix("/" + profile.env_at) if profile.env_at else path, "environment")
    home = environ.get("HOME") or os.path.expanduser("~")
    return Found(os.path.abspath(profile.directory.replace("~", home, 1)), "default")


def value_for(profile: Profile, directory: str) -> str:
    """What the agent's variable must be for its state to be in `directory`."""
    return f"{directory}/{profile.env_at}" if profile.env_at else directory


def below(path: str, directory: str) -> bool:
    """Whether a resolved path is the directory, or in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def holds_something(directory: str) -> bool:
    """Whether it is a directory with anything in it."""
    try:
        with os.scandir(directory) as scan:
            return next(scan, None) is not None
    except (FileNotFoundError, NotADirectoryError):
        return False
