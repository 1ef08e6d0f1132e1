"""Every known agent: where its state is, and who wrote it last."""

from __future__ import annotations

import os
import stat
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from vaultfs.agents.copying import entries
from vaultfs.agents.finding import holds_something, state_directory
from vaultfs.agents.running import signs
from vaultfs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultfs.agents.profiles import Profile

_MOST = 5000  # names that are looked at for the newest


class Writer(msgspec.Struct):
    """Which machine wrote the newest file, and when (RFC 3339)."""

    device: str = ""
    ts: str = ""


class AgentFact(msgspec.Struct, kw_only=True):
    """One agent. `found`: its directory is here; `linked`: and is the vault's. `in_vault` None: no vault is mounted."""

    agent: str
    title: str
    directory: str
    how: str
    found: bool
    in_vault: bool | None
    linked: bool
    running: list[int]
    writer: Writer | None = None


def listing(known: dict[str, Profile], mountpoint: str | None, environ: Mapping[str, str]) -> list[AgentFact]:
    """All of them, by name."""
    return [_fact(profile, mountpoint, environ) for profile in known.values()]


def _fact(profile: Profile, mountpoint: str | None, environ: Mapping[str, str]) -> AgentFact:
    try:
        path, how = state_directory(profile, environ)
    except UsageError:
        path, how = environ[profile.env], "environment"
    target = None if mountpoint is None else f"{mountpoint}/{profile.name}"
    there = None if target is None else holds_something(target)
    return AgentFact(
        agent=profile.name,
        title=profile.title,
        directory=path,
        how=how,
        found=os.path.isdir(path),
        in_vault=there,
        linked=bool(there) and os.path.realpath(path) == target,
        running=[sign.pid for sign in signs(profile, path)] if os.path.isdir(path) else [],
        writer=last_writer(target) if target is not None and there else None,
    )


def last_writer(directory: str) -> Writer | None:
    """Who wrote the newest of the files in it, as the mount says."""
    newest, when = None, -1
    for path, found in islice(entries(directory), _MOST):
        if stat.S_ISREG(found.st_mode) and found.st_mtime_ns > when:
            newest, when = f"{directory}/{path}", found.st_mtime_ns
    if newest is None:
        return None
    try:
        return msgspec.json.decode(os.getxattr(newest, "user.vaultfs.lastWriter"), type=Writer)
    except (OSError, msgspec.DecodeError):
        return None
