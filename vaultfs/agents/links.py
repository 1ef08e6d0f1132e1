"""Skills, memory and character of the vault, in each agent's own place.

A skill that one agent writes is there for every agent on every machine: each agent's own directory is a link to the one
of the vault. Links within the vault are relative, so they hold wherever it is mounted. What an agent had before is
moved there; no name is overwritten.
"""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

import msgspec

from vaultfs.agents.verifying import same_content

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.agents.profiles import Link, Profile

MARKER = "SKILL.md"


class LinkFact(msgspec.Struct, frozen=True):
    """One link: both places from the top of the vault; `linked`, and what else is to be said."""

    vault: str
    at: str
    linked: bool
    detail: str = ""


def follow(mountpoint: str, profile: Profile) -> list[LinkFact]:
    """Make the links of an agent that is in the vault; what is linked stays. Raises `OSError`."""
    return [_follow(mountpoint, profile.name, link) for link in profile.links]


def _follow(mountpoint: str, name: str, link: Link) -> LinkFact:
    shared, own = f"{mountpoint}/{link.vault}", f"{mountpoint}/{name}/{link.at}"
    make = {"directory": _directory, "file": _file, "here": _here}[link.kind]
    if not _in_place(os.path.dirname(own)):
        return LinkFact(link.vault, f"{name}/{link.at}", linked=False, detail="it has no such directory yet")
    linked, detail = make(shared, own, name)
    return LinkFact(link.vault, f"{name}/{link.at}", linked=linked, detail=detail)


def _directory(shared: str, own: str, name: str) -> tuple[bool, str]:
    if os.path.islink(own):
        return _same_place(own, shared), "" if _same_place(own, shared) else "it is a link to somewhere else"
    if os.path.lexists(shared) and not os.path.isdir(shared):
        return False, f"{shared} is no directory"
    os.makedirs(shared, mode=0o755, exist_ok=True)
    told: list[str] = []
    if os.path.isdir(own):
        told = list(_merge(own, shared, name))
        os.rmdir(own)
    elif os.path.lexists(own):
        return False, "it is a file"
    _link(shared, own)
    return True, "; ".join(told)


def _file(shared: str, own: str, name: str) -> tuple[bool, str]:
    del name
    if os.path.islink(own):
        return _same_place(own, shared), "" if _same_place(own, shared) else "it is a link to somewhere else"
    if not os.path.lexists(own) and not os.path.lexists(shared):
        return False, "there is none yet"
    if not os.path.lexists(shared):
        os.makedirs(os.path.dirname(shared), mode=0o755, exist_ok=True)
        os.rename(own, shared)
    elif os.path.lexists(own):
        if not _same(own, os.path.realpath(shared)):
            return False, "both are there and differ; each stays. Remove one of them and adopt again to share the other"
        os.unlink(own)
    _link(shared, own)
    return True, ""


def _here(shared: str, own: str, name: str) -> tuple[bool, str]:
    if os.path.islink(shared):
        # Another agent's, or this one's from before.
        return _same_place(shared, own), "" if _same_place(shared, own) else "the vault's is a link to somewhere else"
    linked, detail = _file(own, shared, name)
    return linked, detail


def _merge(source: str, target: str, agent: str) -> Iterator[str]:
    """Move all that is in `source` into `target`; says what had to get another name."""
    for name in sorted(os.listdir(source)):
        one, other = f"{source}/{name}", f"{target}/{name}"
        if not os.path.lexists(other):
            _move(one, other)
        elif _same(one, other):
            _remove(one)
        elif _is_shelf(one) and _is_shelf(other):
            yield from _merge(one, other, agent)
            os.rmdir(one)
        else:
            other = _free(f"{other}-{agent}")
            _move(one, other)
            yield f"'{name}' was there with another content, so this one is '{os.path.basename(other)}'"


def _move(one: str, other: str) -> None:
    """Rename; a relative link goes on leading to where it led."""
    if os.path.islink(one) and not os.readlink(one).startswith("/"):
        goal = os.path.normpath(os.path.join(os.path.dirname(one), os.readlink(one)))
        os.symlink(os.path.relpath(goal, os.path.dirname(other)), other)
        os.unlink(one)
        return
    os.rename(one, other)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _is_shelf(path: str) -> bool:
    """A directory of skills, not a skill."""
    return _in_place(path) and not os.path.lexists(f"{path}/{MARKER}")


def _same(one: str, other: str) -> bool:
    """Whether two things have the same content, all the way down."""
    a, b = os.lstat(one), os.lstat(other)
    if stat.S_IFMT(a.st_mode) != stat.S_IFMT(b.st_mode):
        return False
    if stat.S_ISLNK(a.st_mode):
        return os.readlink(one) == os.readlink(other)
    if stat.S_ISDIR(a.st_mode):
        names = os.listdir(one)
        if sorted(names) != sorted(os.listdir(other)):
            return False
        return all(_same(f"{one}/{name}", f"{other}/{name}") for name in names)
    return stat.S_ISREG(a.st_mode) and a.st_size == b.st_size and same_content(one, other)


def _free(path: str) -> str:
    number, found = 1, path
    while os.path.lexists(found):
        number += 1
        found = f"{path}-{number}"
    return found


def _in_place(path: str) -> bool:
    """A directory itself, not a link to one."""
    return os.path.isdir(path) and not os.path.islink(path)


def _same_place(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _link(goal: str, name: str) -> None:
    os.makedirs(os.path.dirname(name), mode=0o755, exist_ok=True)
    os.symlink(os.path.relpath(goal, os.path.dirname(name)), name)
