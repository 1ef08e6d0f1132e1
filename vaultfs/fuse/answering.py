"""From a plain call to an answer: what a request handler raises becomes the errno the caller gets."""

from __future__ import annotations

import errno
import functools
import logging
import os
import traceback
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import trio
from pyfuse3 import FUSEError, RequestContext

from vaultfs.errors import VaultfsError
from vaultfs.fuse.exhibits import NotShownError
from vaultfs.tree.incoming import NotHereError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

FETCH_SECONDS = 60.0
_VAIN_ROUNDS = 3
_LOOK_SECONDS = 0.5
_SIGKILL_BIT = 1 << 8


class Fetching(Protocol):
    """What a class of handlers has, for those that may need what is not on this machine."""

    @property
    def fetched(self) -> Fetched:
        """How it is brought here."""


S = TypeVar("S", bound=Fetching)


class Fetched:
    """Brings what a request lacks and asks again, for `seconds` in all; then the request fails with EIO.

    `fetch` is called in the request's own task and may be called for one thing by many at once.
    """

    __slots__ = ("_fetch", "_seconds", "waiting")

    def __init__(self, fetch: Callable[[NotHereError], Awaitable[None]] | None, seconds: float = FETCH_SECONDS) -> None:
        self._fetch = _nowhere if fetch is None else fetch
        self._seconds = seconds
        self.waiting = 0  # requests, for `status`

    async def again(self, lack: NotHereError, call: Callable[[], T], request: str, caller: int = 0) -> T:
        """The answer of `call`, which just raised `lack`; raises FUSEError.

        `caller`: the thread that waits for it, if that is known. When it is killed, nobody waits any more.
        """
        answer: list[T] = []
        ended = errno.EIO
        self.waiting += 1
        try:
            with trio.move_on_after(self._seconds):
                async with trio.open_nursery() as nursery:
                    if caller:
                        nursery.start_soon(_until_killed, caller, nursery.cancel_scope)
                    answer.append(await self._rounds(lack, call, request))
                    nursery.cancel_scope.cancel()
                if not answer:
                    ended = errno.EINTR
        except BaseExceptionGroup as group:
            if (error := _only_error(group)) is None:
                raise  # cancelled: the mount is going
            raise as_errno(error, request) from None
        finally:
            self.waiting -= 1
        if answer:
            return answer[0]
        if ended == errno.EIO:
            _log.warning("%s failed: what it needs did not come within %.0f s", request, self._seconds)
        raise FUSEError(ended)

    async def _rounds(self, lack: NotHereError, call: Callable[[], T], request: str) -> T:
        """Fetches until the call has what it needs."""
        vain = 0
        while True:
            try:
                await (lack.bring() if isinstance(lack, NotShownError) else self._fetch(lack))
            except VaultfsError as error:
                # Told in `status` by who fetches.
                _log.warning("%s failed: %s", request, type(error).__name__)
                raise FUSEError(errno.EIO) from None
            try:
                return call()
            except NotHereError as more:
                # A cache that is full may have dropped it again; but not time after time.
                vain = vain + 1 if _same(lack, more) else 0
                if vain == _VAIN_ROUNDS:
                    _log.error("%s failed: what was fetched is not here", request)
                    raise FUSEError(errno.EIO) from None
                lack = more
            await trio.lowlevel.checkpoint()


async def _until_killed(thread: int, scope: trio.CancelScope) -> None:
    """Cancels when the thread has been killed: the kernel cannot end it before we answer, nor does pyfuse3 tell us."""
    while not is_killed(thread):  # noqa: ASYNC110  nothing tells us
        await trio.sleep(_LOOK_SECONDS)
    scope.cancel()


def is_killed(thread: int) -> bool:
    """Whether the thread is about to end by SIGKILL, or by another signal that ends its process."""
    try:
        with open(f"/proc/{thread}/status", "rb") as file:  # noqa: PTH123
            pending = next((line for line in file if line.startswith(b"SigPnd:")), b"SigPnd: 0")
    except OSError:
        return False  # not to be seen from here
    return bool(int(pending.split()[1], 16) & _SIGKILL_BIT)


def _only_error(group: BaseExceptionGroup[BaseException]) -> Exception | None:
    """The error in a group of one, as it comes from a nursery; None if there is anything else in it."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        if len(found.exceptions) > 1:
            return None
        found = found.exceptions[0]
    return found if isinstance(found, Exception) else None


async def _nowhere(_: NotHereError) -> None:
    """For a vault without a remote."""
    raise refusal(errno.EIO)


def _same(one: NotHereError, other: NotHereError) -> bool:
    if isinstance(one, NotShownError) or isinstance(other, NotShownError):
        return getattr(one, "what", None) == getattr(other, "what", None)
    return (one.directory, one.content, one.blocks) == (other.directory, other.content, other.blocks)


def answered(
    handler: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make a plain method the coroutine that pyfuse3 wants: an OSError becomes its errno, anything else EIO.

    What raises NotHereError is called again when the missing is here. Only then does a request wait.
    """

    async def request(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return handler(self, *args, **kwargs)
        except NotHereError as error:
            lack = error
        except Exception as error:  # noqa: BLE001  one bad request must not end the mount
            raise as_errno(error, handler.__name__) from None
        caller = next((each.pid for each in args if isinstance(each, RequestContext)), 0)
        again = functools.partial(handler, self, *args, **kwargs)
        return await self.fetched.again(lack, again, handler.__name__, caller)

    functools.update_wrapper(request, handler)
    return request


def as_errno(error: Exception, request: str) -> FUSEError:
    """What to raise instead of `error`; a bug of ours is logged."""
    if isinstance(error, FUSEError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        return FUSEError(error.errno)
    # Where it happened and what kind, but not the message: that may hold a name.
    place = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s failed: %s\n%s", request, type(error).__name__, place)
    return FUSEError(errno.EIO)


def refusal(number: int) -> OSError:
    """An error of ours."""
    return OSError(number, os.strerror(number))
