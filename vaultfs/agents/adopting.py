"""Moves an agent's state into the vault. At every moment either the old directory or a verified copy is in place."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from vaultfs.agents import ignoring
from vaultfs.agents.copying import Copied, Left, copy, entries, join, state_of
from vaultfs.agents.exchanging import exchange
from vaultfs.agents.finding import value_for
from vaultfs.agents.links import LinkFact, follow
from vaultfs.agents.looking import ALREADY, COPY, JOIN, LINK, Plan
from vaultfs.agents.running import signs
from vaultfs.agents.verifying import DifferentError, same_content, verify
from vaultfs.durable import sync_path
from vaultfs.errors import AdoptError, AgentRunsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Step = Callable[[str, int], None]


class Outcome(msgspec.Struct, kw_only=True):
    """What was done, or with `dry_run` would be. Paths in `stays` and `left` are seen from the agent's directory."""

    agent: str
    title: str
    how: str
    source: str
    target: str
    dry_run: bool = False
    linked: bool = False
    aside: str | None = None
    export: str
    credentials: str
    files: int = 0
    bytes: int = 0
    stays: list[str] = msgspec.field(default_factory=list)
    left: list[Left] = msgspec.field(default_factory=list)
    brought: list[str] = msgspec.field(default_factory=list)
    links: list[LinkFact] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)
    pitfalls: list[str] = msgspec.field(default_factory=list)


def outcome_of(plan: Plan, *, dry_run: bool) -> Outcome:
    """What is known before anything is done."""
    profile, survey = plan.wish.profile, plan.survey
    moves = plan.how in {COPY, JOIN, LINK} and plan.wish.link
    return Outcome(
        agent=profile.name,
        title=profile.title,
        how=plan.how,
        source=plan.source.path,
        target=plan.target,
        dry_run=dry_run,
        linked=moves or (plan.how == ALREADY and os.path.islink(plan.source.path)),
        aside=plan.aside if moves and plan.aside else None,
        export=f"export {profile.env}={value_for(profile, plan.target)}",
        credentials="shared" if plan.share else "local",
        files=survey.files,
        bytes=survey.bytes,
        stays=survey.stays,
        left=survey.left,
        notes=list(survey.notes),
        brought=_wanted(plan) if plan.how == JOIN else [],
        pitfalls=list(profile.pitfalls),
    )


def carry_out(plan: Plan, step: Step = lambda *_: None) -> Outcome:
    """Do it. `step(what, bytes)` is called before each step, and often while bytes are copied and compared.

    AdoptError, AgentRunsError: nothing is changed. Killed anywhere, the next run finishes.
    """
    done = outcome_of(plan, dry_run=False)
    try:
        with _alone(plan):
            copied = None
            if plan.how == COPY:
                copied = _bring(plan, step)
            else:
                step("rules", 0)
                ignoring.ensure(plan.wish.mountpoint, plan.wish.profile, share=plan.wish.share)
            if plan.how == JOIN:
                step("credentials", 0)
                _bring_credentials(plan, done.brought)
            if plan.how in {JOIN, LINK}:
                _beside(plan, plan.target)
            if done.linked and plan.how != ALREADY:
                step("link", 0)
                _swap(plan, copied)
            if plan.wish.follow:
                step("follow", 0)
                done.links = follow(plan.wish.mountpoint, plan.wish.profile)
    except OSError as error:
        raise _failed(plan, f"{error.strerror}: {error.filename}" if error.filename else str(error)) from error
    except DifferentError as error:
        raise _failed(plan, str(error)) from error
    step("done", 0)
    return done


def _bring(plan: Plan, step: Step) -> Copied:
    """The verified copy is in its place."""
    mountpoint, profile = plan.wish.mountpoint, plan.wish.profile
    staging = f"{mountpoint}/{ignoring.STAGING}{profile.name}"
    before = ignoring.read(mountpoint)
    step("rules", 0)
    # Before anything of it is in the mount, or what must not travel might.
    ignoring.ensure(mountpoint, profile, share=plan.wish.share)
    try:
        shutil.rmtree(staging, ignore_errors=True)
        step("copy", 0)
        copied = copy(plan.resolved, staging, progress=lambda done: step("copying", done))
        step("verify", 0)
        verify(plan.resolved, staging, copied, progress=lambda done: step("verifying", done))
        _beside(plan, staging)
        _idle(plan, plan.resolved)
        step("place", 0)
        os.rename(staging, plan.target)
        sync_path(Path(mountpoint))
    except BaseException:
        _undo(plan, staging, before)
        raise
    return copied


def _undo(plan: Plan, staging: str, before: str) -> None:
    """Nothing of an attempt that failed is left; if even that fails, the next one does it."""
    shutil.rmtree(staging, ignore_errors=True)
    with contextlib.suppress(OSError):
        ignoring.restore(plan.wish.mountpoint, plan.wish.profile.name, before)


def _beside(plan: Plan, directory: str) -> None:
    """What the agent has outside of its directory as long as its variable is not set."""
    home = plan.wish.environ.get("HOME") or os.path.expanduser("~")
    if plan.source.how != "default":
        return
    for item in plan.wish.profile.beside:
        path, there = item.source.replace("~", home, 1), f"{directory}/{item.at}"
        if os.path.isfile(path) and not os.path.lexists(there):
            _take_over(path, there)


def _take_over(path: str, there: str) -> None:
    """By way of a name that stays here whatever it is, and at no moment half a file under the real one."""
    temporary = f"{os.path.dirname(there)}/.#{os.path.basename(there)}"
    shutil.copy2(path, temporary)
    if not same_content(os.path.realpath(path), temporary):
        os.unlink(temporary)
        raise DifferentError(f"{path} was changed meanwhile")
    os.replace(temporary, there)


def _wanted(plan: Plan) -> list[str]:
    """Credentials of this machine that the vault's directory here has not; they stay on it."""
    if plan.share:
        return []
    rules = ignoring.matching(plan.wish.profile.credentials)
    found = []
    for path, _ in entries(plan.resolved):
        parts = tuple(os.fsencode(part) for part in path.split("/"))
        if path and os.path.isfile(join(plan.resolved, path)) and rules.stays(parts, folder=False):
            found.append(path)
    return [path for path in found if not os.path.lexists(join(plan.target, path))]


def _bring_credentials(plan: Plan, paths: list[str]) -> None:
    for path in paths:
        there = join(plan.target, path)
        os.makedirs(os.path.dirname(there), mode=0o700, exist_ok=True)
        _take_over(join(plan.resolved, path), there)


def _swap(plan: Plan, copied: Copied | None) -> None:
    """The link is where the directory was, and the directory beside it; in one step."""
    path = plan.source.path
    parent = os.path.dirname(path)
    if not os.path.lexists(path):
        os.makedirs(parent, exist_ok=True)
        os.symlink(plan.target, path)
    elif plan.how == LINK:  # a link that leads nowhere: to a mount that is gone
        temporary = f"{path}.vaultfs-new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(plan.target, temporary)
        os.replace(temporary, path)
    else:
        _idle(plan, plan.resolved)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(plan.aside)  # a link, left by a run that was killed here
        os.symlink(plan.target, plan.aside)
        exchange(plan.aside, path)
        changed = copied and _changed(os.path.realpath(plan.aside), copied)
        if changed:
            exchange(plan.aside, path)
            os.unlink(plan.aside)
            shutil.rmtree(plan.target)
            raise _failed(plan, f"{changed} was changed meanwhile")
    sync_path(Path(parent))


def _changed(top: str, copied: Copied) -> str | None:
    now = {path: state_of(found) for path, found in entries(top) if path in copied.seen}
    return next((path for path, state in copied.seen.items() if now.get(path) != state), None)


def _idle(plan: Plan, directory: str) -> None:
    found = signs(plan.wish.profile, directory)
    if found:
        raise AgentRunsError(title=plan.wish.profile.title, detail="; ".join(sign.detail for sign in found))


@contextlib.contextmanager
def _alone(plan: Plan) -> Iterator[None]:
    """Two runs at once would be in each other's way."""
    descriptor = os.open(plan.wish.mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise _failed(plan, "another adopt or unadopt is at work in this vault") from error
    try:
        yield
    finally:
        os.close(descriptor)


def _failed(plan: Plan, detail: str) -> AdoptError:
    return AdoptError(title=plan.wish.profile.title, detail=detail, path=plan.source.path)
