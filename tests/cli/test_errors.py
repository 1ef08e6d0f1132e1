"""Everything that can go wrong has its own sentence and exit code, and is never a traceback."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.support.driver import is_mounted, wait_gone

if TYPE_CHECKING:
    from tests.cli.person import Person

pytestmark = pytest.mark.fuse


def test_second_mount_of_the_same_vault(mounted: Person) -> None:
    assert str(mounted.mountpoint) in mounted.fails(30, "mount", "elsewhere")
    assert not (mounted.home / "elsewhere").exists()
    mounted.fails(30, "mount", "agent-vault")


def test_second_vault_at_the_same_place(mounted: Person) -> None:
    said = mounted.fails(32, "mount", "agent-vault", "--vault", "other", "--yes")
    assert "mounted there already" in said
    assert mounted.run("status", "--vault", "other").returncode == 10, "no vault is made for a bad mount point"


def test_mount_point_not_empty(anybody: Person) -> None:
    anybody.ok("init", "--yes")
    (anybody.home / "full").mkdir()
    (anybody.home / "full/file").touch()
    assert str(anybody.home / "full") in anybody.fails(31, "mount", "full")
    assert (anybody.home / "full/file").exists()


@pytest.mark.parametrize("place", ["file", "no/such/parent", "file/below"])
def test_mount_point_that_cannot_be_one(owner: Person, place: str) -> None:
    (owner.home / "file").touch()
    owner.fails(32, "mount", place)


def test_missing_helper_of_an_ordinary_user(anybody: Person) -> None:
    if anybody.uid == 0:
        pytest.skip("root needs no fusermount3")
    anybody.ok("init", "--yes")
    anybody.environment = {"PATH": str(anybody.home)}
    assert "fusermount3" in anybody.fails(33, "mount", "agent-vault")


def test_unknown_mount_option(owner: Person) -> None:
    assert "shiny" in owner.fails(2, "mount", "agent-vault", "-o", "ro,shiny")


def test_busy_says_who(mounted: Person) -> None:
    with mounted.hold("held") as holder:
        try:
            said = mounted.fails(35, "umount", "--timeout", "0")
            assert f"sleep (pid {holder.pid})" in said
            assert is_mounted(mounted.mountpoint)
            listed = mounted.json("status")["open_for_writing"]
            assert [(item["path"].lstrip("/"), item["pid"]) for item in listed] == [("held", holder.pid)]
            assert "held" in mounted.ok("status")
            waiting = mounted.start("umount", "--timeout", "60")
            with pytest.raises(subprocess.TimeoutExpired):
                waiting.wait(1)
        finally:
            holder.kill()
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, err
    assert "everything is saved" in out
    assert not is_mounted(mounted.mountpoint)


@pytest.mark.slow
def test_force_takes_it_away_from_open_files(person: Person) -> None:
    person.mount()
    with person.hold("held", "kept") as holder:
        try:
            person.ok("umount", "--force")
            assert not is_mounted(person.mountpoint)
            assert person.json("status")["state"] == "unmounted"
        finally:
            holder.kill()
    assert "After a crash" not in person.mount()
    assert person.read("held") == "kept"


def test_daemon_that_does_not_answer(owner: Person) -> None:
    owner.mount()
    pid = owner.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        facts = owner.json("status")
        assert facts["state"] == "mounted"
        assert "does not answer" in facts["health"]["problems"][0]
    finally:
        os.kill(pid, signal.SIGCONT)
    owner.ok("umount")


def test_sigterm_unmounts_cleanly(mounted: Person) -> None:
    pid = mounted.pid()
    os.kill(pid, signal.SIGTERM)
    wait_gone(pid)
    assert not is_mounted(mounted.mountpoint)
    assert "After a crash" not in mounted.mount()


def test_vault_in_use_by_another_command(owner: Person) -> None:
    with (owner.vault / "lock").open("w+") as lock:
        lock.write('{"purpose": "check", "pid": 4711}')
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "4711" in owner.fails(35, "mount", "agent-vault")
        assert owner.json("status")["state"] == "busy"
    owner.mount()
    owner.ok("umount")


def test_errors_are_json_where_json_was_asked_for(owner: Person) -> None:
    said = owner.fails(34, "umount", "nowhere", "--json")
    assert msgspec.json.decode(said) == {
        "error": "NotMountedError",
        "message": "nowhere is not mounted.",
        "exit_code": 34,
    }
    assert msgspec.json.decode(owner.fails(2, "status", "--json", "--what"))["error"] == "UsageError"
    owner.environment = {"VAULTFS_JSON": "1"}
    assert msgspec.json.decode(owner.fails(10, "status", "--vault", "none"))["error"] == "NoVaultError"


def test_ctrl_c_at_a_question(person: Person) -> None:
    code, _ = person.at_terminal("init", answers=[("Make the vault", "\x03")])
    assert code == 130
    code, _ = person.at_terminal("init", answers=[("Make the vault", "\x04")])
    assert code == 130


def test_ctrl_c_while_waiting(mounted: Person) -> None:
    with mounted.hold("held") as holder:
        try:
            code, screen = mounted.at_terminal("umount", answers=[("Waiting for", "\x03")])
            assert code == 130, screen
            assert is_mounted(mounted.mountpoint)
        finally:
            holder.kill()


def test_reader_that_goes_away(owner: Person) -> None:
    for arguments in (["status", "--json"], ["config", "list"], ["completion", "bash"]):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            owner.command(*arguments), stdout=writing, stderr=subprocess.PIPE, text=True, check=False, **owner.how()
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (141, ""), arguments


def test_unforeseen_errors_are_a_sentence_and_a_log_without_names(owner: Person) -> None:
    """A fault put into a copy of the program: an exception that carries a file's name."""
    packages = owner.home / "fault"
    packages.mkdir()
    (packages / "sitecustomize.py").write_text(
        "import vaultfs.daemon.status as s\n"
        "def broken(*a): raise RuntimeError('secret-name.txt')\n"
        "s.versions = broken\n"
    )
    path = f"{packages}:{owner.how()['env']['PYTHONPATH']}"
    done = owner.run("version", env={**owner.how()["env"], "PYTHONPATH": path})
    assert done.returncode == 1, done.stderr
    log = owner.home / ".local/state/vaultfs/vaultfs.log"
    assert str(log) in done.stderr
    assert "RuntimeError" in log.read_text()
    assert not re.search("secret-name", log.read_text() + done.stderr)
    assert log.stat().st_mode & 0o777 == 0o600


def test_settings_directory_that_cannot_be_read(anybody: Person) -> None:
    if anybody.uid == 0:
        pytest.skip("root reads everything")
    anybody.ok("config", "set", "read_only", "true")
    (anybody.home / ".config/vaultfs").chmod(0)
    try:
        anybody.fails(60, "config", "list")
    finally:
        (anybody.home / ".config/vaultfs").chmod(0o700)


def test_no_home_at_all(person: Person) -> None:
    """As a system unit of systemd runs: the user database says where home is."""
    environment = {name: value for name, value in person.how()["env"].items() if name != "HOME"}
    done = person.run("config", "get", "vault", env=environment)
    assert (done.returncode, done.stdout) == (0, "default\n")


def test_disappearing_working_directory(person: Person) -> None:
    gone = person.home / "gone"
    gone.mkdir()
    script = 'cd "$0" && rmdir "$0" && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, str(gone), *person.command("mount", "relative", "--yes")],
        capture_output=True, text=True, check=False, **person.how(),
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_a_stuck_daemon_is_not_waited_for_for_ever(owner: Person) -> None:
    owner.mount()
    pid = owner.pid()
    with owner.hold("held", "dirty" * 1000) as holder:
        os.kill(pid, signal.SIGSTOP)
        try:
            holder.kill()
            holder.wait()
            done = owner.run("umount", "--timeout", "1")
            assert done.returncode in {36, 40}, done.stderr
        finally:
            os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + 60
    while owner.json("status")["state"] != "unmounted" and time.monotonic() < deadline:
        owner.run("umount")
    owner.mount()
    assert owner.read("held") == "dirty" * 1000
    owner.ok("umount")


def test_a_daemon_that_is_killed_while_unmounting_is_told(owner: Person) -> None:
    owner.mount()
    with owner.hold("held", "kept") as holder:

        def both_end() -> None:
            owner.kill()
            holder.kill()

        code, screen = owner.at_terminal("umount", answers=[("Waiting for", both_end)])
    assert code == 40, screen
    assert "replays its journal" in " ".join(screen.split())
    assert "After a crash" in owner.mount()
    assert owner.read("held") == "kept"
    owner.ok("umount")
