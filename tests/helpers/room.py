"""A mount namespace of our own with vaultfs installed for everybody in it, and users whom only it knows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.driver import REPOSITORY, make_key_file, wait_gone
from tests.support.leftovers import ONLY_OWN_MOUNTS

ALICE = 60001
SECONDS = 60
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def python() -> Path | None:
    """A Python with our packages that every user can run; None if there is none here."""
    for name in (f"/usr/bin/python3.{sys.version_info.minor}", sys.executable):
        real = Path(name).resolve()
        if real.exists() and all(path.stat().st_mode & 0o001 for path in real.parents):
            return Path(name)
    return None


def installation(base: Path) -> Path:
    """A virtual environment in `base`, with this working copy and the packages of our own; its `vaultfs`."""
    found = python()
    assert found is not None
    subprocess.run([found, "-m", "venv", "--without-pip", str(base / "venv")], check=True)
    (packages,) = (base / "venv/lib").glob("python*/site-packages")
    ours = sysconfig.get_paths()["purelib"]
    (packages / "ours.pth").write_text(f"{REPOSITORY}\nimport site; site.addsitedir({ours!r})\n")
    program = base / "venv/bin/vaultfs"
    program.write_text(f"#!{base}/venv/bin/python\nfrom vaultfs.cli.main import main\nmain()\n")
    program.chmod(0o755)
    return program


@dataclass
class Room:
    """Commands run in the namespace by `run`; `alice` is an ordinary user with a home in `base`."""

    base: Path
    program: Path
    holder: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.alice = self.base / "alice"
        self.bob = self.base / "bob"
        for uid, home in ((ALICE, self.alice), (ALICE + 1, self.bob)):
            home.mkdir()
            make_key_file(home / "id.json")
            for path in (home, home / "id.json"):
                os.chown(path, uid, uid)
        users = Path("/etc/passwd").read_text()
        for uid, home in ((ALICE, self.alice), (ALICE + 1, self.bob)):
            users += f"vault{home.name}:x:{uid}:{uid}::{home}:/bin/sh\n"
        (self.base / "passwd").write_text(users)
        self.fstab = self.base / "fstab"
        self.fstab.touch()
        shutil.copytree("/usr/sbin", self.base / "sbin", symlinks=True)
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", _PREPARE, "sh", str(self.base)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.holder.stdout
        assert self.holder.stdout.readline() == b"ready\n", "the namespace could not be prepared"

    def run(
        self, *command: str | Path, uid: int = 0, check: int | None = 0, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`command` in the room, by default with nothing at all in the environment but the mark of this test run."""
        mark = {"VAULTFS_TEST_RUN": os.environ["VAULTFS_TEST_RUN"], "PYTHONDONTWRITEBYTECODE": "1"}
        words = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt"]
        if uid:
            words += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        words += ["env", "-i", *(f"{name}={value}" for name, value in (mark | (environment or {})).items())]
        done = subprocess.run(
            [*words, *map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS,
            check=False, cwd="/",
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        if check is not None:
            assert done.returncode == check, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}{self.log()}"
        return done

    def vaultfs(
        self, *arguments: str | Path, home: Path | None = None, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """`vaultfs ARGUMENTS` as the owner of `home`, by default alice, as after a login."""
        home = self.alice if home is None else home
        return self.run(
            self.program, *arguments, uid=home.stat().st_uid, environment={"HOME": str(home), "PATH": PATH}, **more
        )

    def kinds(self, place: Path) -> list[str]:
        """Type, source and options of what is mounted there."""
        done = self.run("findmnt", "-rn", "-o", "FSTYPE,SOURCE,OPTIONS", place, check=None)
        return done.stdout.split()

    def log(self) -> str:
        """The end of the logs, for failure messages."""
        files = [file for home in (self.alice, self.bob) for file in (home / ".local/state/vaultfs").glob("*.log")]
        return "".join(f"\n--- {file}\n{file.read_text(errors='replace')[-3000:]}" for file in files)

    def pid(self, home: Path | None = None) -> int:
        """The daemon's, 0 if there is none."""
        import json  # noqa: PLC0415

        found = json.loads(self.vaultfs("status", "--json", home=home).stdout)
        return int(found["pid"] or 0)

    def gone(self, pid: int) -> None:
        """Wait until the daemon has ended."""
        wait_gone(pid)

    def leave(self) -> None:
        """End what goes on in it: mounts, daemons, and the namespace."""
        mounts = self.run("findmnt", "-rn", "-o", "TARGET", "-t", "fuse.vaultfs", check=None).stdout.split("\n")
        for place in filter(lambda text: text.startswith(f"{self.base}/"), mounts):
            self.run("umount", "-i", "-l", place, check=None)
        deadline = time.monotonic() + 20
        while _inside(self.base) and time.monotonic() < deadline:
            time.sleep(0.05)  # daemons publish and end
        for pid in _inside(self.base):
            os.kill(pid, 9)
        assert self.holder.stdin
        self.holder.stdin.close()
        self.holder.wait(20)
        if self.holder.stdout:
            self.holder.stdout.close()


# sbin and /usr/local are copies: what is installed there is gone with the room. /run has no /run/user.
_PREPARE = (
    ONLY_OWN_MOUNTS
    + """
set -e
mount --bind "$1/sbin" /usr/sbin
[ /sbin -ef /usr/sbin ] || mount --bind "$1/sbin" /sbin
mount -t tmpfs -o mode=755 tmpfs /usr/local
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/fstab" /etc/fstab
echo ready
cat >/dev/null
"""
)


def _inside(base: Path) -> list[int]:
    """Daemons that run the vaultfs of this room."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z" and any(word.startswith(os.fsencode(base / "venv")) for word in words):
                found.append(int(entry.name))
    return found
