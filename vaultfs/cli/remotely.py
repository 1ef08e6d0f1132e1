"""For verbs that read the remote themselves: open it, unlock the vault, say which commit and path are meant."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
import trio

from vaultfs.cli.options import complete_commit, vault_option, wallet_option
from vaultfs.cli.recall import Recall
from vaultfs.daemon.lock import MOUNT, holder_of
from vaultfs.daemon.paths import private_directory
from vaultfs.errors import NoRemoteError, NoVaultError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from vaultfs.cli.app import App
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.daemon.paths import VaultPlaces
    from vaultfs.format.head import Head
    from vaultfs.remote import Remote
    from vaultfs.sync.archive import Archive
    from vaultfs.sync.conflicts import Path

Result = TypeVar("Result")

NANO = 1_000_000_000
_AGO = re.compile(r"(\d+) ?(s|m|h|d|w|seconds?|minutes?|hours?|days?|weeks?)(?: ago)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

remote_option = click.option("--remote", metavar="R", help="Where the vault is published (default: the one recorded).")
at_option = click.option(
    "--at",
    metavar="COMMIT|TIME",
    help="Which commit (default: the newest); see `vaultfs log`.",
    shell_complete=complete_commit,
)


def reading(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every verb that reads the remote."""
    for option in (remote_option, wallet_option, vault_option):
        function = option(function)
    return function


def run(work: Callable[[], Awaitable[Result]]) -> Result:
    """`trio.run`, with the one error that counts instead of a group of them."""
    try:
        return trio.run(work)
    except BaseExceptionGroup as group:
        raise _first(group) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The Ctrl-C if there was one, else the first error."""
    interrupts, rest = group.split(KeyboardInterrupt)
    error: BaseException = interrupts or rest or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def with_remote(app: App, spec: str, work: Callable[[Remote], Awaitable[Result]]) -> Result:
    """What `work` does with the remote `spec`."""
    from vaultfs.remote import Limits, open_remote  # noqa: PLC0415 - not for --help

    runtime = private_directory(app.places.runtime)

    async def opened() -> Result:
        # A person waits: a remote that is not there is told after a few tries.
        async with open_remote(spec, runtime, limits=Limits(call=15.0, attempt=15.0)) as remote:
            return await work(remote)

    return run(opened)


class Reader:
    """A vault whose remote a verb reads; the vault need not be on this machine if `--remote` is given."""

    def __init__(self, app: App, *, vault: str | None, wallet: str | None, remote: str | None) -> None:
        self._app = app
        self._wallet = wallet
        self.place: VaultPlaces = app.named(vault) if remote else app.vault(vault)
        self.spec = app.remote(self.place.name, remote)
        if not self.spec:
            if not self.place.exists():
                raise NoVaultError(name=self.place.name)
            raise NoRemoteError(name=self.place.name)

    def keys(self) -> VaultKeys:
        """Unlocked by the wallet: with the header that is here, else with the remote's."""
        return self.unlocked()[1]

    def unlocked(self) -> tuple[Header, VaultKeys]:
        """Likewise, and the header."""
        if self.place.exists():
            header, keys, _ = self._app.unlock(self.place, self._wallet)
            return header, keys
        from vaultfs.daemon.vault import opener  # noqa: PLC0415 - not for --help
        from vaultfs.sync.header import read_headers  # noqa: PLC0415

        headers = with_remote(self._app, self.spec, read_headers)
        signer = self._app.signer(self.place, self._wallet)
        found, keys = headers.unlock(opener(signer, self.place.name))
        return found.header, keys

    def remote(self, work: Callable[[Remote], Awaitable[Result]]) -> Result:
        """What `work` does with the remote."""
        return with_remote(self._app, self.spec, work)

    def recall(self, keys: VaultKeys) -> Recall:
        """What this machine has seen; it does not count against another remote than the one that is recorded."""
        return Recall(self.place, keys, strict=self.spec == self._app.remote(self.place.name))

    def archive(self, work: Callable[[Archive], Awaitable[Result]], *, strict: bool = True) -> Result:
        """What `work` does with the commits that are there. Raises RollbackError as `Recall.archive`."""
        header, keys = self.unlocked()
        recall = self.recall(keys)

        async def looked(remote: Remote) -> Result:
            return await work(await recall.archive(remote, keys, header, strict=strict))

        return with_remote(self._app, self.spec, looked)

    def path(self, text: str) -> Path:
        """The path in the vault that a person means: below the mount point as the shell has it, else from the top."""
        holder = holder_of(self.place)
        mountpoint = holder.mountpoint if holder is not None and holder.purpose == MOUNT else ""
        full = os.path.abspath(text)  # noqa: PTH100 - links are not followed
        if mountpoint and (full == mountpoint or full.startswith(mountpoint + "/")):
            text = full[len(mountpoint) :]
        names = tuple(name for name in os.fsencode(text).split(b"/") if name not in {b"", b"."})
        if b".." in names:
            raise UsageError(detail=f"'{text}' is no path in the vault: it has '..' in it")
        return names


async def commit_at(archive: Archive, text: str | None) -> Head:
    """The commit that `--at` says: a name, a time, or nothing for the newest. What is in it can be read then."""
    from vaultfs.errors import NoSuchCommitError  # noqa: PLC0415 - with its only use

    if not archive.numbers:
        raise NoSuchCommitError(text=text or "the newest", detail="nothing has been published yet")
    if text is None:
        head = await archive.present()
    else:
        moment = parse_time(text)
        head = await archive.find(text) if moment is None else await archive.at(moment, text)
    await archive.use(head)
    return head


def parse_time(text: str, now: float | None = None) -> int | None:
    """Nanoseconds since 1970 for `2026-11-20`, `2026-11-20 17:30`, an RFC 3339 time, or `2 hours ago`; else None.

    Without a time zone it is this machine's.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return int(((time.time() if now is None else now) - int(ago[1]) * _SECONDS[ago[2][0]]) * NANO)
    if not re.match(r"\d{4}-\d\d-\d\d", text):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int(found.astimezone(UTC).timestamp() * NANO)


def when(nanoseconds: int) -> str:
    """A time for a person: this machine's, to the second."""
    try:
        return f"{datetime.fromtimestamp(nanoseconds / NANO).astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return "?"


@contextmanager
def shown_path(path: Path, commit: str) -> Iterator[None]:
    """What is not in the commit is told by name."""
    from vaultfs.daemon.status import printable  # noqa: PLC0415 - with its only use
    from vaultfs.errors import NotInCommitError  # noqa: PLC0415

    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        detail = (error.strerror or "there is no such file").lower()
        raise NotInCommitError(path=printable(b"/".join(path)), commit=commit, detail=detail) from None
