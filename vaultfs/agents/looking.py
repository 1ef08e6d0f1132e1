"""What `adopt` would do, found out without changing anything."""

from __future__ import annotations

import os
import stat
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from vaultfs.agents import ignoring
from vaultfs.agents.copying import KINDS, Left, entries
from vaultfs.agents.finding import Found, below, holds_something, state_directory
from vaultfs.agents.running import signs
from vaultfs.errors import AdoptError, AgentNotHereError, AgentRunsError, UsageError
from vaultfs.tree.scope import DEFAULTS, Rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultfs.agents.profiles import Profile

COPY, JOIN, LINK, ALREADY = "copied", "joined", "linked", "already"
SHOWN = 20


class Wish(NamedTuple):
    """What is asked for. `share`: whether credentials travel, None as it was. `given`: --from."""

    profile: Profile
    mountpoint: str
    environ: Mapping[str, str]
    given: str | None = None
    link: bool = True
    share: bool | None = None
    follow: bool = True


class Survey(msgspec.Struct):
    """What is in a directory that is to be copied."""

    files: int = 0
    bytes: int = 0
    left: list[Left] = msgspec.field(default_factory=list)
    stays: list[str] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)


class Plan(NamedTuple):
    """What would be done. `how`: copied, joined (the vault has it already), linked (nothing is here), already."""

    wish: Wish
    source: Found
    resolved: str
    target: str
    how: str
    aside: str
    share: bool
    survey: Survey


def look(wish: Wish) -> Plan:
    """Decide. AgentNotHereError, AgentRunsError, AdoptError, UsageError."""
    profile, mountpoint = wish.profile, wish.mountpoint
    target = f"{mountpoint}/{profile.name}"
    source = state_directory(profile, wish.environ, wish.given)
    resolved = os.path.realpath(source.path)
    how = _how(profile, mountpoint, source, resolved)
    here = how in {COPY, JOIN}
    if here:
        _not_running(profile, source.path)
    if wish.link and how != ALREADY and not os.access(_standing(os.path.dirname(source.path)), os.W_OK | os.X_OK):
        raise AdoptError(title=profile.title, detail="no link can be made beside it; use --no-link", path=source.path)
    shared = ignoring.shares(ignoring.read(mountpoint), profile.name)
    share = bool(shared) if wish.share is None else wish.share
    survey = _survey(profile, resolved, source.path, share=share) if here else Survey()
    if how == JOIN:
        survey.notes = _differences(resolved, target, survey.stays)
    aside = _aside(source.path, target) if here else ""
    return Plan(wish, source, resolved, target, how, aside, share, survey)


def _how(profile: Profile, mountpoint: str, source: Found, resolved: str) -> str:
    target = f"{mountpoint}/{profile.name}"
    here, there = os.path.lexists(resolved), holds_something(target)
    if resolved == target and there:
        return ALREADY
    if below(resolved, mountpoint) and here:
        raise UsageError(detail=f"{source.path} is in the vault already; move it: mv {resolved} {target}")
    if below(mountpoint, resolved):
        raise UsageError(detail=f"The vault is mounted inside of {source.path}; mount it elsewhere")
    if here and not os.path.isdir(resolved):
        raise UsageError(detail=f"{source.path} is no directory")
    if here:
        return JOIN if there else COPY
    if there:
        return LINK
    raise AgentNotHereError(title=profile.title, path=source.path)


def _not_running(profile: Profile, directory: str) -> None:
    found = signs(profile, directory)
    if found:
        raise AgentRunsError(title=profile.title, detail="; ".join(sign.detail for sign in found))


def _standing(path: str) -> str:
    """The nearest directory above that is there."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path


def _aside(path: str, target: str) -> str:
    """A free name for what is there now. A link to the vault under that name was left by a run that was killed."""
    base = f"{path}.before-vaultfs-{datetime.now().astimezone():%Y-%m-%d}"
    number, name = 1, base
    while os.path.lexists(name) and not (os.path.islink(name) and os.readlink(name) == target):
        number += 1
        name = f"{base}-{number}"
    return name


def _survey(profile: Profile, resolved: str, named: str, *, share: bool) -> Survey:
    found = Survey()
    rules = ignoring.matching((*profile.local, *(() if share else profile.credentials)))
    always = Rules(DEFAULTS)
    for path, entry in entries(resolved):
        kind = stat.S_IFMT(entry.st_mode)
        if kind in KINDS:
            found.left.append(Left(path, KINDS[kind]))
            continue
        parts, folder = tuple(os.fsencode(part) for part in path.split("/")), kind == stat.S_IFDIR
        above = path.startswith(tuple(f"{stay}/" for stay in found.stays))
        if path and not above and (rules.stays(parts, folder=folder) or always.stays(parts, folder=folder)):
            found.stays.append(path)
        if kind == stat.S_IFREG:
            found.files += 1
            found.bytes += entry.st_size
        elif kind == stat.S_IFLNK and not above and path not in found.stays:
            _note_link(found, resolved, named, path)
    return found


def _note_link(found: Survey, resolved: str, named: str, path: str) -> None:
    goal = os.readlink(f"{resolved}/{path}")
    if goal.startswith("/"):
        inside = below(goal, resolved) or below(goal, named)
        detail = "an absolute link into the directory; it is kept as it is" if inside else "an absolute link"
        found.notes.append(f"{path} -> {goal}: {detail}, so on other machines it needs the same path")
    elif not below(os.path.normpath(f"{resolved}/{os.path.dirname(path)}/{goal}"), resolved):
        found.notes.append(f"{path} -> {goal}: leads out of the directory, so it leads elsewhere from the vault")


def _differences(resolved: str, target: str, stays: list[str]) -> list[str]:
    """How what is here differs from the vault's, by names, sizes and times."""
    here, there = _sizes(resolved, stays), _sizes(target, stays)
    only, other = sorted(here.keys() - there.keys()), sorted(there.keys() - here.keys())
    changed = sorted(path for path in here.keys() & there.keys() if here[path] != there[path])
    notes = []
    for paths, text in (
        (only, "only in the directory of this machine, and stay in the one that is kept aside"),
        (changed, "are different here and in the vault; the vault's are used, this machine's are kept aside"),
        (other, "only in the vault"),
    ):
        if paths:
            more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
            notes.append(f"{len(paths)} {text}: {', '.join(paths[:SHOWN])}{more}")
    return notes


def _sizes(top: str, stays: list[str]) -> dict[str, tuple[int, int]]:
    left_out = tuple(f"{stay}/" for stay in stays)
    return {
        path: (found.st_size, found.st_mtime_ns)
        for path, found in entries(top)
        if stat.S_ISREG(found.st_mode) and path not in stays and not path.startswith(left_out)
    }
