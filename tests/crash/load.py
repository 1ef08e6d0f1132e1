"""The mixed load: `python -m tests.crash.load DIRECTORY LOGS SEED [WORKER...]`, one process per worker.

It ends by itself when the file system goes away; what each worker was promised stands in LOGS/<worker>.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.crash.claims import Crash, Log, Worker, events
from tests.crash.databases import DeleteDatabase, LazyDatabase, WalDatabase, leave_no_core
from tests.crash.workers import Appender, Builder, Closer, Holder, Mapper, Overwriter, Saver
from tests.support.driver import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable

WORKERS: dict[str, type[Worker]] = {
    kind.name: kind
    for kind in (
        Saver,
        Overwriter,
        Mapper,
        Appender,
        Closer,
        Holder,
        Builder,
        WalDatabase,
        DeleteDatabase,
        LazyDatabase,
    )
}
# Write-back: the kernel takes writes to an open file into its page cache though nobody is left to give them to (and
# on 6.18 not even sync_file_range says so); fsync, close and every other call tell. These two make none of them.
GO_ON = (LazyDatabase.name, Holder.name)


class Load:
    """A running load on one directory, and the verdict on it afterwards."""

    def __init__(self, directory: Path, logs: Path, seed: int, workers: Iterable[str] = WORKERS) -> None:
        self.directory = directory
        self.logs = logs
        self.seed = seed
        self.names = list(workers)
        logs.mkdir(parents=True)
        self.crash: Crash | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until every worker has something to lose."""
        arguments = [str(self.directory), str(self.logs), str(self.seed), *self.names]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.load", *arguments], cwd=REPOSITORY, start_new_session=True
        )

    def wait_for_acknowledgements(self, seconds: float = 20) -> None:
        """Until each worker has logged something, so that every round tests every promise."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if all(len(events(self.logs / name)) > 1 for name in self.names):
                return
            time.sleep(0.005)
        raise AssertionError(f"some workers did nothing in {seconds} s: see {self.logs}")

    def crashed(self, *, at: float, power: bool = False, seconds: float = 20) -> list[str]:
        """The file system is gone: every worker must learn of it. What went wrong before, and who still hangs.

        Those that may go on are ended here, and so it is seen that they can be: nothing waits for ever.
        """
        self.crash = Crash(at, power)
        assert self._process is not None
        wrong = []
        deadline = time.monotonic() + seconds
        while (running := self.running()) and time.monotonic() < deadline:
            time.sleep(0.02)
        wrong += [f"{name}: still running {seconds} s after the crash" for name in running]
        for name in self.names:
            last = events(self.logs / name)[-1]
            if last["event"] == "error" and last["t"] < at:
                wrong.append(f"{name}: {last['text']} {at - last['t']:.2f} s before the crash")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            wrong.append("the load cannot be killed: it waits for a dead file system")
        return wrong

    def running(self) -> list[str]:
        """Workers that have not ended, but for the one that may go on."""
        found = []
        for name in self.names:
            log = events(self.logs / name)
            # a zombie has no exe; one that SIGBUS ended (a mapping of a dead mount) left no last word
            alive = log[-1]["event"] != "error" and Path(f"/proc/{log[0]['pid']}/exe").exists()
            if alive and name not in GO_ON:
                found.append(name)
        return found

    def stop(self, *, at: float) -> list[str]:
        """End a load that still runs; its promises hold up to its last word."""
        self.crash = Crash(at)
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(90)
        except subprocess.TimeoutExpired:
            return ["the load cannot be killed: it waits for the file system"]
        return []

    def verify(self) -> list[str]:
        """Every broken promise, one line each."""
        assert self.crash is not None
        wrong = []
        for name in self.names:
            log = [e for e in events(self.logs / name) if e["event"] not in ("start", "error")]
            worker = WORKERS[name](self.directory / name, self.seed)
            try:
                wrong += [f"{name}/{line}" for line in worker.verify(log, self.crash)]
            except OSError as error:
                wrong.append(f"{name}/{error}")
        return wrong

    def acknowledged(self) -> int:
        """How many promises were made."""
        kinds = ("synced", "closed", "made", "moved", "removed", "committed", "handed")
        return sum(e["event"] in kinds for name in self.names for e in events(self.logs / name))


def work(worker: Worker, log: Log) -> None:
    """Run one worker until the file system fails it."""
    log.say("start", pid=os.getpid())
    try:
        worker.directory.mkdir()
        worker.run(log)
    except (OSError, sqlite3.Error) as error:
        log.say("error", text=f"{type(error).__name__}: {error}")


def main(directory: str, logs: str, seed: str, *names: str) -> None:
    """Fork one process per worker and wait for them."""
    leave_no_core()
    children = []
    for name in names:
        pid = os.fork()
        if pid == 0:
            try:
                work(WORKERS[name](Path(directory) / name, int(seed)), Log(Path(logs) / name))
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
