"""Runs in which no time passes but what is slept: a month of machines in a tenth of a second, and always the same.

The clock is trio's `MockClock`, which jumps to the next moment at which somebody wants to go on; vaultfs's own clocks
(vaultfs.clock) show the same. What goes to a thread is done while the loop waits for it, so the clock never jumps
meanwhile, and a hop costs a tenth of what trio's takes. Ids are drawn from the seed.
"""

from __future__ import annotations

import random
import secrets
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import trio
from trio.testing import MockClock

from vaultfs import clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

BEGUN = 1_800_000_000_000_000_000  # ns since 1970
_asked_from = threading.local()


class _Worker:
    """A thread that works only while the loop stands still. It may ask the loop for something in between."""

    def __init__(self) -> None:
        self._work: Callable[[], Any] = lambda: None
        self._go, self._back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self._question: Callable[[], Any] | None = None
        self._answer: Callable[[], Any] = lambda: None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        _asked_from.worker = self
        while True:
            self._go.acquire()
            try:
                value = self._work()
            except StopIteration:
                return
            except BaseException as error:  # noqa: BLE001 - it is raised where the work was given
                self._answer = partial(_throw, error)
            else:
                self._answer = lambda value=value: value  # type: ignore[misc]
            self._question = None
            self._back.release()

    def ask(self, question: Callable[[], Any]) -> Any:
        """In the thread: what the loop makes of the question."""
        self._question = question
        self._back.release()
        self._go.acquire()
        return self._answer()

    async def run(self, work: Callable[[], Any]) -> Any:
        """In the loop: what the work gives."""
        self._work = work
        while True:
            self._go.release()
            self._back.acquire()
            question = self._question
            if question is None:
                return self._answer()
            try:
                value = await question()
            except BaseException as error:  # noqa: BLE001 - it is raised in the thread
                self._answer = partial(_throw, error)
            else:
                self._answer = lambda value=value: value  # type: ignore[misc]

    def end(self) -> None:
        """The thread ends."""
        self._work = partial(_throw, StopIteration())
        self._go.release()
        self._thread.join()


def _throw(error: BaseException) -> None:
    raise error


class _Threads:
    """Stands for `trio.to_thread` and `trio.from_thread`."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []

    async def to(self, function: Callable[..., Any], *args: Any, **_options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        worker = self._idle.pop() if self._idle else _Worker()
        try:
            return await worker.run(partial(function, *args))
        finally:
            self._idle.append(worker)

    @staticmethod
    def from_async(function: Callable[..., Awaitable[Any]], *args: Any, **_options: Any) -> Any:
        return _asked_from.worker.ask(partial(function, *args))

    @staticmethod
    def from_sync(function: Callable[..., Any], *args: Any, **_options: Any) -> Any:
        async def call() -> Any:
            return function(*args)

        return _asked_from.worker.ask(call)

    def end(self) -> None:
        for worker in self._idle:
            worker.end()


@contextmanager
def _instead(mock: MockClock, seed: int) -> Iterator[None]:
    def now() -> int:
        return BEGUN + int(mock.current_time() * 1e9)

    threads, ids = _Threads(), random.Random(seed)
    trio_random = trio._core._run._r  # type: ignore[attr-defined]
    before = trio_random.getstate()
    trio_random.seed(seed)
    try:
        with (
            patch.multiple(clock, now=now, tick=now, steady=now, since_boot=now),
            patch.object(trio.to_thread, "run_sync", threads.to),
            patch.multiple(trio.from_thread, run=threads.from_async, run_sync=threads.from_sync),
            patch.multiple(secrets, token_bytes=ids.randbytes, randbelow=ids.randrange),
        ):
            yield
    finally:
        trio_random.setstate(before)
        threads.end()


def run_virtually(function: Callable[..., Awaitable[Any]], *args: Any, seed: int) -> Any:
    """`trio.run`, in a time of its own."""
    mock = MockClock(autojump_threshold=0)
    with _instead(mock, seed), patch.object(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True):
        return trio.run(partial(function, *args), clock=mock)
