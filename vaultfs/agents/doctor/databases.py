"""Whether agents' databases are intact: on a copy, never on the live file.

The copy is made from the mount, so it needs no wallet and has what is not committed yet. The database and its -wal and
-journal are held open meanwhile, so that no checkout replaces them (they change hands together, and not while one is
open); and when any of them was written to before the copying was done, it is made again. A connection of SQLite's to
the live file would make a -shm and a -wal beside it, and hold locks that the agent waits for.

The copy lies in a private directory (0700) in memory (tmpfs), and is removed when it was looked at: nothing readable
is ever on a disk. Where there is no such place, nothing is copied.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

import apsw

from vaultfs.agents.doctor.finding import note, ok, problem
from vaultfs.agents.doctor.walking import files_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.agents.doctor.finding import Finding
    from vaultfs.agents.doctor.scene import Scene

LARGEST = 256 << 20  #: bytes of a database that is copied into memory
_MOST = 64
_ROUNDS = 3
_QUIET = 0.05  # seconds: the kernel's clock for times of files is that coarse, and more
_PIECE = 1 << 20
_HEADER = b"SQLite format 3\0"
_DATABASE = re.compile(r".*\.(db|db3|sqlite|sqlite3)", re.IGNORECASE)
_SUFFIXES = ("", "-wal", "-journal")


class NotLookedAtError(Exception):
    """Why there is no copy, in words."""


def integrity(scene: Scene) -> Iterator[Finding]:
    """What SQLite says about each database of each agent."""
    if not scene.mountpoint:
        return
    for name, profile in scene.agents.items():
        good = 0
        for path in databases(scene.directory(profile)):
            shown = path[len(scene.mountpoint) + 1 :]
            try:
                said = _examine(path)
            except NotLookedAtError as error:
                yield note("databases", f"{shown} was not looked at: {error}.", None, name)
                continue
            if said:
                mend = f'vaultfs restore {shown} --at "1 hour ago" --to /tmp'
                yield problem("databases", f"{shown} is damaged: {said}. Older commits may have it whole.", mend, name)
            else:
                good += 1
        if good:
            text = (
                f"{good} database{'' if good == 1 else 's'} of {profile.title} {'is' if good == 1 else 'are'} intact."
            )
            yield ok("databases", text, name)


def databases(directory: str) -> list[str]:
    """Files below the directory that are SQLite databases by name and size, a limited number."""
    found = []
    for path, attributes in files_below(directory):
        if _DATABASE.fullmatch(path.rsplit("/", 1)[-1]) and stat.S_ISREG(attributes.st_mode) and attributes.st_size:
            found.append(f"{directory}/{path}")
    return sorted(found)[:_MOST]


def _examine(path: str) -> str:
    """What is wrong with it; "": nothing. What seems damaged is copied and looked at once more. NotLookedAtError."""
    said = ""
    for _ in range(2):
        said = _check(path)
        if not said:
            break
    return said


def _check(path: str) -> str:
    try:
        with opened(path) as database:
            said = database.execute("PRAGMA integrity_check(1)").get
    except (apsw.CorruptError, apsw.NotADBError) as error:
        return str(error)
    except apsw.Error as error:  # a function, module or collation that the agent brings along
        raise NotLookedAtError(f"SQLite here cannot: {error}") from None
    return "" if said == "ok" else str(said).replace("\n", " ")


@contextmanager
def opened(path: str) -> Iterator[apsw.Connection]:
    """A connection to a copy of the database in memory. NotLookedAtError where there can be none."""
    place = memory()
    if place is None:
        raise NotLookedAtError("there is no private directory in memory to copy it to")
    directory = tempfile.mkdtemp(prefix="vaultfs-doctor-", dir=place)
    try:
        copy = os.path.join(directory, "copy.db")
        _copy(path, copy)
        with closing(apsw.Connection(copy)) as database:
            yield database
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _copy(path: str, copy: str) -> None:
    for _ in range(_ROUNDS):
        with ExitStack() as stack:
            try:
                before = _open(path, stack)
                for suffix, (descriptor, _) in before.items():
                    _pour(descriptor, copy + suffix)
            except OSError as error:
                raise NotLookedAtError(f"it cannot be read ({error.strerror})") from None
            if _state(path) == {suffix: state for suffix, (_, state) in before.items()}:
                return
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                os.unlink(copy + suffix)
        time.sleep(_QUIET)
    raise NotLookedAtError("a program writes to it all the time")


State = tuple[int, int, int]


def _open(path: str, stack: ExitStack) -> dict[str, tuple[int, State]]:
    """The files that are there, open, with what would tell that they were written to."""
    found = {}
    for suffix in _SUFFIXES:
        with suppress(FileNotFoundError):
            descriptor = os.open(path + suffix, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            stack.callback(os.close, descriptor)
            found[suffix] = descriptor
    if "" not in found:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if os.pread(found[""], len(_HEADER), 0) != _HEADER:
        raise NotLookedAtError("it is no database of SQLite's")
    states = {suffix: os.fstat(descriptor) for suffix, descriptor in found.items()}
    if sum(state.st_size for state in states.values()) > LARGEST:
        raise NotLookedAtError(f"it is larger than {LARGEST >> 20} MiB")
    if time.time() - max(state.st_mtime for state in states.values()) < _QUIET:
        time.sleep(_QUIET)  # else a write in the same tick would not show
    return {suffix: (descriptor, _told(states[suffix])) for suffix, descriptor in found.items()}


def _state(path: str) -> dict[str, State]:
    """Of the names as they are now."""
    found = {}
    for suffix in _SUFFIXES:
        with suppress(FileNotFoundError):
            found[suffix] = _told(os.lstat(path + suffix))
    return found


def _told(found: os.stat_result) -> State:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _pour(descriptor: int, copy: str) -> None:
    with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        offset = 0
        while data := os.pread(descriptor, _PIECE, offset):
            file.write(data)
            offset += len(data)


def memory() -> str | None:
    """A directory in memory where this user may make private ones; None: there is none."""
    kinds = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            words, _, rest = line.partition(" - ")
            kinds[words.split()[4]] = rest.split()[0]
    for place in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.getuid()}", "/dev/shm"):  # noqa: S108
        top = place
        while top and top != "/" and top not in kinds:
            top = os.path.dirname(top)
        if place and kinds.get(top) == "tmpfs" and os.access(place, os.W_OK | os.X_OK):
            return place
    return None
