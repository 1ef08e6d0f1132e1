"""Whom a mount helper works for: mount(8) calls it as root, with no HOME, no PATH, or nothing in the environment."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import vaultfs
from vaultfs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("LANG", "LANGUAGE", "LC_", "TERM", "TZ", "VAULTFS_")


def user_of(text: str) -> pwd.struct_passwd:
    """The user of that name, or number. UsageError if there is none."""
    try:
        return pwd.getpwuid(int(text)) if text.isdigit() else pwd.getpwnam(text)
    except KeyError:
        raise UsageError(detail=f"There is no user '{text}' on this machine") from None


def become(user: pwd.struct_passwd | None) -> None:
    """Go on as `user` (None: as who we are), in an environment where HOME and PATH are right.

    Only root can become another: UsageError for everybody else, and where that user cannot read this program.
    """
    if user is None or user.pw_uid == os.geteuid():
        os.environ.update(_missing(os.environ))
        return
    if os.geteuid() != 0:
        raise UsageError(detail=f"Only root and '{user.pw_name}' can mount what belongs to '{user.pw_name}'")
    os.initgroups(user.pw_name, user.pw_gid)
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    environment = settings() | account(user)
    os.environ.clear()
    os.environ.update(environment)
    os.umask(0o022)
    os.chdir("/")
    closed = [path for path in (vaultfs.__file__, os.__file__) if not os.access(path, os.R_OK)]
    if closed:
        raise UsageError(
            detail=f"'{user.pw_name}' cannot read {os.path.dirname(closed[0])}: install vaultfs where every user can, "  # noqa: PTH120
            "and its helpers again"
        )


def settings() -> dict[str, str]:
    """What stays in the environment of another user."""
    return {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}


def account(user: pwd.struct_passwd) -> dict[str, str]:
    """What a login as `user` sets. No runtime directory: it would go away with the last session, the mount does not."""
    return {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "SHELL": user.pw_shell, "PATH": PATH}


def _missing(environment: Mapping[str, str]) -> dict[str, str]:
    """What is needed and not there."""
    try:
        wanted = account(pwd.getpwuid(os.geteuid()))
    except KeyError:  # a user without an entry has to say where home is
        wanted = {"PATH": PATH}
    found = {name: value for name, value in wanted.items() if not environment.get(name)}
    if "sbin" not in environment.get("PATH", ""):
        found["PATH"] = ":".join(filter(None, (environment.get("PATH"), PATH)))
    return found
