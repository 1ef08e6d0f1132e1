"""A used state directory goes into the vault and comes out again, byte for byte; what is in use is refused."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.adopting.used import LOCAL, turns, whole
from tests.machines_mounted.desk import Desk, differences
from vaultfs.agents.profiles import profiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.adopting.used import Used


def refused(home: Desk, code: int, *arguments: str) -> str:
    done = home.run(*arguments, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_there_and_back(home: Desk, hermes: Path) -> None:
    before = whole(hermes)
    planned = home.json("adopt", "hermes", "--dry-run", "--no-follow")
    assert planned["dry_run"]
    assert planned["how"] == "copied"
    assert whole(hermes) == before
    assert os.listdir(home.mountpoint) == [], "a dry run changes nothing"

    done = home.json("adopt", "hermes", "--no-follow")
    assert {item["path"]: item["detail"] for item in done["left"]} == {"pipe": "a FIFO", "control.sock": "a socket"}
    assert set(LOCAL) <= set(done["stays"])
    assert done["stays"] == planned["stays"]
    assert any("absolute" in note for note in done["notes"])
    there = home.path("hermes")
    assert hermes.is_symlink()
    assert hermes.readlink() == there
    assert differences(before, whole(there)) == []
    aside = home.home / os.path.basename(done["aside"])
    assert aside.name.startswith(".hermes.before-vaultfs-")
    assert differences(before, whole(aside)) == []
    assert {"pipe", "control.sock"} <= set(os.listdir(aside)), "the old directory is as it was, whole"
    assert (there / "sparse.db").stat().st_blocks * 512 < 1 << 20
    assert turns(there / "state.db") == 200
    again = home.json("adopt", "hermes", "--no-follow")
    assert (again["how"], again["aside"]) == ("already", None)

    # what the agent does now, it does in the vault
    (hermes / "sessions/new.jsonl").write_text("one\n")
    now = whole(there)
    back = home.json("unadopt", "hermes")
    assert not hermes.is_symlink()
    assert differences(now, whole(hermes)) == []
    assert not back["removed"]
    assert "/hermes/**/auth.json" in (home.mountpoint / ".vaultignore").read_text(), "the vault's copy keeps its rules"
    assert sorted(name for name in os.listdir(home.home) if "vaultfs-" in name) == [aside.name]


def test_unadopt_and_remove(home: Desk, hermes: Path) -> None:
    before = whole(hermes)
    (home.mountpoint / ".vaultignore").write_text("*.mine\n")
    home.run("adopt", "hermes")
    assert home.json("adopt", "--list")[3]["linked"]
    done = home.json("unadopt", "hermes", "--remove")
    assert done["removed"]
    assert done["rules_removed"]
    assert not home.path("hermes").exists()
    assert "hermes" not in (home.mountpoint / ".vaultignore").read_text()
    assert (home.mountpoint / ".vaultignore").read_text().startswith("*.mine\n")
    found = whole(hermes)
    added = {name for name in found if name not in before}
    assert all(name.split("/")[0] in {"skills", "memories", "SOUL.md"} for name in added)
    old = {name: what for name, what in found.items() if name in before}
    assert differences(before, old) == []
    assert "104" in str(refused(home, 104, "unadopt", "hermes", "--json"))


def test_without_a_link(home: Desk, hermes: Path) -> None:
    before = whole(hermes)
    done = home.run("adopt", "hermes", "--no-link", "--no-follow")
    assert f"export HERMES_HOME={home.path('hermes')}" in done.stdout
    assert not hermes.is_symlink()
    assert whole(hermes) == before
    assert differences(before, whole(home.path("hermes"))) == []


def test_an_agent_that_we_do_not_know_is_one_command(home: Desk, used: Used) -> None:
    place = home.home / "robots"
    os.rename(used.top, place)
    before = whole(place)
    home.run("adopt", "--dir", str(place), "--env", "ROBOT_HOME", "robot")
    assert differences(before, whole(home.path("robot"))) == []
    assert (home.home / ".config/vaultfs/agents/robot.toml").exists()
    found = [one for one in home.json("adopt", "--list") if one["agent"] == "robot"]
    assert found[0]["linked"]
    assert "/robot/**/auth.json" in (home.mountpoint / ".vaultignore").read_text()
    home.run("unadopt", "robot")
    assert differences(before, whole(place)) == []


def test_what_is_not_there_is_said(home: Desk) -> None:
    assert ".hermes" in refused(home, 102, "adopt", "hermes")
    assert "codex, eliza" in refused(home, 100, "adopt", "hermas")
    assert "adopt --list" in refused(home, 2, "adopt")
    assert [one["found"] for one in home.json("adopt", "--list")] == [False] * len(profiles())
    unmounted = Desk(home.home, data=home.home / "no-vault")
    (home.home / ".hermes").mkdir()
    assert "vaultfs mount ~/agent-vault" in refused(unmounted, 105, "adopt", "hermes")
    assert [one["in_vault"] for one in unmounted.json("adopt", "--list")] == [None] * len(profiles())


@pytest.fixture
def holder() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of a test, ended after it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait(20)


IDLE = "import sys; print(flush=True); sys.stdin.read()"


def start(holder: list[subprocess.Popen[bytes]], *words: str, **more: Any) -> subprocess.Popen[bytes]:
    """A process that says a line when it is ready, and stays."""
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more)
    holder.append(process)
    assert process.stdout
    assert process.stdout.readline() == b"\n"
    return process


def test_a_running_agent_is_refused(home: Desk, hermes: Path, holder: list[subprocess.Popen[bytes]]) -> None:
    before = whole(hermes)
    using = (
        "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('INSERT INTO turns VALUES (1)'); "
        "print(flush=True); sys.stdin.read()"
    )
    copy = home.home / "copy.db"
    shutil.copy(hermes / "state.db", copy)
    started = [
        start(holder, sys.executable, "-c", IDLE, cwd=hermes / "sessions"),
        start(holder, sys.executable, "-c", using, str(hermes / "state.db")),
    ]
    for process in started:
        assert f"pid {process.pid} " in refused(home, 101, "adopt", "hermes")
        process.kill()
        process.wait(20)
    # nothing open: known by its name and HOME; another HOME is another machine
    program = home.home / "hermes"
    program.write_text(f"#!{sys.executable}\n{IDLE}\n")
    program.chmod(0o755)
    elsewhere = start(holder, str(program), env={"HOME": "/nowhere"})
    named = start(holder, str(program), env={"HOME": str(home.home)})
    text = refused(home, 101, "adopt", "hermes")
    assert f"pid {named.pid} " in text
    assert str(elsewhere.pid) not in text
    named.kill()
    named.wait(20)
    set_ = start(holder, str(program), env={"HOME": "/nowhere", "HERMES_HOME": str(hermes)})
    (hermes / "gateway.pid").write_text(f'{{"pid": {set_.pid}}}')
    assert f"pid {set_.pid}, as gateway.pid says" in refused(home, 101, "adopt", "hermes")
    set_.kill()
    set_.wait(20)
    # nobody any more; the number in the pid file is another process's
    (hermes / "gateway.pid").write_text(str(os.getpid()))
    assert whole(hermes).keys() >= before.keys()
    assert not home.path("hermes").exists()
    home.run("adopt", "hermes")
    assert turns(home.path("hermes/state.db")) == 200
    with closing(sqlite3.connect(home.path("hermes/state.db"))) as database, database:
        database.execute("INSERT INTO turns VALUES ('in the vault')")
    user = start(holder, sys.executable, "-c", using, str(hermes / "state.db"))
    assert f"pid {user.pid} " in refused(home, 101, "unadopt", "hermes")
    user.send_signal(signal.SIGKILL)
    user.wait(20)
    home.run("unadopt", "hermes")
    assert turns(hermes / "state.db") == 201


def test_a_socket_in_the_vault_is_left_too(home: Desk, hermes: Path) -> None:
    home.run("adopt", "hermes", "--no-follow")
    held = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(hermes)
    try:
        held.bind("new.sock")
    finally:
        os.chdir(here)
    held.close()
    done = home.json("unadopt", "hermes")
    assert [item["path"] for item in done["left"]] == ["new.sock"]
