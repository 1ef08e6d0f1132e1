"""The sections of the vault's `.vaultignore` that belong to agents. A person's own lines are never touched."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from vaultfs.tree.scope import Rules

if TYPE_CHECKING:
    from vaultfs.agents.profiles import Link, Profile, Rule

FILE = ".vaultignore"
STAGING = ".vaultfs-adopting-"
SHARED = "credentials travel"
LOCAL = "credentials stay"
# Kept on its machine by the rules that hold everywhere, so half a file never travels.
_TEMPORARY = ".#vaultignore"


def anchored(directory: str, pattern: str) -> str:
    """A pattern seen from the agent's directory, as seen from the top of the vault."""
    body = pattern.rstrip("/")
    if "/" in body:
        return f"/{directory}/{pattern.lstrip('/')}"
    return f"/{directory}/**/{pattern}"


def section(profile: Profile, *, share: bool) -> str:
    """The lines of an agent, each with its reason."""
    lines = [_begin(profile.name, SHARED if share else LOCAL)]
    shared = [link for link in profile.links if link.kind == "directory"]
    for rule in (*profile.local, *(() if share else profile.credentials)):
        lines += [f"# {rule.why}", anchored(profile.name, rule.pattern)]
        # A log in a skill is the skill's; a key in it is a key.
        anywhere = rule in profile.credentials
        for link in shared:
            pattern = _behind(link, rule.pattern, anywhere=anywhere)
            lines += [f"# {rule.why}", pattern] if pattern else []
    return "\n".join([*lines, _end(profile.name)]) + "\n"


def _behind(link: Link, pattern: str, *, anywhere: bool) -> str | None:
    """The same rule for what is reached through a link: it stands elsewhere in the vault."""
    body = pattern.rstrip("/")
    if "/" not in body:
        return f"/{link.vault}/**/{pattern}" if anywhere else None
    below = body.lstrip("/").removeprefix(f"{link.at}/")
    return f"/{link.vault}/{below}{pattern[len(body) :]}" if below != body.lstrip("/") else None


def staging_section() -> str:
    """What is being copied does not travel before it is whole."""
    lines = [_begin("", "copies that are not finished"), "# until it is verified", f"/{STAGING}*/", _end("")]
    return "\n".join(lines) + "\n"


def with_section(text: str, name: str, new: str) -> str:
    """The file's text with the section of `name` replaced by `new`, or put at the end. "": taken out."""
    found = _find(text, name)
    if found is not None:
        return text[: found.start()] + new + text[found.end() :]
    if not new:
        return text
    gap = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{gap}{new}"


def shares(text: str, name: str) -> bool | None:
    """Whether the section of `name` lets credentials travel; None: there is no section."""
    found = _find(text, name)
    return None if found is None else SHARED in found[0].partition("\n")[0]


def read(mountpoint: str) -> str:
    """The file's text; "" where there is none."""
    try:
        with open(f"{mountpoint}/{FILE}", encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def write(mountpoint: str, text: str) -> None:
    """Put the text in place, at once and durable; without any text the file goes."""
    path, temporary = f"{mountpoint}/{FILE}", f"{mountpoint}/{_TEMPORARY}"
    if not text:
        if os.path.lexists(path):
            os.unlink(path)
        return
    try:
        mode = os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mode = 0o644
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    os.replace(temporary, path)


def ensure(mountpoint: str, profile: Profile, *, share: bool | None) -> bool:
    """See to it that the agent's section is there; returns whether credentials travel.

    `share` None: as the section says that is there, which another machine may have written; else they stay.
    """
    text = read(mountpoint)
    decided = bool(shares(text, profile.name)) if share is None else share
    new = with_section(with_section(text, "", staging_section()), profile.name, section(profile, share=decided))
    if new != text:
        write(mountpoint, new)
    return decided


def restore(mountpoint: str, name: str, before: str) -> None:
    """The sections that `ensure` writes are as in the text `before`; what else was written meanwhile stays."""
    text = read(mountpoint)
    for section_name in ("", name):
        found = _find(before, section_name)
        text = with_section(text, section_name, found[0] if found else "")
    write(mountpoint, text)


def matching(rules: tuple[Rule, ...]) -> Rules:
    """These rules, to be asked about paths seen from the agent's directory."""
    return Rules(anchored("x", rule.pattern).removeprefix("/x") for rule in rules)


def _begin(name: str, note: str) -> str:
    return f"# >>> vaultfs {name}{' ' if name else ''}({note}; written by vaultfs adopt, your own lines go elsewhere)"


def _end(name: str) -> str:
    return f"# <<< vaultfs {name}".rstrip()


def _find(text: str, name: str) -> re.Match[str] | None:
    opening = re.escape(f"# >>> vaultfs {name}{' ' if name else ''}(")
    closing = re.escape(_end(name))
    return re.search(rf"^{opening}[^\n]*\n(?:(?!# >>> )[^\n]*\n)*?{closing}[ \t]*(?:\n|\Z)", text, re.MULTILINE)
