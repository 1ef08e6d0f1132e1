"""Turn the rest of a command into a daemon, and hear from it over a pipe until it is ready.

Keys reach the daemon because it is a fork of the process that unlocked them: they are never in its
arguments, its environment or a file. Forking must come before any thread and any trio run.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import select
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import msgspec

from vaultfs import errors
from vaultfs.errors import VaultfsError

if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_DUMPABLE = 4
UMASK = 0o077
MAX_REPORT = 1 << 20
TICK = 0.1  # seconds between two looks at the clock

log = logging.getLogger(__name__)


class Report(msgspec.Struct, omit_defaults=True):
    """A line from the daemon: `pid` first, then `facts` (it is ready), or an error's class and fields."""

    pid: int = 0
    facts: dict[str, object] | None = None
    error: str = ""
    fields: dict[str, str] | None = None


class Daemon(Protocol):
    """The work of the daemon: calls `ready` with facts once it serves, returns its exit code at the end.

    `ready` raises BrokenPipeError if the command was ended meanwhile: then nobody wants the daemon.
    """

    def __call__(self, ready: Callable[[dict[str, object]], None], /) -> int:
        """Do it."""
        ...


class NotReadyError(Exception):
    """The daemon ended, or time did, before it was ready. `pid` is 0 when it is gone."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.pid = pid


def harden() -> None:
    """No core dump and no debugger of the same user: memory holds keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def detach(
    work: Daemon, *, prepare: Callable[[], None], timeout: float, waiting: Callable[[float], None]
) -> dict[str, object]:
    """Run `work` in a daemon and return the facts it reports.

    `prepare` is called in the daemon first (it takes over stdout and stderr). Errors of `work` are raised
    here as they were there; NotReadyError if it says nothing. `waiting(seconds)` is called while waiting.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _become_daemon(work, prepare, read_end, write_end)
    os.close(write_end)
    os.waitpid(child, 0)
    try:
        return _listen(read_end, timeout, waiting)
    finally:
        os.close(read_end)


def _become_daemon(work: Daemon, prepare: Callable[[], None], read_end: int, write_end: int) -> None:
    """Never returns: what stands above on the stack belongs to the command that forked."""
    code = 1
    try:
        os.close(read_end)
        os.setsid()
        if os.fork() > 0:  # not a session leader any more, so no terminal can ever be its own
            os._exit(0)
        code = _serve(work, prepare, write_end)
    except BaseException:
        log.exception("the daemon ended unexpectedly")
    finally:
        logging.shutdown()
        os._exit(code)


def _serve(work: Daemon, prepare: Callable[[], None], write_end: int) -> int:
    pipe = os.fdopen(write_end, "wb", buffering=0)

    def tell(report: Report) -> None:
        if not pipe.closed:  # the number may be another file's by now
            pipe.write(msgspec.json.encode(report) + b"\n")

    def ready(facts: dict[str, object]) -> None:
        with pipe:
            tell(Report(facts=facts))

    tell(Report(pid=os.getpid()))
    os.chdir("/")
    os.umask(UMASK)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        harden()
        prepare()
        return work(ready)
    except VaultfsError as error:
        log.error("%s: %s", type(error).__name__, error.exit_code)  # noqa: TRY400 - expected: no trace
        fields = {key: str(value) for key, value in error.fields.items()}
        with suppress(BrokenPipeError):
            tell(Report(error=type(error).__name__, fields=fields))
        return error.exit_code


def _listen(read_end: int, timeout: float, waiting: Callable[[float], None]) -> dict[str, object]:
    started = time.monotonic()
    text = b""
    pid = 0
    try:
        while (passed := time.monotonic() - started) < timeout:
            if not select.select([read_end], [], [], TICK)[0]:
                waiting(passed)
                continue
            data = os.read(read_end, MAX_REPORT)
            if not data:
                raise NotReadyError(0)
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                report = msgspec.json.decode(line, type=Report)
                pid = report.pid or pid
                if report.error:
                    raise _error(report)
                if report.facts is not None:
                    # It is done; a Ctrl-C that comes now is too late.
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                    return report.facts
    except KeyboardInterrupt:
        if pid:
            os.kill(pid, signal.SIGTERM)
        raise
    raise NotReadyError(pid)


def _error(report: Report) -> VaultfsError:
    kind = getattr(errors, report.error, VaultfsError)
    fields: dict[str, object] = dict(report.fields or {})
    return kind(**fields) if isinstance(kind, type) and issubclass(kind, VaultfsError) else VaultfsError(**fields)
