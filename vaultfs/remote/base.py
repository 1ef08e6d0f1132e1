"""What vaultfs asks of a store, sentence by sentence; everything that holds ciphertext is a `Backend`.

Names
- A name is parts of lower-case letters and digits joined by `/`; a part may end in `.` and a number. At most
  `MAX_NAME` characters. Every store known takes such names and keeps them apart.
- A name is written once, by one device, always with the same bytes. Writing it again (a put that was tried
  twice) is allowed and changes nothing.

What is promised
- `put` returns when the store has the whole object and says so. Where the store can (directories, SFTP, object
  stores) nobody ever sees part of it; where it cannot (some WebDAV servers) part of it may be seen under the name
  for a while. It is never mistaken for the whole, because callers authenticate everything they read.
- `get` returns exactly the bytes `offset` to `offset + length` of the object, fewer only where the object ends.
- `list` returns the objects below a directory of names, at any depth, in any order. It may lag behind puts and
  deletes, for minutes, and may name an object twice. A directory without objects is empty, not an error.
- `delete` makes an object go away; one that is not there has gone away already.
- `create` makes the place itself, if it is not there. Nothing else does: a disk that is not attached must not
  look like an empty vault.
- A call that failed or was cancelled may still take effect, even later.
- All of them may be called by many tasks of one trio loop at once; none is for other threads.

What goes wrong is told apart, by the classes in `vaultfs.errors`: `RemoteUnavailableError` is worth another
try; every other `RemoteError` is not, until a person or the store's owner has done something.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.remote.brake import Brake

MAX_NAME = 200
_PART = r"[a-z0-9]+(?:\.[0-9]+)?"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")


class Entry(NamedTuple):
    """One object in a listing: its whole name, and its size in bytes."""

    name: str
    size: int


class Room(NamedTuple):
    """Bytes on a store: what is free (None: it does not tell), and how many there are in all."""

    free: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class Progress:
    """What is under way: `done` of `total` bytes of the transfers that run, at `rate` bytes a second."""

    done: int = 0
    total: int = 0
    rate: float = 0.0


class Backend(ABC):
    """One try at each request, cancellable at any time; retries, deadlines and counting are `Remote`'s.

    Raises only `RemoteError` and its subclasses.
    """

    #: The store as a person knows it, without passwords or keys.
    label: str
    #: For the process that uploads, where that is one beside us. Calls other than the upload of a file release it.
    brake: Brake | None = None

    @abstractmethod
    async def put(self, name: str, data: bytes | Path) -> None:
        """Store the whole object: these bytes, or the file's."""

    @abstractmethod
    async def get(self, name: str, offset: int, length: int | None) -> bytes:
        """The bytes from `offset`, at most `length` (> 0; None: to the end). RemoteObjectMissingError if none."""

    @abstractmethod
    async def list(self, prefix: str) -> list[Entry]:
        """The objects below the directory `prefix` ("" for all). RemoteGoneError if the store itself is not there."""

    @abstractmethod
    async def delete(self, name: str) -> None:
        """Remove the object, if it is there."""

    @abstractmethod
    async def create(self) -> None:
        """Make the place itself, if it is not there."""

    async def progress(self) -> Progress:
        """What is being transferred; nothing where the store cannot tell."""
        return Progress()

    async def room(self) -> Room | None:
        """How much room there is; None where the store cannot tell."""
        return None

    def facts(self) -> dict[str, str]:
        """What `doctor` shows of the machinery; empty where there is none."""
        return {}

    async def limit_bandwidth(self, rate: int | None) -> None:  # noqa: B027 - not every store has to
        """At most `rate` bytes a second each way from now on (None: no limit); no effect on a directory."""


def is_name(text: str) -> bool:
    """Whether an object can be called that. What else lies in a store (unfinished uploads, say) is not ours."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def check_name(name: str) -> None:
    """UsageError unless `name` can be an object's."""
    if not is_name(name):
        raise UsageError(detail=f"{name!r} cannot be the name of a remote object")


def check_prefix(prefix: str) -> None:
    """UsageError unless `prefix` is "" or can be a directory of names."""
    if prefix:
        check_name(prefix)
