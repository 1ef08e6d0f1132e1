"""The daemon from outside: its control socket, its log, what it keeps to itself, the lock, the service manager."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import ROOT
from tests.cli.person import ORDINARY, Person, program, wait_until
from tests.support.driver import is_mounted, wait_gone
from vaultfs.daemon.paths import places

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.fuse


@pytest.fixture
def mounted(person: Person) -> Iterator[Person]:
    """Somebody with a mounted vault."""
    person.mount()
    yield person
    person.run("umount")


def socket_of(person: Person) -> Path:
    return places({"HOME": str(person.home)} | person.environment).vault("default").socket


def talk(person: Person, request: bytes, *, half: bool = False) -> bytes:
    """Send raw bytes to the control socket and read until it closes."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(socket_of(person)))
        try:
            client.sendall(request)
            if not half:
                client.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass
        answer = b""
        try:
            while data := client.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
        return answer


def test_status_over_http(mounted: Person) -> None:
    answer = talk(mounted, b"GET /status HTTP/1.1\r\nHost: vaultfs\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body)["state"] == "mounted"
    assert talk(mounted, b"POST /sync HTTP/1.1\r\nHost: v\r\nContent-Length: 0\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\nHost: v\r\n\r\n", 404),
        (b"DELETE /status HTTP/1.1\r\nHost: v\r\n\r\n", 405),
        (b"POST /check HTTP/1.1\r\nHost: v\r\nContent-Length: 3\r\n\r\n{x}", 400),
        (b"POST /sync HTTP/1.1\r\nHost: v\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70000, 413),
        (b"GET /status HTTP/1.1\r\nHost: v\r\nX: " + b"x" * 40000 + b"\r\n\r\n", 431),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_bad_requests_are_refused_and_the_next_is_answered(mounted: Person, request_bytes: bytes, status: int) -> None:
    assert talk(mounted, request_bytes).startswith(f"HTTP/1.1 {status}".encode())
    assert mounted.json("status")["state"] == "mounted"


def test_clients_that_stop_halfway_cost_nothing(mounted: Person) -> None:
    clients = [socket.socket(socket.AF_UNIX) for _ in range(12)]
    for client in clients:
        client.connect(str(socket_of(mounted)))
        client.sendall(b"GET /sta")
    assert mounted.json("status")["health"]["ok"] is True, "there are slots left"
    clients[0].settimeout(30)
    assert clients[0].recv(100) == b"", "and after a while they are closed"
    for client in clients:
        client.close()


def test_the_socket_is_for_its_owner(mounted: Person) -> None:
    path = socket_of(mounted)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    if not ROOT:
        pytest.skip("needs root")
    # Even if the modes were opened: the daemon asks the kernel who is there.
    for above in [path, *path.parents]:
        if mounted.home in (above, *above.parents):
            above.chmod(0o777)
    script = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(20)
try: s.sendall(b"GET /status HTTP/1.1\\r\\nHost: v\\r\\n\\r\\n"); print(len(s.recv(1000)))
except (BrokenPipeError, ConnectionResetError): print(0)
"""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", script, str(path)],
        user=ORDINARY, group=ORDINARY, extra_groups=[], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "0\n"


def test_long_runtime_directory(person: Person) -> None:
    deep = person.home / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    person.environment = {"VAULTFS_RUNTIME_DIR": str(deep)}
    person.mount()
    assert person.json("status")["device"] is not None, "that is only known from the daemon"
    person.ok("umount")
    assert not list(deep.iterdir())


def test_runtime_directory_of_another_user_is_not_used(person: Person, base: Path) -> None:
    if not ROOT:
        pytest.skip("needs root")
    strange = base / "strange"
    strange.mkdir(mode=0o777)
    os.chown(strange, ORDINARY, ORDINARY)
    person.environment = {"XDG_RUNTIME_DIR": str(strange)}
    person.mount()
    assert not list(strange.iterdir())
    person.ok("umount")
    person.environment = {"VAULTFS_RUNTIME_DIR": str(strange)}
    assert "another user" in person.fails(60, "mount", "agent-vault")


def test_runtime_directory_that_is_removed_meanwhile(mounted: Person) -> None:
    """As systemd does at the last log-out: status says so, and unmounting works without the socket."""
    socket_of(mounted).unlink()
    assert "does not answer" in mounted.json("status")["health"]["problems"][0]
    mounted.ok("umount")
    assert not is_mounted(mounted.mountpoint)


def test_what_the_daemon_keeps_to_itself(mounted: Person) -> None:
    pid = mounted.pid()
    process = Path(f"/proc/{pid}")
    secret = json.loads(mounted.key_file.read_text())
    seed = bytes(secret[:32])
    assert (process / "environ").stat().st_uid == 0, "not dumpable: even its own user may not look inside"
    seen = [(process / "cmdline").read_bytes()]
    if os.geteuid() == 0:
        seen.append((process / "environ").read_bytes())
        assert str((process / "cwd").readlink()) == "/"
        assert str((process / "fd/0").readlink()) == "/dev/null"
        assert (process / "fd/2").readlink().name == "default.log"
    for content in seen:
        assert seed not in content
        assert seed.hex().encode() not in content
    limits = (process / "limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    status = (process / "status").read_text()
    assert "Umask:\t0077" in status
    assert os.getsid(pid) not in {os.getsid(0), pid}, "no session leader, not in ours"


def test_the_log_has_no_names(mounted: Person) -> None:
    mounted.write("telltale", "telltale content")
    mounted.ok("umount")
    log = mounted.home / ".local/state/vaultfs/default.log"
    assert log.stat().st_mode & 0o777 == 0o600
    assert "mounted" in log.read_text()
    assert "telltale" not in log.read_text()


def test_the_log_is_bounded_and_exceptions_in_it_are_discreet(tmp_path: Path) -> None:
    program = f"""
import logging, os
from pathlib import Path
from vaultfs.daemon import log
log.start(Path({str(tmp_path / "x.log")!r}), level="info", size=4096, adopt=True)
for number in range(200):
    try: open("/telltale")
    except OSError: logging.exception("it failed")
print("to stdout", flush=True)
os.write(2, b"to stderr")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    logs = sorted(tmp_path.iterdir())
    assert [log.name for log in logs] == ["x.log", "x.log.1"]
    assert all(0 < log.stat().st_size <= 4096 + 100 for log in logs)
    text = logs[0].read_text()
    assert "builtins.FileNotFoundError errno 2" in text
    assert "telltale" not in text
    assert "to stdout" in text
    assert "to stderr" in text


def test_two_at_once(person: Person) -> None:
    """Of two mounts started together one wins and the other says so."""
    person.ok("init", "--yes")
    both = [person.start("mount", name) for name in ("one", "two")]
    codes = sorted(process.wait(90) for process in both)
    for process in both:
        process.communicate()
    assert codes == [0, 30]
    person.ok("umount")


def test_status_beside_a_mount_never_spoils_it(person: Person) -> None:
    """Asking who holds the lock takes it for an instant; a mount just then must not be refused."""
    person.ok("init", "--yes")
    stop = threading.Event()

    def ask() -> None:
        from vaultfs.daemon.lock import holder_of  # noqa: PLC0415

        vault = places({"HOME": str(person.home)}).vault("default")
        while not stop.is_set():
            holder_of(vault)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for _ in range(3):
            person.mount()
            person.ok("umount")
    finally:
        stop.set()
        asker.join()


def test_foreground_until_ctrl_c(person: Person) -> None:
    person.ok("init", "--yes")
    process = person.start("mount", "agent-vault", "--foreground")
    try:
        assert process.stdout
        assert "is at ~/agent-vault" in process.stdout.readline()
        assert person.json("status")["pid"] == process.pid
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert not is_mounted(person.mountpoint)
        assert person.json("status")["state"] == "unmounted"
    finally:
        process.kill()
        process.wait()


def test_the_service_manager_hears_when_it_is_ready(person: Person) -> None:
    """Type=notify: READY=1 comes when the mount answers, not before."""
    person.ok("init", "--yes")
    path = person.home / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(60)
        person.environment = {"NOTIFY_SOCKET": str(path)}
        process = person.start("mount", "agent-vault", "--foreground")
        try:
            assert b"READY=1" in manager.recv(1000)
            assert os.statvfs(person.mountpoint).f_bsize > 0
            assert is_mounted(person.mountpoint)
            process.terminate()
            assert b"STOPPING=1" in manager.recv(1000)
            process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0


def test_mount_answers_when_the_command_returns(person: Person) -> None:
    person.mount()
    assert os.statvfs(person.mountpoint).f_bsize > 0
    person.ok("umount")
    # And the lock is free when `umount` returns, so the next mount can come at once.
    for _ in range(3):
        person.mount()
        person.ok("umount")


def test_ctrl_c_while_the_daemon_starts_leaves_nothing(person: Person) -> None:
    person.ok("init", "--yes")
    for delay in (0.3, 0.4, 0.5):
        process = person.start("mount", "agent-vault")
        time.sleep(delay)  # the moment does not matter; the end result does
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        if process.returncode == 0:
            person.ok("umount")
            continue
        assert process.returncode in {130, -signal.SIGINT}, said
        wait_until(lambda: person.json("status")["state"] == "unmounted", "it is not unmounted")
        assert not is_mounted(person.mountpoint)


def test_ctrl_c_while_the_daemon_is_just_mounting_leaves_no_dead_mount(base: Path) -> None:
    """As an ordinary user, whose mounts a helper makes: it goes on, whatever becomes of who called it."""
    person = Person(base / "home", ORDINARY if ROOT else os.geteuid())
    if program(person.uid) is None:
        pytest.skip(f"user {person.uid} cannot run this Python")
    real, helper, begun = shutil.which("fusermount3"), base / "bin" / "fusermount3", person.home / "begun"
    helper.parent.mkdir(mode=0o755)
    helper.write_text(f'#!/bin/sh\n: > {begun}\nsleep 0.5\nexec {real} "$@"\n')
    helper.chmod(0o755)
    person.environment["PATH"] = f"{helper.parent}:{os.environ['PATH']}"
    person.ok("init", "--yes")
    process = person.start("mount", "agent-vault")
    wait_until(begun.exists, "the helper did not begin")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in {130, -signal.SIGINT}, said
    begun.unlink()
    wait_until(lambda: person.json("status")["state"] == "unmounted", "a dead mount was left behind")
    assert not is_mounted(person.mountpoint)
    person.leave()


def test_a_daemon_that_dies_while_starting_is_told(person: Person) -> None:
    """A store that kills the process that opens it: here by a limit on its memory."""
    person.ok("init", "--yes")
    packages = person.home / "fault"
    packages.mkdir()
    (packages / "sitecustomize.py").write_text(
        "import vaultfs.tree as t, os, signal\n"
        "def deadly(*a, **k): os.kill(os.getpid(), signal.SIGKILL)\n"
        "t.open_store = deadly\n"
    )
    environment = person.how()["env"]
    path = f"{packages}:{environment['PYTHONPATH']}"
    said = person.fails(37, "mount", "agent-vault", env={**environment, "PYTHONPATH": path})
    assert "default.log" in said
    assert not person.mountpoint.exists()
    person.mount()
    person.ok("umount")


def test_nobody_is_left_of_a_killed_daemon(mounted: Person) -> None:
    pid = mounted.pid()
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    assert mounted.json("status")["state"] == "dead"
    mounted.mount()
    assert mounted.json("status")["health"]["ok"] is True


def test_status_watch(mounted: Person) -> None:
    process = mounted.start("status", "--watch", "--json", "--interval", "0.1")
    assert process.stdout
    looks = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=90)
    assert {look["state"] for look in looks} == {"mounted"}
    assert process.returncode == 0
