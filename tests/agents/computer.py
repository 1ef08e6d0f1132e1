"""A machine with the same paths as the person's other machines: its own mounts, and its own disk behind one HOME."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.agents.programs import shelf
from tests.machines_mounted.desk import Desk
from tests.support.driver import REPOSITORY
from tests.support.leftovers import ONLY_OWN_MOUNTS

TURN_SECONDS = 300
# HOME, then /tmp, in which stays what the programs here need of the real one.
_MOUNTS = """
mount --bind "$1" "$2" || exit
own=$3; shift 3
for kept; do mkdir -p "$own${kept#/tmp}" && mount --bind "$kept" "$own${kept#/tmp}" || exit; done
mount --rbind "$own" /tmp && echo ready && exec sleep infinity
"""


@dataclass
class Turn:
    """What one turn gave, and what the test looks at."""

    reply: str
    session: str | None
    code: int
    seconds: float  #: of the program alone
    cpu: float  #: seconds of processor, with its children
    output: str

    @property
    def marks(self) -> list[str]:
        """The marks of the whole conversation, as the program sent it to the model."""
        part = self.reply.partition("marks=[")[2].partition("]")[0]
        return part.split(",") if part else []


@dataclass
class Computer(Desk):
    """Its HOME on this machine's disk is `home`; all it runs sees that at `person`, which is one path for all machines.

    A namespace for mounts does it: what is mounted here is nowhere else. The test looks in through /proc. Its /tmp is
    its own, too: there OpenClaw keeps the lock that lets only one process of a machine at a state directory.
    """

    person: Path = Path("/nowhere")
    holder: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("agent-vault", "work", "tmp"):
            (self.home / name).mkdir(exist_ok=True)
        self.person.mkdir(exist_ok=True)
        own = self.home.with_name(f"{self.home.name}-tmp")
        own.mkdir(exist_ok=True)
        own.chmod(0o1777)
        places = (REPOSITORY, Path(sys.prefix), shelf())
        needed = [path for path in places if path.is_relative_to("/tmp") and path.exists()]
        script = ("sh", "-c", ONLY_OWN_MOUNTS + _MOUNTS, "sh", self.home, self.person, own, *needed)
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave", *script], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        if not self.holder.stdout or self.holder.stdout.readline() != b"ready\n":
            raise AssertionError("no mount namespace: these tests need root")
        self.prefix = ("nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--")
        self.mountpoint = Path(f"/proc/{self.holder.pid}/root{self.person}/agent-vault")

    def environ(self) -> dict[str, str]:
        """As on any machine, at the paths that all share."""
        shared = {"HOME": str(self.person), "XDG_RUNTIME_DIR": str(self.person / "run"), "VAULTFS_AGENTS": str(shelf())}
        return super().environ() | shared

    def inside(self, words: tuple[str, ...] | list[str]) -> tuple[str, ...]:
        """Words of a command line, with our way to the mount replaced by the machine's own."""
        return tuple(word.replace(str(self.mountpoint), str(self.person / "agent-vault")) for word in words)

    def run(self, *arguments: str, check: bool = True, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """One `vaultfs` command; it never sees the path through /proc."""
        return super().run(*self.inside(arguments), check=check, seconds=seconds)

    def begin(self, program: str, how: str, prompt: str, *more: str, at: str = "") -> subprocess.Popen[str]:
        """A turn that goes on; `ended` has its result. `at`: the state directory, seen from HOME."""
        state = self.person / (at or f"agent-vault/{program}")
        command = [sys.executable, "-m", "tests.agents.turn", program, how, prompt, "--state", str(state), *more]
        return subprocess.Popen(
            [*self.prefix, *command], cwd=REPOSITORY, env=self.environ(), text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ended(self, begun: subprocess.Popen[str]) -> Turn:
        """The result of a turn that was begun."""
        try:
            out, err = begun.communicate(timeout=TURN_SECONDS)
        except subprocess.TimeoutExpired:
            begun.kill()
            raise
        if begun.returncode:
            raise AssertionError(f"{self.label}: the turn could not be had: {out}{err}\n{self.log()}")
        return Turn(**json.loads(out))

    def turn(
        self, program: str, mark: str, *, how: str = "resume", say: str = "", kill: bool = False, at: str = ""
    ) -> Turn:
        """One turn that must give a reply which holds `mark`."""
        prompt = f"MARK-{mark} {say or 'hello'}"
        done = self.ended(self.begin(program, how, prompt, *(["--kill"] if kill else []), at=at))
        if mark not in done.marks:
            raise AssertionError(f"{self.label}: {program} gave no reply to {mark}: {done}\n{self.log()}")
        return done

    def handoff(self) -> dict[str, Any]:
        """Everything that was written here is on the remote."""
        answer: dict[str, Any] = self.json("handoff", "--vault", "vault", seconds=120)
        return answer

    def catch_up(self) -> None:
        """Take in what others published."""
        self.run("sync", "--wait", "--vault", "vault", seconds=120)

    def leave(self) -> None:
        """Nothing of this machine goes on: what still runs among its mounts is ended, and they go with it."""
        with contextlib.suppress(Exception):
            self.run("umount", str(self.mountpoint), "--timeout", "5", check=False, seconds=30)
        if self.holder is None:
            return
        for pid in self.running():
            with contextlib.suppress(OSError, AssertionError):
                self.kill(pid)
        self.holder.kill()
        self.holder.wait()
        if self.holder.stdout:
            self.holder.stdout.close()

    def running(self) -> list[int]:
        """The processes that see this machine's mounts, but for the one that keeps them."""
        holder = self.holder.pid if self.holder else 0
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                if pid != holder and (entry / "ns/mnt").readlink() == Path(f"/proc/{holder}/ns/mnt").readlink():
                    found.append(pid)
        return found
