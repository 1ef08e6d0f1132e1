"""The programs under test, each with two machines: how they are set up, joined, parted, and what they keep apart."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from benchmarks.handoff_line import BUCKET, Lines, Traffic, store
from benchmarks.targets import PASSWORD, Rclone, Vaultfs, end
from tests.support.driver import Machine, find_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_SECONDS = 60


def wait(what: str, ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Until it is; TimeoutError says what was not."""
    limit = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > limit:
            raise TimeoutError(what)
        time.sleep(0.05)


class Pair(ABC):
    """Two machines that share one directory, `a` and `b`, by one program. Ends by `close`, which never raises."""

    name: str
    about: str

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        self.home = home
        self.a, self.b = home / "a/agent", home / "b/agent"
        self.stack = ExitStack()
        self.lines: Lines

    @classmethod
    def available(cls) -> bool:
        """Whether what it takes is installed."""
        return bool(Rclone.command())

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """The program's version in one line."""

    @abstractmethod
    def start(self) -> None:
        """Both machines run, and share an empty directory."""

    def greet(self) -> None:
        """Until the first file has arrived."""
        (self.a / "first").write_text("here")
        wait("the first file did not arrive", (self.b / "first").exists)

    def close(self) -> None:
        """End all that was started."""
        try:
            self.stack.close()
        except Exception as error:  # noqa: BLE001 - the next one is to be measured all the same
            print(f"# {self.name}: {error}", file=sys.stderr)

    def traffic(self) -> Traffic:
        """So far."""
        return self.lines.traffic()

    def part(self) -> None:
        """The machines lose each other."""
        self.lines.cut()

    def join(self) -> None:
        """And find each other again."""
        self.lines.heal()

    def busy(self) -> bool:
        """Whether it says itself that something waits to be sent."""
        return False

    def set_aside(self, into: Path) -> list[Path]:
        """Copies of what it keeps of lost sides outside the directory."""
        del into
        return []

    @contextmanager
    def process(self, *command: str, log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
        """A program that runs while the block does."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **env}
            )
        try:
            yield process
        finally:
            end(process)


class VaultfsPair(Pair):
    """This project, as it comes."""

    name = "vaultfs"
    about = "as it comes"
    options: tuple[str, ...] = ()

    @classmethod
    def version(cls) -> str:
        """Our own."""
        return subprocess.run(
            [Vaultfs.command(), "--version"], check=True, capture_output=True, text=True
        ).stdout.strip()

    def start(self) -> None:
        """A makes the vault, B joins it."""
        shared = self.stack.enter_context(store(self.home))
        self.lines = shared.lines
        self.machines = [Machine(self.home / side) for side in "ab"]
        for number, machine in enumerate(self.machines):
            machine.mountpoint = (self.a, self.b)[number]
            config = machine.home / ".config/rclone/rclone.conf"
            config.parent.mkdir(parents=True)
            config.write_text(shared.section(number))
            self.stack.callback(machine.abandon)
        first, second = self.machines
        remote = ("--remote", f"store:{BUCKET}/vault", "--yes")
        first.run("init", "vault", "--wallet", f"keyfile:{first.key}", "--device-label", "a", *remote)
        first.mount(*self.options)
        second.mount(*remote, *self.options)
        self.greet()

    def handoff(self) -> None:
        """`vaultfs handoff` on A: when it returns, everything is published."""
        self.machines[0].run("handoff", seconds=120)

    def busy(self) -> bool:
        """What the status of either machine says."""
        return any(self._pending(machine.status()) for machine in self.machines)

    @staticmethod
    def _pending(status: dict[str, object]) -> bool:
        waiting = find_key(status, "pending")
        return isinstance(waiting, dict) and any(waiting.get(what) for what in ("commits", "files", "bytes"))

    def set_aside(self, into: Path) -> list[Path]:
        """The conflicts that either machine lists, each brought out by `vaultfs conflicts show`."""
        found: list[Path] = []
        for number, machine in enumerate(self.machines):
            for conflict in json.loads(machine.run("conflicts", "list", "--json").stdout):
                target = into / f"{number}-{conflict['name']}"
                target.mkdir(parents=True)
                machine.run("conflicts", "show", conflict["name"], "--to", str(target))
                found.append(target)
        return found


class VaultfsLive(VaultfsPair):
    """This project with `--live` on both machines."""

    name = "vaultfs-live"
    about = "`mount --live` on both machines"
    options = ("--live",)


class Syncthing(Pair):
    """Two instances over loopback, no discovery and no relays; A calls B over the counted line."""

    name = "syncthing"
    about = "as it comes; machine to machine, no server between"
    delay = 10

    @classmethod
    def available(cls) -> bool:
        """Debian package syncthing."""
        return shutil.which("syncthing") is not None

    @classmethod
    def version(cls) -> str:
        """Its first words."""
        shown = subprocess.run(["syncthing", "--version"], check=True, capture_output=True, text=True).stdout
        return " ".join(shown.split()[:2])

    def start(self) -> None:
        """Generate two keys, write two configurations, wait until they have met."""
        homes = [self.home / side / "syncthing" for side in "ab"]
        ports, consoles = [free_port(), free_port()], [free_port(), free_port()]
        self.lines = self.stack.enter_context(Lines([ports[1]]))
        ids = [self._generate(home) for home in homes]
        for number, (home, directory) in enumerate(zip(homes, (self.a, self.b), strict=True)):
            (directory / ".stfolder").mkdir(parents=True)
            addresses = ["dynamic", "dynamic"]  # no discovery: no address
            if number == 0:
                addresses[1] = f"tcp://127.0.0.1:{self.lines.lines[0].port}"
            text = self._configuration(directory, ids, addresses, ports[number], consoles[number])
            (home / "config.xml").write_text(text)
            command = ("syncthing", "serve", f"--home={home}", "--no-browser", "--no-restart", "--no-upgrade")
            log = self.home / f"{number}.log"
            self.stack.enter_context(self.process(*command, log=log, HOME=str(home), STNOUPGRADE="1"))
        self._consoles = consoles
        wait("the two did not meet", self._met)
        self.greet()

    @staticmethod
    def _generate(home: Path) -> str:
        home.mkdir(parents=True)

        def ask(*arguments: str) -> str:
            command = ["syncthing", *arguments, f"--home={home}"]
            env = {**os.environ, "HOME": str(home)}
            return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.strip()

        ask("generate", "--no-default-folder", "--skip-port-probing")
        return ask("--device-id")

    def _configuration(self, directory: Path, ids: list[str], addresses: list[str], port: int, console: int) -> str:
        devices = "".join(
            f'<device id="{device}" name="{name}"><address>{address}</address></device>'
            for device, address, name in zip(ids, addresses, "ab", strict=True)
        )
        members = "".join(f'<device id="{device}"></device>' for device in ids)
        off = "globalAnnounceEnabled localAnnounceEnabled relaysEnabled natEnabled startBrowser crashReportingEnabled"
        return f"""<configuration version="36">
<folder id="agent" label="agent" path="{directory}" type="sendreceive" rescanIntervalS="3600" fsWatcherEnabled="true"
 fsWatcherDelayS="{self.delay}" autoNormalize="true"><maxConflicts>10</maxConflicts>{members}</folder>
{devices}
<gui enabled="true" tls="false"><address>127.0.0.1:{console}</address><apikey>{PASSWORD}</apikey></gui>
<options><listenAddress>tcp://127.0.0.1:{port}</listenAddress>
{"".join(f"<{name}>false</{name}>" for name in off.split())}
<urAccepted>-1</urAccepted><autoUpgradeIntervalH>0</autoUpgradeIntervalH>
<reconnectionIntervalS>5</reconnectionIntervalS></options></configuration>"""

    def _ask(self, number: int, path: str) -> dict[str, object]:
        address = f"http://127.0.0.1:{self._consoles[number]}/rest/{path}"
        request = urllib.request.Request(address, headers={"X-API-Key": PASSWORD})
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)  # type: ignore[no-any-return]

    def _met(self) -> bool:
        try:
            peers = self._ask(0, "system/connections")["connections"]
        except OSError:
            return False
        return any(peer["connected"] for peer in peers.values())  # type: ignore[attr-defined]


class SyncthingQuick(Syncthing):
    """The same with a watcher that waits one second."""

    name = "syncthing-1s"
    about = "its watcher at 1 s"
    delay = 1


class Bisync(Pair):
    """`rclone bisync` of a plain directory with a crypt remote on the server, every five seconds on each machine."""

    name = "bisync"
    about = "with crypt, every 5 s on both machines, `--resilient --recover`"
    every = 5.0

    @classmethod
    def version(cls) -> str:
        """Of rclone."""
        return rclone_version()

    def start(self) -> None:
        """The first run of each machine with --resync, then over and over."""
        shared = self.stack.enter_context(store(self.home))
        self.lines = shared.lines
        self._go = [threading.Event(), threading.Event()]
        self._over = threading.Event()
        self._stop = threading.Event()
        for number, directory in enumerate((self.a, self.b)):
            directory.mkdir(parents=True)
            crypt_configuration(directory.parent, shared.section(number))
        (self.a / "first").write_text("here")
        for number in (0, 1):
            if self._run(number, "--resync"):
                raise RuntimeError((self.home / f"{number}.log").read_text()[-500:])
        self._threads = [threading.Thread(target=self._again, args=(number,), daemon=True) for number in (0, 1)]
        self.stack.callback(self._end)
        self.join()
        for thread in self._threads:
            thread.start()

    def _end(self) -> None:
        self._stop.set()
        self.join()
        for thread in self._threads:
            thread.join(60)

    def _again(self, number: int) -> None:
        while not self._stop.wait(self.every):
            self._go[number].wait()
            if not self._stop.is_set():
                self._run(number)

    def _run(self, number: int, *more: str) -> int:
        directory = (self.a, self.b)[number]
        own = directory.parent
        command = [
            *(Rclone.command(), "--config", str(own / "rclone.conf"), "--cache-dir", str(own / "cache")),
            *("bisync", str(directory), "crypted:", "--workdir", str(own / "bisync"), "--resilient", "--recover"),
            *more,
        ]
        with (self.home / f"{number}.log").open("ab") as log:
            return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode

    def part(self) -> None:
        """No run begins; one that is going on ends."""
        for event in self._go:
            event.clear()
        time.sleep(self.every)

    def join(self) -> None:
        """Runs go on."""
        for event in self._go:
            event.set()


class RcloneMount(Pair):
    """`rclone mount` of a crypt remote on the server, with the cache that applications need."""

    name = "rclone-mount"
    about = "with crypt, `--vfs-cache-mode full --dir-cache-time 2s`"

    @classmethod
    def version(cls) -> str:
        """Of rclone."""
        return rclone_version()

    def start(self) -> None:
        """Two mounts."""
        shared = self.stack.enter_context(store(self.home))
        self.lines = shared.lines
        for number, directory in enumerate((self.a, self.b)):
            directory.mkdir(parents=True)
            own = directory.parent
            crypt_configuration(own, shared.section(number))
            command = (
                *(Rclone.command(), "--config", str(own / "rclone.conf"), "--cache-dir", str(own / "cache"), "mount"),
                *("crypted:", str(directory), "--vfs-cache-mode", "full", "--dir-cache-time", "2s"),
            )
            self.stack.enter_context(self.process(*command, log=self.home / f"{number}.log"))
            wait("rclone did not mount", lambda: os.path.ismount(directory))  # noqa: B023 - waited for at once
        self.greet()

    def part(self) -> None:
        """Not at all: without the server it opens no file, and who tries waits for minutes. Both write at once."""

    def join(self) -> None:
        """Nothing to do."""


def crypt_configuration(directory: Path, section: str) -> None:
    """`rclone.conf` there: the server, and `crypted:` on it."""
    secret = subprocess.run([Rclone.command(), "obscure", PASSWORD], check=True, capture_output=True, text=True).stdout
    crypted = f"[crypted]\ntype = crypt\nremote = store:{BUCKET}/crypted\npassword = {secret.strip()}\n"
    (directory / "rclone.conf").write_text(section + crypted)


def rclone_version() -> str:
    """In one line."""
    shown = subprocess.run([Rclone.command(), "version"], check=True, capture_output=True, text=True).stdout
    return shown.splitlines()[0]


def free_port() -> int:
    """One that nobody listens on just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


PAIRS: dict[str, type[Pair]] = {
    kind.name: kind for kind in (VaultfsPair, VaultfsLive, Syncthing, SyncthingQuick, Bisync, RcloneMount)
}
