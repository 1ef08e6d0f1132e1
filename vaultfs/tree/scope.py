"""What belongs to the vault and what stays on this machine.

By itself or by a directory above it, a name stays here: FIFOs, sockets and device nodes always; then what the xattr
`user.vaultfs.scope` says; then `.vaultignore` files (gitignore syntax), the one in the nearest directory first; then
patterns of the vault's settings; then `DEFAULTS`. Patterns decide when a name is new, or when the rules change: what is
in the vault already stays there, as with git.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from pathspec import GitIgnoreSpec

from vaultfs.tree.inode import Inode, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Path = tuple[bytes, ...]

LEVELS_MAX = 2048  # names in a path: more than PATH_MAX allows, and all that commits can hold
RULES_MAX = 1 << 20  # bytes of a .vaultignore that are looked at
# Made by programs for themselves, for as long as they run on this machine.
DEFAULTS = (
    "*-shm",
    "*.sock",
    "*.pid",
    "*.lock/",
    "*.lck",
    ".~lock.*#",
    ".#*",
    "lock.mdb",
    "SingletonLock",
    "SingletonCookie",
    "SingletonSocket",
)
# What none of the defaults can match, which is nearly everything, is told from the name by one expression.
_SUSPECT = re.compile(rb"-shm$|\.(sock|pid|lock|lck)$|^\.~lock|^\.#|^lock\.mdb$|^Singleton")
_FLEETING = re.compile(rb"-shm$|\.pid$")
_LOCK_MAX = 256
_LOCAL_KINDS = frozenset({stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK, stat.S_IFCHR})


class Rules:
    """The content of one `.vaultignore`, or the patterns of settings. Lines that are no patterns are passed over."""

    def __init__(self, lines: Iterable[str]) -> None:
        good = []
        for line in lines:
            try:
                GitIgnoreSpec.from_lines([line])
            except (ValueError, TypeError):
                continue
            good.append(line)
        self._spec = GitIgnoreSpec.from_lines(good)
        self.any = bool(good)

    def stays(self, path: Path, *, folder: bool) -> bool | None:
        """Whether the path, seen from the directory of these rules, stays here; None: they do not say."""
        if not self.any:
            return None
        return self._spec.check_file(os.fsdecode(b"/".join(path)) + ("/" if folder else "")).include


def is_fleeting(name: bytes) -> bool:
    """Whether a file that stays here is of no use once the program that made it is gone."""
    return bool(_FLEETING.search(name))


def rules_of(data: bytes) -> Rules:
    """The rules of a `.vaultignore` with this content."""
    return Rules(data[:RULES_MAX].decode(errors="surrogateescape").splitlines())


class Scoping:
    """The rules that hold everywhere. `patterns`: of the settings, in gitignore syntax."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._own = Rules(patterns)
        self._defaults = Rules(DEFAULTS)

    def own(self, node: Inode) -> bool | None:
        """Whether the node stays on this machine by what it is; None: its path decides."""
        if stat.S_IFMT(node.mode) in _LOCAL_KINDS:
            return True
        return None if node.scope == Scope.INHERIT else node.scope == Scope.NODE

    def stays(self, path: Path, node: Inode, above: Sequence[tuple[int, Rules]]) -> bool:
        """Whether the name stays on this machine; what is above it does not.

        `above`: the `.vaultignore` files on the way to it, nearest first, each with the depth of its directory.
        """
        own = self.own(node)
        if own is not None:
            return own
        folder = node.is_dir
        for depth, rules in above:
            found = rules.stays(path[depth:], folder=folder)
            if found is not None:
                return found
        found = self._own.stays(path, folder=folder)
        if found is None and _SUSPECT.search(path[-1]):
            found = self._defaults.stays(path, folder=folder)
        if found is not None:
            return found
        # Lock files are empty or name a process; `Cargo.lock` and its like, which are worth keeping, are longer.
        return stat.S_ISREG(node.mode) and path[-1].endswith(b".lock") and node.size <= _LOCK_MAX
