"""One machine of a person who has several: a HOME, the command, a mount, and a pace."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.driver import REPOSITORY, Machine, wait_gone

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines_mounted.store import Store

SECONDS = 90
QUICK = {
    "VAULTFS_COMMIT_AFTER": "0.1",
    "VAULTFS_COMMIT_EVERY": "0.3",
    "VAULTFS_POLL": "0.1",
    "VAULTFS_IDLE_POLL": "0.2",
}


@dataclass
class Desk(Machine):
    """`label` is the machine's name in the vault; `remote` what its person types."""

    remote: str = ""
    label: str = ""
    helpers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def environ(self) -> dict[str, str]:
        """Nothing of the caller's rclone, and the label."""
        keep = {name: value for name, value in super().environ().items() if not name.startswith("RCLONE_")}
        return keep | {"VAULTFS_DEVICE_LABEL": self.label} | self.environment

    def knows(self, store: Store, **where: Any) -> None:
        """How this machine reaches the store."""
        place = self.home / ".config/rclone/rclone.conf"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(store.configuration(**where))
        self.remote = store.spec

    def json(self, *arguments: str, seconds: float = 60) -> Any:
        """What the command says."""
        return json.loads(self.run(*arguments, "--json", seconds=seconds).stdout)

    def make(self) -> None:
        """Make the vault, on the remote too."""
        wallet = f"keyfile:{self.key}"
        self.run("init", "vault", "--remote", self.remote, "--wallet", wallet, "--device-label", self.label, "--yes")

    def mount_command(self, *extra: str) -> tuple[str, ...]:
        """As on any machine; the remote is given each time."""
        return super().mount_command("--remote", self.remote, *extra)

    def status(self) -> dict[str, Any]:
        """What is known of the vault."""
        answer: dict[str, Any] = self.json("status", "--vault", "vault")
        return answer

    def sync(self) -> None:
        """Publish, and take in what others published."""
        self.run("sync", "--wait", "--vault", "vault")

    def now(self) -> dict[str, Any]:
        """The status as the mount has it: no process needed."""
        answer: dict[str, Any] = json.loads((self.mountpoint / ".vaultfs/status").read_bytes())
        return answer

    def path(self, name: str) -> Path:
        """A path in the mount."""
        return self.mountpoint / name

    def until(self, what: Callable[[], Any], seconds: float = SECONDS, say: str = "") -> Any:
        """`what` until it gives something true (an OSError is nothing true); not longer than so."""
        deadline = time.monotonic() + seconds
        problem: object = None
        while time.monotonic() < deadline:
            try:
                found = what()
            except (OSError, ValueError) as error:
                found, problem = None, error
            if found:
                return found
            time.sleep(0.02)  # the change comes from another machine: there is nothing here to await
        raise AssertionError(f"{self.label}: not in {seconds} s: {say or what} {problem or ''}\n{self.log()}")

    def until_reads(self, name: str, data: bytes, seconds: float = SECONDS) -> None:
        """Until the file has that content."""
        self.until(lambda: self.path(name).read_bytes() == data, seconds, f"{name} has {data[:60]!r}")

    def start(self, program: str, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        """A program of ours (a module of this package) that works on this machine until it is ended."""
        command = [sys.executable, "-m", f"tests.machines_mounted.{program}", *arguments]
        started = subprocess.Popen(command, cwd=REPOSITORY, env=self.environ(), **more)
        self.helpers.append(started)
        return started

    def end(self, helper: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
        """End it, and wait for that."""
        if helper in self.helpers:
            self.helpers.remove(helper)
        helper.send_signal(number)
        helper.wait(90)

    def children(self) -> list[int]:
        """The daemon's own processes: rclone."""
        out = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                words = (entry / "stat").read_text().rpartition(")")[2].split()
                if entry.name.isdigit() and int(words[1]) == self.pid():
                    out.append(int(entry.name))
        return out

    def cpu(self) -> float:
        """Seconds of processor that the daemon has used."""
        words = Path(f"/proc/{self.pid()}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def leave(self) -> None:
        """Nothing of this machine goes on: programs, mount, daemon, files."""
        for helper in list(self.helpers):
            with contextlib.suppress(Exception):
                self.end(helper, signal.SIGKILL)
        pid = 0
        with contextlib.suppress(Exception):
            pid = self.pid()
        with contextlib.suppress(Exception):
            self.run("umount", str(self.mountpoint), "--timeout", "5", check=False, seconds=90)
        if pid and Path(f"/proc/{pid}").exists():
            with contextlib.suppress(OSError, AssertionError):
                os.kill(pid, signal.SIGKILL)
                wait_gone(pid)
        self.remove()
        shutil.rmtree(self.home, ignore_errors=True)


def picture(top: Path) -> dict[str, tuple[Any, ...]]:
    """All below `top` as a person can see it: kind, permissions, time, links, attributes and content, by path."""
    found: dict[str, tuple[Any, ...]] = {}
    groups: dict[int, str] = {}
    for directory, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not (directory == str(top) and name == ".vaultfs"))
        for name in sorted([*folders, *files]):
            path = os.path.join(directory, name)
            there = os.lstat(path)
            content: object = None
            if stat.S_ISLNK(there.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(there.st_mode):
                content = Path(path).read_bytes()
            where = os.path.relpath(path, top)
            first = groups.setdefault(there.st_ino, where)
            names = sorted(name for name in os.listxattr(path, follow_symlinks=False) if not _ours(name))
            attributes = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
            links = there.st_nlink if stat.S_ISREG(there.st_mode) else 0
            found[where] = (
                stat.filemode(there.st_mode), there.st_uid, there.st_mtime_ns, links, first, attributes, content
            )  # fmt: skip
    return found


def _ours(name: str) -> bool:
    return name.startswith("user.vaultfs.")


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What differs between two pictures, without contents."""
    out = []
    for name in sorted(a.keys() | b.keys()):
        if name not in a or name not in b:
            out.append(f"{name}: only {'there' if name in b else 'here'}")
        elif a[name] != b[name]:
            parts = [f"{x!r:.80} / {y!r:.80}" for x, y in zip(a[name], b[name], strict=True) if x != y]
            out.append(f"{name}: {', '.join(parts)}")
    return out
