"""A person at a fresh machine: an empty HOME, the real `vaultfs` command, as root or as an ordinary user."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pty
import pwd
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tests.support.driver import REPOSITORY, detach, is_mounted, wait_gone

if TYPE_CHECKING:
    from collections.abc import Callable

ORDINARY = pwd.getpwnam("nobody").pw_uid  # fusermount3 insists on a user with a name
ANSWER_SECONDS = 90  # more than anything takes on a machine that is busy with other tests


def become(uid: int) -> dict[str, Any]:
    """The arguments of subprocess for that user's process; nobody but root may even ask."""
    return {"user": uid, "group": uid, "extra_groups": []} if uid != os.geteuid() else {}


def wait_until(true: Callable[[], bool], otherwise: str = "it did not come about") -> None:
    """Waits for what nothing tells of."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


@functools.cache
def program(uid: int) -> tuple[str, ...] | None:
    """How `uid` runs vaultfs; None if that user cannot run a Python with our packages here."""
    script = Path(sys.executable).parent / "vaultfs"
    packages = sysconfig.get_paths()["purelib"]
    source = f"import sys, site; sys.path.insert(0, {packages!r}); site.addsitedir({packages!r}); "
    source += "from vaultfs.cli.main import main; main()"
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in ((str(script),), (sys.executable, "-c", source), (system, "-c", source)):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [*candidate, "version"], env=_environ(Path("/")), cwd="/", capture_output=True, check=False,
                **become(uid),
            )  # fmt: skip
            if done.returncode == 0:
                return candidate
    return None


def _environ(home: Path) -> dict[str, str]:
    keep = {name: os.environ[name] for name in ("PATH", "VAULTFS_TEST_RUN", "VAULTFS_LANE") if name in os.environ}
    return keep | {"HOME": str(home), "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}


@dataclass
class Person:
    """One user with one HOME. `environment` is added to what the command sees."""

    home: Path
    uid: int = field(default_factory=os.geteuid)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir(mode=0o755, exist_ok=True)
        os.chown(self.home, self.uid, self.uid)

    @property
    def mountpoint(self) -> Path:
        """Where the person mounts."""
        return self.home / "agent-vault"

    @property
    def vault(self) -> Path:
        """The default vault's own files."""
        return self.home / ".local/share/vaultfs/default"

    @property
    def key_file(self) -> Path:
        """The key file that `init` makes."""
        return self.home / ".config/vaultfs/vaultfs-wallet.json"

    def how(self) -> dict[str, Any]:
        """The arguments of subprocess that make it this person's process."""
        return {"env": _environ(self.home) | self.environment, "cwd": self.home, "umask": 0o022, **become(self.uid)}

    def command(self, *arguments: str) -> list[str]:
        """The command line of `vaultfs ARGUMENTS`."""
        found = program(self.uid)
        assert found, f"user {self.uid} cannot run this Python"
        return [*found, *arguments]

    def run(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """`vaultfs ARGUMENTS` without a terminal. Whatever it is, it must not be a traceback."""
        done = subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False,
            **{**self.how(), **more},
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    def ok(self, *arguments: str, **more: Any) -> str:
        """As `run`; it must succeed. Returns what it printed."""
        done = self.run(*arguments, **more)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}{self.log()}"
        return done.stdout

    def json(self, *arguments: str, **more: Any) -> Any:
        """As `ok` with --json, decoded."""
        return msgspec.json.decode(self.ok(*arguments, "--json", **more))

    def fails(self, code: int, *arguments: str, **more: Any) -> str:
        """As `run`; it must end with `code` and say why in one line. Returns that."""
        done = self.run(*arguments, **more)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}{self.log()}"
        assert done.stderr.strip(), "it must say what is wrong"
        return done.stderr

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """`vaultfs ARGUMENTS` in the background, with pipes."""
        return subprocess.Popen(
            self.command(*arguments), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **{**self.how(), **more},
        )  # fmt: skip

    def at_terminal(
        self, *arguments: str, answers: list[tuple[str, str | Callable[[], None]]], **more: Any
    ) -> tuple[int, str]:
        """`vaultfs ARGUMENTS` at a terminal: waits for each prompt, and types its answer or does that.

        Returns exit code and screen.
        """
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            self.command(*arguments), stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - so that Ctrl-C is a signal
            **{**self.how(), **more},
        )  # fmt: skip
        os.close(terminal)
        screen = ""
        expected = list(answers)
        seen = 0
        deadline = time.monotonic() + ANSWER_SECONDS
        again = b""
        while time.monotonic() < deadline:
            if select.select([controller], [], [], 1)[0]:
                try:
                    data = os.read(controller, 65536)
                except OSError:  # EIO: nobody has the terminal open any more
                    break
                if not data:
                    break
                screen += data.decode(errors="replace")
            elif again:  # Python loses a signal that comes while readline sets itself up; a person types ^C again
                os.write(controller, again)
            if expected and (found := screen.find(expected[0][0], seen)) >= 0:
                seen = found + len(expected[0][0])
                answer = expected.pop(0)[1]
                if isinstance(answer, str):
                    os.write(controller, answer.encode())
                    again = b"\x03" if answer == "\x03" else b""
                else:
                    answer()
        os.close(controller)
        code = process.wait(ANSWER_SECONDS)
        assert "Traceback" not in screen, screen
        assert not expected, f"never asked: {expected[0][0]!r}\n{screen}"
        return code, screen

    def log(self) -> str:
        """The end of this person's logs, for failure messages."""
        files = sorted((self.home / ".local/state/vaultfs").glob("*.log"))
        return "".join(f"\n--- {file}\n{file.read_text(errors='replace')[-3000:]}" for file in files)

    def mount(self, *arguments: str) -> str:
        """Mount the default vault, making it if need be."""
        return self.ok("mount", str(self.mountpoint), "--yes", *arguments)

    def pid(self) -> int:
        """The daemon's."""
        return int(self.json("status")["pid"])

    def kill(self) -> None:
        """SIGKILL the daemon and wait until it is gone."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)

    def write(self, name: str, text: str) -> Path:
        """A file in the mount, written as this person."""
        path = self.mountpoint / name
        subprocess.run(["sh", "-c", 'printf %s "$1" > "$2"', "sh", text, str(path)], check=True, **self.how())
        return path

    def read(self, name: str) -> str:
        """A file in the mount, read as this person."""
        done = subprocess.run(
            ["cat", str(self.mountpoint / name)], check=True, capture_output=True, text=True, **self.how()
        )
        return done.stdout

    def hold(self, name: str, text: str = "") -> subprocess.Popen[bytes]:
        """A process of this person that has a file in the mount open for writing, and stays in the mount."""
        script = 'cd "$1" && exec 3> "$2" && printf %s "$3" >&3 && echo && exec sleep 600'
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", str(self.mountpoint), name, text], stdout=subprocess.PIPE, **self.how()
        )
        assert process.stdout
        with process.stdout as pipe:
            assert pipe.readline() == b"\n"
        return process

    def leave(self) -> None:
        """Whatever a test left: no mount, no daemon, no files."""
        for point in {line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()}:
            if point.startswith(f"{self.home}/"):
                with contextlib.suppress(Exception):
                    self.run("umount", point, "--timeout", "5")
                if is_mounted(Path(point)):
                    detach(Path(point))
        shutil.rmtree(self.home, ignore_errors=True)
