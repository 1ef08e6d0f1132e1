"""One `rclone rcd`: started, watched, started again when it dies, and gone when we are."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from vaultfs.errors import RemoteUnavailableError
from vaultfs.remote import with_parent
from vaultfs.remote.brake import Brake
from vaultfs.remote.faults import in_one_line
from vaultfs.remote.http import Connections, HttpError
from vaultfs.remote.rc import RcloneFault, RemoteControl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SOCKET = "rc.sock"
START_SECONDS = 30.0
END_SECONDS = 2.0
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 30.0
#: A run that lasted this long was a good one: the next failure begins again with the shortest pause.
GOOD_RUN_SECONDS = 60.0
READY_POLL_SECONDS = 0.01
HEARTBEAT_SECONDS = 20.0
LAST_WORDS_SECONDS = 0.5
KEPT_LINES = 20

# No secret stands here, everybody on the machine can read a command line: those are in rclone's own configuration,
# in the environment, or in the calls over the socket.
OPTIONS = [
    *("--rc-addr", f"unix://{SOCKET}"),  # relative to its working directory: a socket's address must be short
    "--rc-no-auth",  # the directory is ours alone, and so is the socket
    "--rc-serve",
    *("--rc-max-header-bytes", "65536"),
    "--no-check-dest",  # names are written once: no need to ask whether one is there
    "--use-server-modtime",  # else S3 costs a request for each object listed
    "--s3-no-head",  # the answer to a put, with its MD5 checked, is enough
    "--sftp-set-modtime=false",
    "--sftp-disable-hashcheck",  # else a process on the server for each object
    *("--low-level-retries", "3"),  # retries are `Remote`'s, which knows the deadline
    *("--contimeout", "15s", "--timeout", "60s"),
    *("--fs-cache-expire-duration", "24h"),  # making a remote anew costs a sign-in
    *("--max-stats-groups", "50"),
    "--ask-password=false",
    *("--log-level", "NOTICE"),
]

log = logging.getLogger(__name__)


class Supervisor:
    """Keeps one rclone running while `run` runs. Start it from the main thread's loop: rclone dies with that thread."""

    def __init__(self, program: Path, directory: Path, label: str) -> None:
        self._program = program
        self._directory = directory  # private: the socket is made in it
        self._label = label
        self._control: RemoteControl | None = None
        self._changed = trio.Event()
        self._failure = ""
        self._rate: int | None = None
        self.brake = Brake()
        #: How often it was started again, what it says it is, and its process while there is one.
        self.restarts = -1
        self.version = ""
        self.pid: int | None = None

    async def control(self) -> RemoteControl:
        """The running rclone. Waits while it starts (again); RemoteUnavailableError where the latest start failed."""
        while self._control is None:
            if self._failure:
                raise RemoteUnavailableError(remote=self._label, detail=self._failure)
            await self._changed.wait()
        return self._control

    def facts(self) -> dict[str, str]:
        """For `doctor`."""
        return {"program": str(self._program), "version": self.version, "restarts": str(max(self.restarts, 0))}

    async def limit_bandwidth(self, rate: int | None) -> None:
        """Bytes a second, for this rclone and those that follow it; None: no limit."""
        self._rate = rate
        if self._control is not None:
            await self._control.call("core/bwlimit", rate=_rate(rate))

    async def run(self) -> None:
        """Until cancelled."""
        pause = FIRST_PAUSE
        while True:
            self.restarts += 1
            started = trio.current_time()
            await self._one_run()
            if trio.current_time() - started > GOOD_RUN_SECONDS:
                pause = FIRST_PAUSE
            log.warning("rclone ended; starting it again")
            await trio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _one_run(self) -> None:
        self._socket().unlink(missing_ok=True)
        words: deque[str] = deque(maxlen=KEPT_LINES)
        try:
            process, errors = self._start()
        except OSError as error:
            self._tell(None, f"rclone does not start: {error.strerror}")
            return
        ended = os.pidfd_open(process.pid)
        self.pid = process.pid
        try:
            async with trio.open_nursery() as nursery:
                said_all = trio.Event()
                nursery.start_soon(_read_lines, errors, words, said_all)
                nursery.start_soon(self._watch)
                await trio.lowlevel.wait_readable(ended)
                with trio.move_on_after(LAST_WORDS_SECONDS):
                    await said_all.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.brake.detach()
            # Whoever holds the old control finds nobody there, and asks again for the new one.
            worked = self._control
            self._tell(None, self._failure)
            await _end(process, ended, worked)
            os.close(ended)
            self.pid = None
        if worked is None:
            last = in_one_line(words[-1]) if words else "it said nothing"
            self._tell(None, f"rclone ended with {process.returncode}: {last}")

    def _start(self) -> tuple[subprocess.Popen[bytes], int]:
        """The process, and the descriptor of what it says. In this thread, with which it is to die."""
        command = [sys.executable, "-I", "-S", with_parent.__file__, str(os.getpid()), str(self._program), "rcd"]
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            process = subprocess.Popen(  # noqa: S603 - the program was found by us
                [*command, *OPTIONS],
                cwd=self._directory,
                env=_environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=writing,
                umask=0o077,
                start_new_session=True,  # Ctrl-C is for us, who then end it in order
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return process, reading

    async def _watch(self) -> None:
        """Tell everybody when it answers; end it when it does not, or no more."""
        door = _Door(self._directory)
        heart = RemoteControl(Connections(door))  # not among the calls: those wait for each other
        with trio.move_on_after(START_SECONDS) as scope:
            while not await self._greet(heart):  # noqa: ASYNC110 - another process, it tells nobody
                await trio.sleep(READY_POLL_SECONDS)
        if not scope.cancelled_caught:
            self._socket().chmod(0o600)
            log.info("rclone %s is running", self.version)
            if self.pid is not None:
                self.brake.attach(self.pid)
            self._tell(RemoteControl(Connections(door)), "")
            while not scope.cancelled_caught:
                await trio.sleep(HEARTBEAT_SECONDS)
                with trio.move_on_after(HEARTBEAT_SECONDS) as scope, suppress(HttpError, RcloneFault):
                    await heart.call("rc/noop")
        log.warning("rclone does not answer")
        if self.pid is not None:  # it is our child and not waited for: the number is still its own
            os.kill(self.pid, signal.SIGKILL)

    async def _greet(self, control: RemoteControl) -> bool:
        """Whether it answers; then it also knows the bandwidth limit."""
        try:
            self.version = (await control.call("core/version"))["version"]
            if self._rate is not None:
                await control.call("core/bwlimit", rate=_rate(self._rate))
        except (HttpError, RcloneFault):
            return False
        return True

    def _socket(self) -> Path:
        return self._directory / SOCKET

    def _tell(self, control: RemoteControl | None, failure: str) -> None:
        self._control, self._failure = control, failure
        self._changed.set()
        self._changed = trio.Event()


class _Door:
    """Connects to the socket in a directory, however long its path is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def __call__(self) -> trio.SocketStream:
        directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return await trio.open_unix_socket(f"/proc/self/fd/{directory}/{SOCKET}")
        finally:
            os.close(directory)


def _rate(rate: int | None) -> str:
    return "off" if rate is None else f"{rate}B"


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """A person's rclone settings are meant for it; those of its remote control would lock us out.

    It takes half of the processors at most: whoever works in the mount takes turns with us on the others, and each turn
    would have to wait until rclone's ends.
    """
    half = str(max(len(os.sched_getaffinity(0)) // 2, 1))
    return {"GOMAXPROCS": half} | {name: value for name, value in ours.items() if not name.startswith("RCLONE_RC_")}


async def _read_lines(descriptor: int, words: deque[str], said_all: trio.Event) -> None:
    async with trio.lowlevel.FdStream(descriptor) as stream:
        rest = b""
        async for data in stream:
            *lines, rest = (rest + data)[-(64 << 10) :].split(b"\n")
            for line in lines:
                words.append(line.decode("utf-8", "replace"))
                log.debug("rclone: %s", words[-1])
    said_all.set()


async def _end(process: subprocess.Popen[bytes], ended: int, control: RemoteControl | None) -> None:
    with trio.CancelScope(shield=True):
        if control is not None:
            await control.close()
        with suppress(ProcessLookupError):
            process.terminate()
        with trio.move_on_after(END_SECONDS):
            await trio.lowlevel.wait_readable(ended)
        process.kill()  # does nothing to one that ended
        process.wait()
