"""Moves an agent's state out of the vault again, into a plain directory of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from vaultfs.agents import ignoring
from vaultfs.agents.copying import Left, copy, entries
from vaultfs.agents.exchanging import exchange
from vaultfs.agents.finding import holds_something, state_directory
from vaultfs.agents.running import signs
from vaultfs.agents.verifying import DifferentError, verify
from vaultfs.durable import sync_path
from vaultfs.errors import AdoptError, AgentNotInVaultError, AgentRunsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vaultfs.agents.profiles import Profile

    Step = Callable[[str, int], None]

SUFFIX = ".vaultfs-unadopting"


class Departure(NamedTuple):
    """`target` is where the plain directory is to be, `source` the one in the vault."""

    profile: Profile
    mountpoint: str
    source: str
    target: str
    remove: bool
    out: bool = False  #: it is out already, and the link that it took the place of is beside it: a run was killed


class Departed(msgspec.Struct, kw_only=True):
    """What was done, or with `dry_run` would be."""

    agent: str
    title: str
    source: str
    target: str
    dry_run: bool = False
    files: int = 0
    bytes: int = 0
    removed: bool = False
    rules_removed: bool = False
    left: list[Left] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)


def plan(profile: Profile, mountpoint: str, environ: Mapping[str, str], *, to: str | None, remove: bool) -> Departure:
    """Look whether it can be done. AgentNotInVaultError, AgentRunsError, AdoptError."""
    source = f"{mountpoint}/{profile.name}"
    target = state_directory(profile, environ, to).path
    out = os.path.islink(f"{target}{SUFFIX}") and os.path.isdir(target)
    if not holds_something(source) and not out:
        raise AgentNotInVaultError(title=profile.title, mountpoint=mountpoint, name=profile.name)
    if target == source or target.startswith(f"{mountpoint}/"):
        raise AdoptError(title=profile.title, detail=f"{profile.env} leads into the vault; use --to DIR", path=target)
    if os.path.lexists(target) and os.path.realpath(target) != source and not out:
        raise AdoptError(title=profile.title, detail=f"{target} is there and no link to the vault", path=target)
    found = signs(profile, source)
    if found:
        raise AgentRunsError(title=profile.title, detail="; ".join(sign.detail for sign in found))
    return Departure(profile, mountpoint, source, target, remove, out)


def carry_out(departure: Departure, *, others: list[str], step: Step = lambda *_: None) -> Departed:
    """Copy it out, compare it, put it in the place of the link. Killed anywhere, the next run finishes.

    `others`: machines that have the agent in this vault; their rules stay. AdoptError: nothing is changed.
    """
    profile, source, target = departure.profile, departure.source, departure.target
    done = Departed(agent=profile.name, title=profile.title, source=source, target=target)
    if not departure.out:
        _bring_out(departure, done, step)
    if departure.remove:
        step("remove", 0)
        _remove(departure, done, others)
    if os.path.islink(f"{target}{SUFFIX}"):
        os.unlink(f"{target}{SUFFIX}")  # the last: while it is there, a run that was killed has not finished
    step("done", 0)
    return done


def _bring_out(departure: Departure, done: Departed, step: Step) -> None:
    """The plain directory is in its place."""
    profile, source, target = departure.profile, departure.source, departure.target
    staging = f"{target}{SUFFIX}"
    try:
        _clear(staging)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        step("copy", 0)
        copied = copy(source, staging, progress=lambda count: step("copying", count))
        step("verify", 0)
        verify(source, staging, copied, progress=lambda count: step("verifying", count))
        done.files, done.bytes, done.left = copied.files, copied.bytes, copied.left
        done.notes = _own(departure, staging)
        found = signs(profile, source)
        if found:
            raise AgentRunsError(title=profile.title, detail="; ".join(sign.detail for sign in found))  # noqa: TRY301
        step("place", 0)
        if os.path.lexists(target):
            exchange(staging, target)
        else:
            os.rename(staging, target)
        sync_path(Path(target).parent)
    except BaseException as error:
        if os.path.isdir(staging) and not os.path.islink(staging):
            shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, DifferentError | OSError):
            raise AdoptError(title=profile.title, detail=_words(error), path=target) from error
        raise


def _clear(staging: str) -> None:
    if os.path.lexists(staging):
        shutil.rmtree(staging)


def _own(departure: Departure, staging: str) -> list[str]:
    """What was a link to the vault's skills and the like becomes the agent's own copy of it."""
    notes = []
    for link in departure.profile.links:
        path, shared = f"{staging}/{link.at}", f"{departure.mountpoint}/{link.vault}"
        if link.kind == "here" or not os.path.islink(path) or not os.path.lexists(shared):
            continue
        os.unlink(path)
        if os.path.isdir(shared):
            verify(shared, path, copy(shared, path))
        else:
            shutil.copy2(shared, path)
        notes.append(f"{link.at} is a copy of the vault's {link.vault} now")
    return notes


def _remove(departure: Departure, done: Departed, others: list[str]) -> None:
    """Take the vault's copy away; and its rules, unless another machine keeps credentials behind them."""
    for link in departure.profile.links:
        shared, own = f"{departure.mountpoint}/{link.vault}", f"{departure.source}/{link.at}"
        if link.kind == "here" and os.path.islink(shared) and os.path.realpath(shared) == os.path.realpath(own):
            os.replace(own, shared)
    shutil.rmtree(departure.source, ignore_errors=not os.path.lexists(departure.source))
    done.removed = True
    if others:
        done.notes.append(f"its rules stay in {ignoring.FILE}: {', '.join(others)} keep this agent here, too")
        return
    text = ignoring.read(departure.mountpoint)
    without = ignoring.with_section(text, departure.profile.name, "")
    if without != text:
        ignoring.write(departure.mountpoint, without)
        done.rules_removed = True


def survey(departure: Departure) -> Departed:
    """What would be done."""
    sizes = [found.st_size for path, found in entries(departure.source) if path]
    return Departed(
        agent=departure.profile.name,
        title=departure.profile.title,
        source=departure.source,
        target=departure.target,
        dry_run=True,
        files=len(sizes),
        bytes=sum(sizes),
        removed=departure.remove,
    )


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)
