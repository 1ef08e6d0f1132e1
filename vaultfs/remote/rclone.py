"""Every store that rclone reaches, through the one rclone that runs beside us."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from vaultfs.errors import (
    RemoteGoneError,
    RemoteNotConfiguredError,
    RemoteObjectMissingError,
    RemotePermissionError,
    RemoteSignInError,
    RemoteUnavailableError,
    UsageError,
)
from vaultfs.remote.base import Backend, Entry, Progress, Room, is_name
from vaultfs.remote.faults import meaning
from vaultfs.remote.http import HttpError
from vaultfs.remote.rc import RcloneFault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from vaultfs.remote.rc import RemoteControl
    from vaultfs.remote.supervisor import Supervisor

#: rclone replaces some characters in local names, and JSON has no other bytes: such files go through the spool.
_PLAIN_PATH = re.compile(r"/[\w./ +,@=~-]*", re.ASCII)
#: Writing this much takes less time than handing it to a thread.
SMALL = 128 << 10
_MENDED_BY_HAND = (RemoteSignInError, RemotePermissionError, RemoteNotConfiguredError)
_LIST_OPTIONS = {"recurse": True, "filesOnly": True, "noModTime": True, "noMimeType": True}


class RcloneBackend(Backend):
    """`spec` is anything rclone takes as a remote. Bytes to be put wait as files in `spool`: they are ciphertext."""

    def __init__(self, supervisor: Supervisor, spec: str, spool: Path) -> None:
        self.label = describe(spec)
        self.brake = self._brake = supervisor.brake
        self._supervisor = supervisor
        self._spool = spool
        self._secrets = secrets_in(spec)
        if "]" in spec:
            raise UsageError(detail=f"rclone cannot serve the remote {self.label}: there is a ']' in it")
        # With the slash no store is asked first whether the path is one object.
        self._seen = False
        self._fs = spec if spec.endswith((":", "/")) else f"{spec}/"

    async def put(self, name: str, data: bytes | Path) -> None:
        """A copy of a local file: rclone then knows the size, and uses a temporary name where the store needs one."""
        if not self._seen:  # rclone would make the place, which is for `create` alone
            await self._look()
        async with self._file(data) as path:
            places = {"srcFs": str(path.parent), "srcRemote": path.name, "dstFs": self._fs, "dstRemote": name}

            async def copy(control: RemoteControl) -> None:
                await control.call("operations/copyfile", **places)

            if isinstance(data, Path):
                await self._told(copy, name)
            else:
                await self._ask(copy, name)

    async def get(self, name: str, offset: int, length: int | None) -> bytes:
        """By HTTP from rclone."""

        async def read(control: RemoteControl) -> bytes:
            return await control.read(self._fs, name, offset, length)

        data: bytes = await self._ask(read, name)
        return data

    async def list(self, prefix: str) -> list[Entry]:
        """One call, at any depth: one request where the store lists by prefix, one per directory elsewhere."""
        try:
            listed = await self._call("operations/list", prefix, fs=self._fs, remote=prefix, opt=_LIST_OPTIONS)
        except RemoteGoneError:
            if prefix:  # no such directory, or no store? The second question tells them apart
                await self._look()
                return []
            raise
        self._seen = True
        return [Entry(one["Path"], one["Size"]) for one in listed["list"] or () if is_name(one["Path"])]

    async def delete(self, name: str) -> None:
        """Delete the object."""
        try:
            await self._call("operations/deletefile", name, fs=self._fs, remote=name)
        except (RemoteObjectMissingError, RemoteGoneError):
            return

    async def create(self) -> None:
        """Make the directory or bucket."""
        try:
            await self._look()
        except RemoteGoneError:
            await self._call("operations/mkdir", "", fs=self._fs, remote="")

    async def _look(self) -> None:
        """RemoteGoneError if the place is not there."""
        options = {**_LIST_OPTIONS, "recurse": False}
        await self._call("operations/list", "", fs=self._fs, remote="", opt=options)
        self._seen = True

    async def progress(self) -> Progress:
        """From rclone's statistics."""
        stats = await self._call("core/stats", "")
        running = stats.get("transferring") or ()
        return Progress(
            done=sum(one.get("bytes", 0) for one in running),
            total=sum(max(one.get("size", 0), one.get("bytes", 0)) for one in running),
            rate=sum(one.get("speed", 0.0) for one in running),
        )

    async def room(self) -> Room | None:
        """As the store's account says, where it knows quotas: most object stores do not."""

        async def ask(control: RemoteControl) -> Any:
            try:
                return await control.call("operations/about", fs=self._fs)
            except RcloneFault as fault:
                if "about" in fault.text:  # "doesn't support about"
                    return None
                raise

        found = await self._ask(ask, "")
        return None if found is None else Room(found.get("free"), found.get("total"))

    def facts(self) -> dict[str, str]:
        """Which rclone."""
        return self._supervisor.facts()

    async def limit_bandwidth(self, rate: int | None) -> None:
        """By rclone's token bucket, for all that runs and comes."""

        async def limit(_: RemoteControl) -> None:
            await self._supervisor.limit_bandwidth(rate)

        await self._ask(limit, "")

    async def _call(self, command: str, name: str, **parameters: Any) -> Any:
        async def call(control: RemoteControl) -> Any:
            return await control.call(command, **parameters)

        return await self._ask(call, name)

    async def _ask(self, question: Callable[[RemoteControl], Awaitable[Any]], name: str) -> Any:
        with self._brake.urgent():
            return await self._told(question, name)

    async def _told(self, question: Callable[[RemoteControl], Awaitable[Any]], name: str) -> Any:
        try:
            return await question(await self._supervisor.control())
        except RcloneFault as fault:
            error = meaning(fault.text, remote=self.label, name=name, secrets=self._secrets)
            if isinstance(error, _MENDED_BY_HAND):
                await self._set_up_anew()
            raise error from fault
        except HttpError as error:
            raise RemoteUnavailableError(remote=self.label, detail=f"rclone went away: {error}") from error

    async def _set_up_anew(self) -> None:
        """Next time rclone reads its configuration again, where a person may have put things right meanwhile."""
        with suppress(RcloneFault, HttpError, RemoteUnavailableError):
            await (await self._supervisor.control()).call("fscache/clear")

    @asynccontextmanager
    async def _file(self, data: bytes | Path) -> AsyncIterator[Path]:
        """A file with these bytes that can be named to rclone."""
        if isinstance(data, Path):
            path = absolute(data)
            if _PLAIN_PATH.fullmatch(str(path)):
                yield path
                return
        spooled = self._spool / secrets.token_hex(16)
        try:
            if isinstance(data, bytes) and len(data) <= SMALL:
                _spool(data, spooled)
            else:
                await trio.to_thread.run_sync(_spool, data, spooled)
            yield spooled
        finally:
            _forget(spooled)


def absolute(path: Path) -> Path:
    """The path from the root; links stay as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps `..`


def _spool(data: bytes | Path, spooled: Path) -> None:
    if isinstance(data, Path):
        shutil.copyfile(data, spooled)
    else:
        spooled.write_bytes(data)


def _forget(spooled: Path) -> None:
    spooled.unlink(missing_ok=True)


def describe(spec: str) -> str:
    """The remote without its parameters, which may be passwords: `:s3,secret=…:b/p` is shown as `:s3:b/p`."""
    name, _, path = _split(spec)
    return f"{name}:{path}"


def secrets_in(spec: str) -> tuple[str, ...]:
    """What nobody should see of a connection string: its head, and each password as written and as meant."""
    _, parameters, path = _split(spec)
    values = [value for name, value in parameters if _SECRET.search(name)]
    found = {each for value in values for each in (value, _unquoted(value)) if len(each) >= SHORTEST_SECRET}
    if parameters:
        found.add(spec.removesuffix(path))
    return tuple(sorted(found, key=len, reverse=True))


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1].replace(value[0] * 2, value[0])
    return value


#: Shorter values are no secrets worth the name, and may be part of any word.
SHORTEST_SECRET = 4
_SECRET = re.compile(r"pass|secret|key|token|credential|sas|auth", re.IGNORECASE)
_PARAMETER = re.compile(r""",([\w.-]+)(?:=((?:"(?:[^"]|"")*"|'(?:[^']|'')*'|(?!["'])[^,:]*)))?""")


def _split(spec: str) -> tuple[str, list[tuple[str, str]], str]:
    """Name, parameters and path of a remote. UsageError unless it is one."""
    begin = re.match(r":?[\w.+@ -]+", spec)
    if begin is None:
        raise UsageError(detail="a remote is a directory (/path, ./path, ~/path) or NAME:PATH as rclone has it")
    at = begin.end()
    parameters = []
    while match := _PARAMETER.match(spec, at):
        parameters.append((match[1], match[2] or ""))
        at = match.end()
    if spec[at : at + 1] != ":":
        raise UsageError(detail="a remote is a directory (/path, ./path, ~/path) or NAME:PATH as rclone has it")
    return begin[0], parameters, spec[at + 1 :]
