"""Do something in a process of its own and take its result: for what starts threads, before a daemon is forked."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from vaultfs.daemon.asking import Told, encode_error, error_of
from vaultfs.errors import VaultfsError

if TYPE_CHECKING:
    from collections.abc import Callable

TICK = 0.1  # seconds between two looks at the clock
_GOOD, _BAD = b"+", b"-"
_PIECE = 1 << 16


def aside(work: Callable[[], bytes], waiting: Callable[[float], None]) -> bytes:
    """What `work` gives, done in a child process. Its `VaultfsError` is raised here.

    `waiting(seconds)` is called while it takes its time.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _child(work, write_end)
    os.close(write_end)
    try:
        answer = _listen(read_end, waiting)
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
        raise
    finally:
        os.waitpid(child, 0)
    if answer.startswith(_GOOD):
        return answer[1:]
    if answer.startswith(_BAD):
        raise error_of(msgspec.json.decode(answer[1:], type=Told))
    raise VaultfsError(detail="a helper process ended unexpectedly")


def _listen(read_end: int, waiting: Callable[[float], None]) -> bytes:
    started, answer = time.monotonic(), b""
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        while True:
            if not select.select([pipe], [], [], TICK)[0]:
                waiting(time.monotonic() - started)
                continue
            piece = pipe.read(_PIECE)
            if not piece:
                return answer
            answer += piece


def _child(work: Callable[[], bytes], write_end: int) -> None:
    """Never returns: what stands above on the stack belongs to the parent."""
    code = 1
    try:
        try:
            answer = _GOOD + work()
        except VaultfsError as error:
            answer = _BAD + encode_error(error)
        except Exception as error:  # noqa: BLE001 - the parent tells it, nobody else can
            detail = f"an unexpected {type(error).__name__}; this is a fault of the program"
            answer = _BAD + encode_error(VaultfsError(detail=detail))
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(answer)
        code = 0
    finally:  # a Ctrl-C reaches the parent, too, and that says so
        os._exit(code)
