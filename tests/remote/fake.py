"""A store in front of any other that behaves as badly as stores do, all of it by the trio clock.

Everything is off until it is set; what is random comes from the seed. Use with `trio.testing.MockClock` and a
backend that waits for nothing outside (`MemoryBackend`): then an hour of trouble takes no time.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from tests.remote.memory import content_of
from vaultfs.errors import (
    RemoteError,
    RemoteFullError,
    RemotePermissionError,
    RemoteSignInError,
    RemoteUnavailableError,
)
from vaultfs.remote import Backend, Entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass
class Faults:
    """What is wrong at the moment; change it at any time."""

    latency: float = 0.0  #: seconds before each request does anything
    bandwidth: float | None = None  #: bytes a second of puts and gets
    hangs: bool = False  #: no request ever ends
    failing: float = 0.0  #: share of requests that fail as unavailable before they take effect
    failing_after: float = 0.0  #: share of requests that take effect and then fail: the answer is lost
    torn_puts: float = 0.0  #: share of puts that fail and leave the first half under the name
    list_lag: float = 0.0  #: seconds until a put or delete shows in listings
    duplicates: float = 0.0  #: share of entries that are listed twice
    truncated_gets: float = 0.0  #: share of gets that bring only the first half
    flipped_gets: float = 0.0  #: share of gets with one bit wrong
    frozen: bool = False  #: reads and listings show the store as it was when this was set (see `freeze`)
    hidden: Callable[[str], bool] = field(default=lambda _: False)  #: names that are withheld from everybody
    capacity: int | None = None  #: bytes the store takes
    allowed: frozenset[str] = frozenset({"put", "get", "list", "delete", "create"})
    signed_in: bool = True
    reachable: bool = True
    crash_before: Callable[[str, str], bool] = field(default=lambda _operation, _name: False)  #: raises Crash
    crash_after: Callable[[str, str], bool] = field(default=lambda _operation, _name: False)


class Crash(BaseException):
    """The machine that made the request died at this moment: no handler for errors sees it."""


class FakeBackend(Backend):
    """`inner`, seen through `faults`."""

    def __init__(self, inner: Backend, *, seed: int = 0) -> None:
        self.label = inner.label
        self.inner = inner
        self.faults = Faults()
        self.log: list[tuple[float, str, str]] = []  #: time, operation, name
        self._random = random.Random(seed)
        self._sizes: dict[str, int] = {}
        self._changed: dict[str, float] = {}  # when each name was put or deleted
        self._before: dict[str, Entry | None] = {}  # what listings show of it until the lag is over
        self._frozen: dict[str, bytes] = {}

    async def freeze(self) -> None:
        """From now on readers see the store as it is now, whatever is written; `faults.frozen = False` ends it."""
        self._frozen = {name: await self.inner.get(name, 0, None) for name, _ in await self.inner.list("")}
        self.faults.frozen = True

    async def put(self, name: str, data: bytes | Path) -> None:
        content = content_of(data)
        await self._begin("put", name)
        faults = self.faults
        others = sum(size for other, size in self._sizes.items() if other != name)
        if faults.capacity is not None and others + len(content) > faults.capacity:
            raise RemoteFullError(remote=self.label, detail="no space left")
        if self._happens(faults.torn_puts):
            await self._carry(len(content) // 2)
            await self._change("put", name, content[: len(content) // 2])
            raise self._unavailable("the connection broke in mid-upload")
        await self._carry(len(content))
        await self._change("put", name, content)
        self._end("put", name)

    async def get(self, name: str, offset: int, length: int | None) -> bytes:
        await self._begin("get", name)
        if self.faults.frozen and name in self._frozen:
            data = self._frozen[name][offset : None if length is None else offset + length]
        else:
            unseen = self.faults.hidden(name) or self.faults.frozen
            data = await self.inner.get("nothing" if unseen else name, offset, length)
        await self._carry(len(data))
        if data and self._happens(self.faults.truncated_gets):
            data = data[: len(data) // 2]
        if data and self._happens(self.faults.flipped_gets):
            at = self._random.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :]
        self._end("get", name)
        return data

    async def list(self, prefix: str) -> list[Entry]:
        await self._begin("list", prefix)
        below = f"{prefix}/" if prefix else ""
        if self.faults.frozen:
            seen = {name: Entry(name, len(data)) for name, data in self._frozen.items() if name.startswith(below)}
        else:
            seen = {entry.name: entry for entry in await self.inner.list(prefix)}
            for name, changed in self._changed.items():
                if name.startswith(below) and trio.current_time() < changed + self.faults.list_lag:
                    seen.pop(name, None)
                    earlier = self._before[name]
                    seen |= {name: earlier} if earlier else {}
        entries = [entry for entry in seen.values() if not self.faults.hidden(entry.name)]
        entries += [entry for entry in entries if self._happens(self.faults.duplicates)]
        self._random.shuffle(entries)
        self._end("list", prefix)
        return entries

    async def delete(self, name: str) -> None:
        await self._begin("delete", name)
        await self._change("delete", name, b"")
        self._end("delete", name)

    async def create(self) -> None:
        await self._begin("create", "")
        await self.inner.create()

    async def _begin(self, operation: str, name: str) -> None:
        self.log.append((trio.current_time(), operation, name))
        faults = self.faults
        if faults.crash_before(operation, name):
            raise Crash
        await trio.sleep(math.inf if faults.hangs else faults.latency)
        if not faults.reachable:
            raise self._unavailable("no route to host")
        if not faults.signed_in:
            raise RemoteSignInError(remote=self.label, detail="the token has expired")
        if operation not in faults.allowed:
            raise RemotePermissionError(remote=self.label, detail=f"{operation} is not allowed")
        if self._happens(faults.failing):
            raise self._unavailable("the server is busy")

    def _end(self, operation: str, name: str) -> None:
        if self.faults.crash_after(operation, name):
            raise Crash
        if self._happens(self.faults.failing_after):
            raise self._unavailable("the connection broke before the answer")

    async def _change(self, operation: str, name: str, content: bytes) -> None:
        size = self._sizes.get(name)
        self._before[name] = None if size is None else Entry(name, size)
        self._changed[name] = trio.current_time()
        if operation == "put":
            await self.inner.put(name, content)
            self._sizes[name] = len(content)
        else:
            await self.inner.delete(name)
            self._sizes.pop(name, None)

    async def _carry(self, size: int) -> None:
        if self.faults.bandwidth:
            await trio.sleep(size / self.faults.bandwidth)

    def _happens(self, share: float) -> bool:
        return share > 0 and self._random.random() < share

    def _unavailable(self, detail: str) -> RemoteError:
        return RemoteUnavailableError(remote=self.label, detail=detail)
