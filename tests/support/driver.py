"""Drive the `vaultfs` command as a person would: a HOME of its own, a key file, one vault."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

REPOSITORY = Path(__file__).resolve().parents[2]
ANSWER_SECONDS = 180


def command() -> list[str]:
    """The `vaultfs` of the environment that runs the tests, else the one in this working tree."""
    script = Path(sys.executable).parent / "vaultfs"
    if script.exists():
        return [str(script)]
    return [sys.executable, "-c", "from vaultfs.cli.main import main; main()"]


def make_key_file(path: Path, seed: bytes = bytes(range(32))) -> None:
    """A Solana key file, as `solana-keygen` writes it: 32 bytes of seed and 32 of public key."""
    key = SigningKey(seed)
    path.write_text(json.dumps(list(seed + bytes(key.verify_key))))
    path.chmod(0o600)


@dataclass
class Machine:
    """One machine: a HOME of its own with XDG directories below it.

    `data` puts XDG_DATA_HOME (the encrypted store) elsewhere, for instance on a file system that loses data.
    """

    home: Path
    data: Path | None = None
    options: tuple[str, ...] = ("allow_other",) if os.geteuid() == 0 else ()
    environment: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()  #: words before the command: another network namespace

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o755)
        self.runtime.mkdir(mode=0o700, exist_ok=True)
        self.key = self.home / "id.json"
        if not self.key.exists():
            make_key_file(self.key)
        self.mountpoint = self.home / "agent-vault"

    @property
    def runtime(self) -> Path:
        """XDG_RUNTIME_DIR."""
        return self.home / "run"

    @property
    def store(self) -> Path:
        """Everything vaultfs keeps for this machine's vault, by the contract of daemon/paths.py."""
        return (self.data or self.home / ".local/share") / "vaultfs"

    def environ(self) -> dict[str, str]:
        """What the command sees: nothing of the caller's configuration."""
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "VAULTFS_"))}
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        keep.update(HOME=str(self.home), XDG_RUNTIME_DIR=str(self.runtime), PYTHONPATH=path)
        if self.data is not None:
            keep["XDG_DATA_HOME"] = str(self.data)
        keep["VAULTFS_LANE"] = os.environ.get("VAULTFS_LANE", "both")
        if mark := os.environ.get("VAULTFS_TEST_RUN"):
            keep["VAULTFS_TEST_RUN"] = mark
        return keep | self.environment

    def run(
        self, *arguments: str, check: bool = True, seconds: float = ANSWER_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """One `vaultfs` command; with `check`, a failing one raises with what it said."""
        done = subprocess.run(
            [*self.prefix, *command(), *arguments],
            env=self.environ(),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"vaultfs {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}\n{self.log()}"
            )
        return done

    def log(self) -> str:
        """The end of the daemon's logs, for failure messages."""
        files = sorted((self.home / ".local/state/vaultfs").glob("*.log"))
        return "".join(f"--- {file}\n{file.read_text(errors='replace')[-3000:]}" for file in files)

    def init(self) -> None:
        """Make the vault `vault`, opened by the key file."""
        self.run("init", "vault", "--wallet", f"keyfile:{self.key}", "--yes")

    def mount_command(self, *extra: str) -> tuple[str, ...]:
        """The arguments of the mount command."""
        options = ("-o", ",".join(self.options)) if self.options else ()
        wallet = ("--wallet", f"keyfile:{self.key}")
        return ("mount", str(self.mountpoint), "--vault", "vault", *wallet, *options, *extra)

    def mount(self, *extra: str) -> Path:
        """Mount the vault (over a dead mount too, if one is there); returns the mount point."""
        with contextlib.suppress(OSError):  # ENOTCONN: a dead mount, which the command cleans up
            self.mountpoint.mkdir(exist_ok=True)
        self.run(*self.mount_command(*extra))
        return self.mountpoint

    def umount(self, *extra: str) -> None:
        """Unmount cleanly."""
        self.run("umount", str(self.mountpoint), *extra)

    def status(self) -> dict[str, Any]:
        """What `vaultfs status --json` says."""
        answer = json.loads(self.run("status", "--json").stdout)
        if isinstance(answer, list):
            answer = answer[0]
        return answer  # type: ignore[no-any-return]

    def pid(self) -> int:
        """The daemon's process id, from the status file in the mount, else from the command."""
        try:
            answer = json.loads((self.mountpoint / ".vaultfs/status").read_bytes())
        except (OSError, ValueError):
            answer = self.status()
        pid = find_key(answer, "pid")
        if not isinstance(pid, int):
            raise AssertionError(f"no pid in the status: {answer}")  # noqa: TRY004 - a failed expectation
        return pid

    def kill(self, pid: int | None = None) -> None:
        """SIGKILL the daemon and wait until it is gone."""
        pid = self.pid() if pid is None else pid
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)

    def abandon(self) -> None:
        """Whatever state a failed test left: no mount, no daemon, at any price."""
        with contextlib.suppress(Exception):
            if is_mounted(self.mountpoint):
                self.run("umount", str(self.mountpoint), check=False, seconds=90)
        if is_mounted(self.mountpoint):
            with contextlib.suppress(Exception):
                self.kill()
            detach(self.mountpoint)

    def remove(self) -> None:
        """Remove the machine's HOME once nothing is mounted below it."""
        self.abandon()
        if not is_mounted(self.mountpoint):
            shutil.rmtree(self.home, ignore_errors=True)


def find_key(value: object, key: str) -> object:
    """The first value under `key` anywhere in a JSON answer, breadth first."""
    queue = [value]
    while queue:
        item = queue.pop(0)
        if isinstance(item, dict):
            if key in item:
                return item[key]
            queue.extend(item.values())
        elif isinstance(item, list):
            queue.extend(item)
    return None


def wait_gone(pid: int, seconds: float = 90) -> None:
    """Wait until a process (not necessarily a child) has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import select  # noqa: PLC0415

        ready, _, _ = select.select([handle], [], [], seconds)
        if not ready:
            raise AssertionError(f"process {pid} did not end in {seconds} s")
    finally:
        os.close(handle)


def is_mounted(point: Path) -> bool:
    """Whether something is mounted there, dead or alive, without touching it."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return any(line.split(" ")[1].encode().decode("unicode_escape") == str(point) for line in lines)


def detach(point: Path) -> None:
    """Lazily unmount, as root or as the owner of a FUSE mount."""
    tool = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
    deadline = time.monotonic() + 90
    while is_mounted(point) and time.monotonic() < deadline:
        subprocess.run([*tool, str(point)], check=False, capture_output=True)
