"""Threads beside the loop: one for the disk, one for what goes through our own mount."""

from __future__ import annotations

import logging
import os
import queue
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import trio

from vaultfs.fuse import kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)

_FIRST_OWN_DESCRIPTOR = 3
_LAST_DESCRIPTOR = 1 << 20


class OwnThreads:
    """The threads that go through our own mount for a checkout or a commit: their requests are not a program's.

    The kernel gives each request the native id of the thread that made it.
    """

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: set[int] = set()

    def __contains__(self, native_id: int) -> bool:
        return native_id in self._ids

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is one of them meanwhile."""
        native_id = threading.get_native_id()
        self._ids.add(native_id)
        try:
            yield
        finally:
            self._ids.discard(native_id)


class _Job:
    """A call, the task that waits for it, and what it raised."""

    __slots__ = ("error", "function", "task", "token")

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function
        self.task = trio.lowlevel.current_task()
        self.token = trio.lowlevel.current_trio_token()
        self.error: BaseException | None = None

    def __call__(self) -> None:
        try:
            self.function()
        except BaseException as error:  # noqa: BLE001  it belongs to the task that waits
            self.error = error
        with suppress(trio.RunFinishedError):
            self.token.run_sync_soon(trio.lowlevel.reschedule, self.task)


class DiskThread:
    """Runs one call after the other. Starts with the first, ends with `close`.

    Cheaper to reach than trio's pool: measured here, there and back in 30-60 µs, `trio.to_thread.run_sync` 60-330.
    """

    __slots__ = ("_closed", "_jobs", "_thread")

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, function: Callable[[], None]) -> None:
        """Call it over there and wait for it, whatever is cancelled meanwhile; raises what it raises."""
        job = _Job(function)
        self._put(job)
        await trio.lowlevel.wait_task_rescheduled(_never)
        if job.error is not None:
            raise job.error

    def begin(self, function: Callable[[], None]) -> None:
        """Have it called over there when its turn comes, unless all is over; it must not raise anything."""
        if not self._closed:
            self._put(function)

    def _put(self, function: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="vaultfs-disk", daemon=True)
            self._thread.start()
        self._jobs.put(function)

    def _loop(self) -> None:
        while (call := self._jobs.get()) is not None:
            call()
            del call  # it may be the last to hold a file open that has been removed

    def close(self) -> None:
        """Let what is under way finish."""
        self._closed = True
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None


def _never(_: object) -> trio.lowlevel.Abort:
    """A wait for the disk that has begun goes on to its end."""
    return trio.lowlevel.Abort.FAILED


async def through_mount(function: Callable[[], None]) -> None:
    """Call something that goes through our own mount: unmount, sync, a first question; raises what it raises.

    Such a call may wait for us in a way that no signal ends. Were we killed then, a thread that shares our
    descriptors would keep `/dev/fuse` open; the kernel would wait for an answer for ever, and with it everybody in
    the mount. So it is done in a thread that has none of them. Left alone when cancelled.
    """
    reading, writing = os.pipe()
    errors: list[BaseException] = []
    apart: list[bool] = []

    def body() -> None:
        # trio's own way to wake the loop is among the descriptors that this thread gives up; the pipe is not.
        apart.append(_leave_descriptors(writing))
        os.write(writing, b"1")
        try:
            function()
        except BaseException as error:  # noqa: BLE001  it belongs to the task that waits
            errors.append(error)
        with suppress(OSError):
            os.write(writing, b"2")  # nobody reads it any more when the wait was cancelled

    threading.Thread(target=body, name="vaultfs-mount", daemon=True).start()
    finished = False
    try:
        with trio.CancelScope(shield=True):
            await trio.lowlevel.wait_readable(reading)
            os.read(reading, 1)
        await trio.lowlevel.wait_readable(reading)
        finished = True
    finally:
        if finished or apart[0]:
            # Else the thread will still write there, and must not meet another file under that number.
            os.close(reading)
            os.close(writing)
    if errors:
        raise errors[0]


def _leave_descriptors(kept: int) -> bool:
    """Give this thread a table of descriptors of its own with the standard three and `kept`; False: not allowed."""
    try:
        kernel.unshare_descriptors()
    except OSError as error:
        _log.warning("cannot leave the table of descriptors: %s", error.strerror)
        return False
    os.closerange(_FIRST_OWN_DESCRIPTOR, kept)
    os.closerange(kept + 1, _LAST_DESCRIPTOR)
    return True
