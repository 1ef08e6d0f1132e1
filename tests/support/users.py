"""Run a piece of a test as another user, in a child that drops its privileges."""

from __future__ import annotations

import os
import pickle
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True)
class User:
    """A user id, its group, and supplementary groups; none needs to exist in /etc/passwd."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


ALICE = User(60001, 60001)
BOB = User(60002, 60002)
CAROL = User(60003, 60003, (60001,))


def as_user(user: User, function: Callable[[], T]) -> T:
    """Run `function` in a child with the user's ids and umask 022, and hand back what it returned or raised."""

    def drop() -> T:
        os.setgroups(list(user.groups))
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
        os.umask(0o022)
        return function()

    return in_child(drop)


def in_child(function: Callable[[], T]) -> T:
    """Run `function` in a forked child and hand back its result; an exception is raised again here."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            answer: tuple[str, object] = ("result", function())
        except OSError as error:
            answer = ("oserror", (error.errno, error.strerror))
        except BaseException:  # noqa: BLE001 - whatever it is, the parent must hear of it
            answer = ("other", traceback.format_exc())
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not data:
        raise AssertionError(f"the child died: wait status {status}")
    kind, value = pickle.loads(data)  # noqa: S301 - written by our own child just now
    if kind == "oserror":
        raise OSError(*value)
    if kind == "other":
        raise AssertionError(value)
    return value  # type: ignore[no-any-return]
