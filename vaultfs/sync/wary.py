"""Reading from a remote that is believed nothing: every answer is checked, a wrong one counted and never used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from vaultfs.errors import RemoteDamagedError, RemoteUnavailableError, VaultfsError
from vaultfs.format.index import IndexDamagedError
from vaultfs.format.pack import PackDamagedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from vaultfs.remote import Remote

Result = TypeVar("Result")

_THREAD_BYTES = 256 << 10  # checking more than this would keep the loop too long
_AT_ONCE = 8


def _silent(_name: str, _detail: str) -> None:
    """Nobody asked to be told."""


class Wary:
    """The remote, with a check for every get. `alarm` is told object and reason of every wrong answer."""

    def __init__(self, remote: Remote, alarm: Callable[[str, str], None] = _silent) -> None:
        self.remote = remote
        self.alarm = alarm
        self.alarms = 0
        self.limiter = trio.CapacityLimiter(_AT_ONCE)

    async def get(
        self, name: str, offset: int, length: int, check: Callable[[bytes], Result], *, within: float | None = None
    ) -> Result:
        """What `check` makes of the range. `check` raises `PackDamagedError` or `IndexDamagedError`.

        A wrong answer may come from something between here and the store, so it is asked for once more, in another
        way. Raises `RemoteDamagedError` when that is wrong, too, and what the remote raises.
        """
        try:
            return await self._get(name, offset, length, 0, check, within)
        except (PackDamagedError, IndexDamagedError) as error:
            self._wrong(name, error)
        try:
            return await self._get(name, offset, length, 1, check, within)
        except (PackDamagedError, IndexDamagedError) as error:
            detail = self._wrong(name, error)
        raise RemoteDamagedError(remote=self.remote.label, object=name, detail=detail)

    async def _get(
        self, name: str, offset: int, length: int, more: int, check: Callable[[bytes], Result], within: float | None
    ) -> Result:
        before = min(more, offset)  # another range than before: what keeps answers by range does not have this one
        async with self.limiter:
            data = await self.remote.get(name, offset - before, length + before + more, within=within)
        data = data[before : before + length]
        return await trio.to_thread.run_sync(check, data) if length > _THREAD_BYTES else check(data)

    def _wrong(self, name: str, error: Exception) -> str:
        self.alarms += 1
        detail = str(error) or "not what was sealed"
        self.alarm(name, detail)
        return detail


class _Running(Generic[Result]):
    def __init__(self) -> None:
        self.event = trio.Event()
        self.result: list[Result] = []
        self.error: Exception | None = None


class Once(Generic[Result]):
    """Lets those who want the same thing at the same time share the work."""

    def __init__(self) -> None:
        self._running: dict[object, _Running[Result]] = {}

    async def do(self, key: object, work: Callable[[], Awaitable[Result]]) -> Result:
        """The result of `work`, of whoever was first. Where the first one was cancelled, the next does it."""
        while (other := self._running.get(key)) is not None:
            await other.event.wait()
            if other.result:
                return other.result[0]
            if other.error is not None:
                raise other.error
        running: _Running[Result] = _Running()
        self._running[key] = running
        try:
            running.result.append(await work())
        except Exception as error:
            running.error = error
            raise
        finally:
            del self._running[key]
            running.event.set()
        return running.result[0]


async def together(works: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Do all of them at once. The first error that came is raised when all have ended."""
    errors: list[Exception] = []

    async def one(work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except (VaultfsError, OSError) as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for work in works:
            nursery.start_soon(one, work)
    if errors:
        raise errors[0]


async def within(limit: float, remote: Remote, work: Callable[[], Awaitable[Result]]) -> Result:
    """The result of `work`. Raises `RemoteUnavailableError` after `limit` seconds, saying why if that is known."""
    with trio.move_on_after(limit):
        return await work()
    detail = f"no answer within {limit:g} seconds"
    if remote.trouble is not None:
        detail += f"; {remote.trouble.fields.get('detail', 'the remote refused')}"
    raise RemoteUnavailableError(remote=remote.label, detail=detail)
