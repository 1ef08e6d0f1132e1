"""The units: judged by systemd itself, and what the daemon tells the service manager."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from vaultfs.daemon.notify import notify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.person import Person

SECONDS = 60


def verify(person: Person, *words: str, unit_path: Path) -> str:
    """What `systemd-analyze verify` finds; skips where there is none."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here (./test installs it where it may)")
    environment = {**person.how()["env"], "SYSTEMD_UNIT_PATH": f"{unit_path}:", "XDG_RUNTIME_DIR": str(person.home)}
    done = subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, check=False, timeout=SECONDS, env=environment
    )
    return f"{done.returncode} {done.stdout}{done.stderr}".strip()


def test_the_units_are_good(person: Person) -> None:
    prefix = person.home / "pre fix"
    person.ok("install-helpers", "--prefix", str(prefix))
    users, system = prefix / "lib/systemd/user", prefix / "lib/systemd/system"
    for name in ("vaultfs@default.service", "vaultfs@work.service"):
        (users / name).symlink_to("vaultfs@.service")
        assert verify(person, "--user", "verify", "--man=no", str(users / name), unit_path=users) == "0"
    (system / "vaultfs-sleep@root.service").symlink_to("vaultfs-sleep@.service")
    found = verify(person, "verify", "--man=no", str(system / "vaultfs-sleep@root.service"), unit_path=system)
    assert found == "0"
    unit = users / "agent.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    (users / "agent.service.d").mkdir()
    shutil.copy(prefix / "share/doc/vaultfs/agent.conf", users / "agent.service.d/vault.conf")
    assert verify(person, "--user", "verify", "--man=no", str(unit), unit_path=users) == "0"
    # and it would have said so, were something wrong
    unit.write_text("[Service]\nExecStart=/nowhere\nNonsense=1\n")
    assert verify(person, "--user", "verify", "--man=no", str(unit), unit_path=users) != "0"


@contextmanager
def manager(person: Person, *more: str) -> Iterator[tuple[socket.socket, subprocess.Popen[str]]]:
    """The unit's ExecStart, run as systemd runs it: with a socket to tell it things."""
    person.ok("install-helpers", "--user")
    unit = (person.home / ".config/systemd/user/vaultfs@.service").read_text()
    line = next(row for row in unit.splitlines() if row.startswith("ExecStart="))
    for name, value in (("%i", "default"), ("$OPTIONS", shlex.join(more)), ("${MOUNTPOINT}", str(person.mountpoint))):
        line = line.replace(name, value)
    path = person.home / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
        ears.bind(str(path))
        ears.settimeout(SECONDS)
        os.chown(path, person.uid, person.uid)
        environment = {**person.how()["env"], "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
        words = shlex.split(line.removeprefix("ExecStart="))
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            **{**person.how(), "env": environment},
        )  # fmt: skip
        try:
            yield ears, process
        finally:
            process.kill()
            process.communicate()


def hear(ears: socket.socket, wanted: str) -> str:
    """What the daemon says, until that comes."""
    heard = ""
    while wanted not in heard:
        heard += ears.recv(4096).decode() + "\n"
    return heard


@pytest.mark.fuse
def test_the_daemon_tells_systemd_how_it_is(person: Person) -> None:
    remote = person.home / "store"
    person.ok("init", "--remote", str(remote), "--yes")
    with manager(person) as (ears, process):
        heard = hear(ears, "READY=1")
        assert f"STATUS=Mounted at {person.mountpoint}" in heard
        assert person.json("status")["state"] == "mounted"
        hear(ears, "WATCHDOG=1")
        person.write("a", "a")
        assert "STOPPING" not in hear(ears, "all is published")
        process.send_signal(signal.SIGTERM)
        heard = hear(ears, "STOPPING=1")
        assert "STATUS=Unmounted" in heard
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0
    assert person.ok("cat", "a") == "a"


@pytest.mark.fuse
def test_stopping_the_service_hands_off(person: Person) -> None:
    """The unit's own ExecStop lines: the second makes the daemon end by itself, with 0."""
    remote = person.home / "store"
    person.ok("init", "--remote", str(remote), "--yes")
    with manager(person) as (ears, process):
        hear(ears, "READY=1")
        person.write("a", "last words")
        unit = (person.home / ".config/systemd/user/vaultfs@.service").read_text()
        for row in unit.splitlines():
            if row.startswith("ExecStop="):
                words = shlex.split(row.removeprefix("ExecStop=-").replace("%i", "default"))
                words = ["20" if word == "${HANDOFF_SECONDS}" else word for word in words]
                done = subprocess.run(words, check=False, capture_output=True, timeout=SECONDS, **person.how())
                # 40: a machine under load publishes for longer than umount waits; the daemon goes on, as in the unit
                assert done.returncode in {0, 40}, done.stderr
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0
    assert person.ok("cat", "a") == "last words"


@pytest.mark.fuse
@pytest.mark.parametrize(("result", "dead"), [("signal", False), ("exit-code", True)])
def test_what_is_left_of_a_killed_daemon_goes(person: Person, result: str, dead: bool) -> None:
    """ExecStopPost as systemd runs it: after a kill a dead mount goes; after an error at the start, none does."""
    person.mount()
    person.kill()
    person.ok("install-helpers", "--user")
    unit = (person.home / ".config/systemd/user/vaultfs@.service").read_text()
    row = next(row for row in unit.splitlines() if row.startswith("ExecStopPost="))
    row = row.removeprefix("ExecStopPost=-").replace("$$", "$").replace("${MOUNTPOINT}", str(person.mountpoint))
    environment = {**person.how()["env"], "SERVICE_RESULT": result}
    subprocess.run(
        shlex.split(row), check=True, capture_output=True, timeout=SECONDS, **{**person.how(), "env": environment}
    )
    assert (person.json("status")["state"] == "dead") is dead


def test_a_manager_that_does_not_listen_holds_nobody_up(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue of such a socket is short; a send that waited would hold up the mount for ever (seen)."""
    path = person.home / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(path))
        sent = [notify(WATCHDOG="1") for _ in range(1000)]
        assert sent[0]
        assert not sent[-1]
        assert notify(STOPPING="1") is False, "after a moment"
