"""The remote as the rest of vaultfs sees it: every call checked, counted, tried again, and bounded in time."""

from __future__ import annotations

import random
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio

from vaultfs.errors import RemoteError, RemoteObjectMissingError, RemoteUnavailableError, UsageError
from vaultfs.remote.base import Backend, Entry, Progress, Room, check_name, check_prefix

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

Result = TypeVar("Result")

#: A get without a length is allowed the time for this many bytes.
WHOLE_BYTES = 64 << 20


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds; `slowest` is the rate (bytes a second) below which a store is too slow."""

    call: float = 120.0
    attempt: float = 40.0
    slowest: int = 32 << 10
    first_pause: float = 0.02
    longest_pause: float = 300.0


@dataclass
class Requests:
    """Requests made, every try counted (that is what stores charge for and ration), and bytes carried."""

    puts: int = 0
    gets: int = 0
    lists: int = 0
    deletes: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    def __sub__(self, earlier: Requests) -> Requests:
        """What was added since `earlier`, a copy made by `dataclasses.replace`."""
        return Requests(*(getattr(self, name) - getattr(earlier, name) for name in self.__dataclass_fields__))


class Remote:
    """Retries what is worth it, with growing pauses, until the call's time is over.

    `within` is the time for the whole call in seconds, pauses included; by default `Limits.call` and what the bytes
    need at the slowest rate. When it is over: `RemoteUnavailableError` with the last reason. Other errors come at once.
    """

    def __init__(self, backend: Backend, limits: Limits | None = None, *, jitter: random.Random | None = None) -> None:
        self.label = backend.label
        self.limits = limits or Limits()
        self.requests = Requests()
        #: Why the latest try of any call failed; None when it worked. For `status`.
        self.trouble: RemoteError | None = None
        self.brake = backend.brake
        self._backend = backend
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads retries, keeps no secret

    async def put(self, name: str, data: bytes | Path, *, within: float | None = None) -> None:
        """Store the object; `data` is its bytes, or a file that will not change until this returns."""
        check_name(name)
        size = _size(data)

        async def attempt() -> None:
            self.requests.puts += 1
            await self._backend.put(name, data)
            self.requests.bytes_up += size

        await self._persist(attempt, size, within)

    async def get(self, name: str, offset: int = 0, length: int | None = None, *, within: float | None = None) -> bytes:
        """The object's bytes from `offset`, at most `length`; fewer only where it ends."""
        check_name(name)
        if offset < 0 or (length is not None and length < 0):
            raise UsageError(detail="a range of bytes cannot begin or end before 0")
        if length == 0:
            return b""

        async def attempt() -> bytes:
            self.requests.gets += 1
            data = await self._backend.get(name, offset, length)
            self.requests.bytes_down += len(data)
            return data

        return await self._persist(attempt, WHOLE_BYTES if length is None else length, within)

    async def list(self, prefix: str = "", *, within: float | None = None) -> list[Entry]:
        """The objects below the directory `prefix`, at any depth, unordered, possibly late and twice."""
        check_prefix(prefix)

        async def attempt() -> list[Entry]:
            self.requests.lists += 1
            return await self._backend.list(prefix)

        return await self._persist(attempt, 0, within)

    async def delete(self, name: str, *, within: float | None = None) -> None:
        """Remove the object, if it is there."""
        check_name(name)

        async def attempt() -> None:
            self.requests.deletes += 1
            await self._backend.delete(name)

        await self._persist(attempt, 0, within)

    async def create(self, *, within: float | None = None) -> None:
        """Make the place itself, if it is not there."""
        await self._persist(self._backend.create, 0, within)

    def urgent(self) -> AbstractContextManager[None]:
        """While the block runs, somebody waits for uploads: they give way to nobody."""
        return nullcontext() if self.brake is None else self.brake.urgent()

    async def progress(self) -> Progress:
        """What is being transferred."""
        return await self._backend.progress()

    async def room(self, *, within: float | None = None) -> Room | None:
        """How much room there is; None where the store cannot tell."""
        return await self._persist(self._backend.room, 0, within)

    def facts(self) -> dict[str, str]:
        """What `doctor` shows of the machinery behind the remote."""
        return self._backend.facts()

    async def limit_bandwidth(self, rate: int | None) -> None:
        """At most `rate` bytes a second each way from now on; None: no limit."""
        if rate is not None and rate <= 0:
            raise UsageError(detail="a bandwidth limit is a number of bytes a second, above 0")
        await self._backend.limit_bandwidth(rate)

    async def _persist(self, attempt: Callable[[], Awaitable[Result]], size: int, within: float | None) -> Result:
        limits = self.limits
        carrying = size / limits.slowest
        deadline = trio.current_time() + (limits.call + carrying if within is None else within)
        pause = limits.first_pause
        reason = ""
        while True:
            until = min(deadline, trio.current_time() + limits.attempt + carrying)
            try:
                result = await self._attempt(attempt, until, reason)
            except RemoteUnavailableError as error:
                self.trouble = error
                reason = str(error.fields["detail"])
                # Full jitter over the upper half: machines that lost the network together do not come back together.
                wait = pause * (0.5 + self._jitter.random() / 2)
                if trio.current_time() + wait >= deadline:
                    raise
            except RemoteObjectMissingError:
                self.trouble = None  # the store works, and has answered
                raise
            except RemoteError as error:
                self.trouble = error
                raise
            else:
                self.trouble = None
                return result
            await trio.sleep(wait)
            pause = min(pause * 2, limits.longest_pause)

    async def _attempt(self, attempt: Callable[[], Awaitable[Result]], until: float, before: str) -> Result:
        started = trio.current_time()
        with trio.move_on_at(until):
            return await attempt()
        detail = f"no answer within {trio.current_time() - started:.3g} seconds"
        if before and not before.startswith("no answer"):
            detail += f"; before that: {before}"
        raise RemoteUnavailableError(remote=self.label, detail=detail)


def _size(data: bytes | Path) -> int:
    return data.stat().st_size if isinstance(data, Path) else len(data)
