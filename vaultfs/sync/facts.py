"""What the engine tells about itself, for `status`: plain values, nothing formatted.

Times are nanoseconds since 1970 (0: never, or not known), sizes bytes, ids and paths as they are in the vault (a path
without a slash at its start). The daemon turns them into what docs/cli-contract.md promises.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What is the matter with the remote. Each has a class in `vaultfs.errors`."""

    UNREACHABLE = "unreachable"  # vaultfs goes on trying
    SIGN_IN = "sign-in"
    PERMISSION = "permission"
    FULL = "full"
    GONE = "gone"
    REFUSED = "refused"  # anything else that trying again will not help


class Trouble(msgspec.Struct, frozen=True):
    """Why the remote does not work. `text` is the error's sentence; `since`: when it began."""

    kind: Kind
    text: str
    since: int = 0


class Commit(msgspec.Struct, frozen=True):
    """One device's commit `number`, and when it was made."""

    number: int
    time: int


class OpenThere(msgspec.Struct, frozen=True):
    """A path that is open (or held) on a device, and since when."""

    path: bytes
    since: int


class DeviceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One device, as its newest head that this machine has seen says.

    `this`: it is this machine. `lag`: seconds from when that commit was made until it was seen here; None: not known
    (it was there when this machine came). `open`, `held`: presence. `waiting`: there is a newer head, which is not
    merged yet. `accepted`: False while an alarm about this device stands.
    """

    id: bytes
    label: str
    this: bool = False
    last: Commit | None = None
    lag: float | None = None
    waiting: bool = False
    accepted: bool = True
    open: list[OpenThere] = msgspec.field(default_factory=list)
    held: list[OpenThere] = msgspec.field(default_factory=list)


class Pending(msgspec.Struct, frozen=True):
    """What is changed here and not on the remote: names changed and not committed, commits not published.

    `files`: changed files and names. `bytes`: sealed bytes of packs that wait, and dirty bytes not sealed yet.
    `oldest`: when the oldest of it was written.
    """

    commits: int = 0
    files: int = 0
    bytes: int = 0
    oldest: int = 0


class Hold(msgspec.Struct, frozen=True):
    """A newer version of `path` waits for these processes to close it. `device`: whose version; b"" if several.

    `staying`: the name of something in it that stays on this machine, which is what it waits for.
    """

    path: bytes
    pids: tuple[int, ...] = ()
    since: int = 0
    device: bytes = b""
    staying: bytes = b""


class Alarm(msgspec.Struct, frozen=True):
    """Something that must not be: a rollback, a forged or withheld head, an object that is not authentic.

    `kind`: a short name ("rollback", "forged", "damaged", "header"...). `text` says what, which object, and what
    would be lost. `device`: whom `vaultfs heads accept` would be about; b"" if nobody.
    """

    kind: str
    text: str
    device: bytes = b""
    object: str = ""
    since: int = 0


class Transfers(msgspec.Struct, frozen=True):
    """What is under way: `done` of `total` bytes, at `rate` bytes a second, both directions together."""

    done: int = 0
    total: int = 0
    rate: float = 0.0


class SyncFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The engine at one moment.

    `remote`: the label, without secrets. `reachable`: None until the first answer. `published`: the last commit of
    this machine that is on the remote with all it needs. `seen`: when the remote was last looked at successfully.
    `conflicts`: how many there are in the base. `lag`: names whose newer version is not in the working tree yet.
    `read_only`: this machine follows and publishes nothing.
    """

    remote: str
    reachable: bool | None = None
    trouble: Trouble | None = None
    root: bytes = b""
    published: Commit | None = None
    committed: Commit | None = None
    seen: int = 0
    devices: list[DeviceFacts] = msgspec.field(default_factory=list)
    pending: Pending = Pending()
    holds: list[Hold] = msgspec.field(default_factory=list)
    lag: int = 0
    conflicts: int = 0
    alarms: list[Alarm] = msgspec.field(default_factory=list)
    transfers: Transfers = Transfers()
    requests: dict[str, int] = msgspec.field(default_factory=dict)
    read_only: bool = False
