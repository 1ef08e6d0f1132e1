"""Checks of doctor on plain directories and made-up facts: what cannot be brought about on a mount in seconds."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from vaultfs.agents.doctor import machine, paths, remote, states, sync
from vaultfs.agents.doctor.examining import CHECKS, examine
from vaultfs.agents.doctor.finding import Severity
from vaultfs.agents.doctor.scene import Scene
from vaultfs.agents.profiles import profiles
from vaultfs.daemon.card import Card
from vaultfs.daemon.paths import places
from vaultfs.daemon.presence import DrivenFact, DriverFact, LeaseFact
from vaultfs.daemon.status import FuseFact, HealthFact, OpenFact, Status
from vaultfs.daemon.sync_status import (
    AlarmFact,
    CommitFact,
    HoldFact,
    PathFact,
    PeerFact,
    PendingFact,
    SyncFact,
    TroubleFact,
)
from vaultfs.daemon.text import instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultfs.agents.doctor.finding import Finding

OTHER = bytes(15) + b"\1"


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    home, mountpoint = tmp_path / "home", tmp_path / "vault"
    home.mkdir()
    mountpoint.mkdir()
    monkeypatch.setenv("HOME", str(home))
    here = places({"HOME": str(home)})
    environ = {"HOME": str(home), "PATH": os.environ["PATH"]}
    status = Status(vault="default", state="mounted", mountpoint=str(mountpoint), sync=SyncFact())
    known = profiles(here)
    return Scene(here, here.vault("default"), status, "", True, environ, known, {}, str(mountpoint))


def told(check: Callable[[Scene], Iterator[Finding]], scene: Scene) -> list[tuple[str, str]]:
    """Severity and sentence of what is not well."""
    return [(one.severity, one.text) for one in check(scene) if one.severity not in {Severity.OK, Severity.NOTE}]


def only(scene: Scene, *names: str) -> None:
    scene.agents = {name: scene.agents[name] for name in names}


def test_state_outside_of_the_vault(scene: Scene) -> None:
    only(scene, "hermes")
    home, target = Path(scene.environ["HOME"]), Path(scene.mountpoint, "hermes")
    ((severity, text),) = told(states.outside, scene)
    assert (severity, "not in the vault" in text) == ("problem", True)
    target.mkdir()
    ((severity, text),) = told(states.outside, scene)
    assert (severity, "no link" in text) == ("warning", True)
    state = home / ".hermes"
    state.mkdir()
    (state / "state.db").touch()
    ((severity, text),) = told(states.outside, scene)
    assert (severity, str(state) in text) == ("problem", True)
    scene.environ = {**scene.environ, "HERMES_HOME": str(target)}
    ((severity, text),) = told(states.outside, scene)
    assert (severity, "older state" in text) == ("warning", True)
    scene.environ = {**scene.environ, "HERMES_HOME": "/elsewhere"}
    ((severity, text),) = told(states.outside, scene)
    assert (severity, "/elsewhere" in text) == ("problem", True)
    (state / "state.db").unlink()
    state.rmdir()
    state.symlink_to(target)
    scene.environ = {"HOME": str(home)}
    assert told(states.outside, scene) == []


def test_pid_files_whose_process_is_gone_or_another_machines(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    only(scene, "hermes")
    target = Path(scene.mountpoint, "hermes")
    target.mkdir()
    (target / "gateway.pid").write_text(f'{{"pid": {os.getpid()}}}')
    (target / "cron.pid").write_text("4194305\n")  # beyond what Linux gives out
    (target / "Cargo.lock").write_text("[[package]] 12\n" * 100)
    (target / "empty.lock").touch()
    (target / "SingletonLock").write_text(str(os.getpid()))
    writers = {"SingletonLock": ("desktop", OTHER.hex())}

    def attribute(path: str, _: str) -> bytes:
        device, name = writers.get(os.path.basename(path), ("here", ""))
        return msgspec.json.encode({"device": device, "deviceId": name})

    monkeypatch.setattr(os, "getxattr", attribute)
    assert sorted(text.rpartition("/")[2] for _, text in told(states.leftovers, scene)) == [
        f"SingletonLock names process {os.getpid()} of desktop, not of this machine.",
        "cron.pid names process 4194305, which is gone.",
    ]


def test_paths_that_differ(scene: Scene, tmp_path: Path) -> None:
    only(scene, "codex", "claude")
    gone, there = str(tmp_path / "gone"), str(tmp_path)
    scene.cards = {OTHER: Card(label="desktop", mountpoint="/home/other/vault", projects=[there, gone])}
    ((severity, text),) = told(paths.mountpoint, scene)
    assert severity == "problem"
    assert text.startswith("desktop has the vault at /home/other/vault")
    only(scene, "claude")
    assert told(paths.mountpoint, scene)[0][0] == "warning"
    project = Path(scene.mountpoint, "claude/projects/-x")
    project.mkdir(parents=True)
    (project / "1.jsonl").write_text('{"type":"summary"}\n{"cwd":"/no/such\\u0020place","type":"user"}\n')
    said = [text for _, text in told(paths.projects, scene)]
    assert [gone in said[0], "Claude Code has sessions of /no/such place" in said[1], len(said)] == [True, True, 2]


def test_codex_sessions_at_other_paths(scene: Scene) -> None:
    only(scene, "codex")
    target = Path(scene.mountpoint, "codex")
    target.mkdir()
    link = Path(scene.environ["HOME"], ".codex")
    link.symlink_to(target)
    with sqlite3.connect(target / "state_5.sqlite") as database:
        database.execute("CREATE TABLE threads(rollout_path TEXT)")
        rows = [(f"{target}/sessions/1.jsonl",), (f"{link}/sessions/2.jsonl",)]
        database.executemany("INSERT INTO threads VALUES(?)", rows)
    assert told(paths.codex, scene) == []
    with database:
        database.execute("INSERT INTO threads VALUES('/Users/other/vault/codex/sessions/3.jsonl')")
    database.close()
    (found,) = paths.codex(scene)
    assert found.severity == "problem"
    assert found.text.startswith("1 of 3 sessions")
    assert found.mend == f"mkdir -p /Users/other/vault && ln -s {target} /Users/other/vault/codex"


def test_what_status_knows(scene: Scene) -> None:
    only(scene, "hermes")
    now = time.time()
    driver = DriverFact(OTHER.hex(), "desktop", instant(now - 5), [PathFact("hermes/state.db")])
    scene.status = Status(
        vault="default",
        state="mounted",
        mountpoint=scene.mountpoint,
        open_for_writing=[OpenFact("hermes/state.db", 1, instant(now))],
        driving=[DrivenFact("hermes", "hermes", [driver])],
        leases=[LeaseFact("", OTHER.hex(), "desktop", False, instant(now), instant(now + 60))],
        health=HealthFact(False, ["the disk is full"]),
        sync=SyncFact(
            root="x",
            trouble=TroubleFact("permission", "No."),
            devices=[PeerFact(id=OTHER.hex(), label="desktop", last=CommitFact(3, instant(now + 300)), waiting=True)],
            pending=PendingFact(files=2, bytes=10),
            holds=[HoldFact("hermes/x", [123])],
            conflicts=2,
            alarms=[AlarmFact("rollback", "It went back")],
        ),
    )
    found = {
        (one.check, str(one.severity)): one
        for check in (machine.clock, sync.mount, sync.pending, sync.conflicts, sync.driving)
        for one in check(scene)
        if one.severity not in {Severity.OK, Severity.NOTE}
    }
    assert set(found) == {
        ("clock", "warning"), ("health", "problem"), ("remote", "problem"), ("pending", "warning"),
        ("holds", "warning"), ("conflicts", "warning"), ("alarms", "problem"), ("driving", "problem"),
        ("leases", "warning"),
    }  # fmt: skip
    assert found["holds", "warning"].mend == "kill 123"
    assert found["driving", "problem"].agent == "hermes"
    scene.status.open_for_writing = []
    assert told(sync.driving, scene)[0][0] == "warning", "open there alone is no problem"
    scene.status = msgspec.structs.replace(scene.status, state="dead", health=HealthFact())
    assert told(sync.mount, scene)[0][0] == "problem"


def test_a_remote_that_refuses(scene: Scene, tmp_path: Path) -> None:
    scene.local = False
    scene.remote = str(tmp_path / "none")
    (first, *_) = told(remote.remote, scene)
    assert first[0] == "problem"
    place = tmp_path / "remote"
    place.mkdir()
    scene.remote = str(place)
    assert told(remote.remote, scene) == []
    assert not [path for path in place.rglob("*") if path.is_file()], "nothing is left there"
    scene.remote = ""
    assert told(remote.remote, scene)[0][0] == "warning"


def test_without_fuse_and_rclone_and_room(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_DEVICE", "/dev/none")
    assert told(machine.fuse, scene)[0][0] == "problem"
    monkeypatch.setattr(machine, "LOW_SPACE", 1 << 60)
    assert told(machine.room, scene)[0][0] == "problem"
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("vaultfs.remote.program.NEEDED", (99, 0))
    scene.remote = "s3:bucket"
    assert told(machine.rclone, scene)[0][0] == "problem"


def test_a_check_that_fails_stops_no_other(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Scene) -> Iterator[Finding]:
        raise OSError(5, "Input/output error")

    monkeypatch.setitem(CHECKS, "fuse", broken)
    begun: list[str] = []
    found = list(examine(scene, begun.append))
    assert begun == list(CHECKS)
    assert found[0].check == "fuse"
    assert "Input/output error" in found[0].text


@pytest.mark.parametrize(
    ("halts", "wakes", "told_so"),
    [
        ("0", "/dev/cpu_dma_latency: Permission denied", True),
        ("0", "yes", False),
        ("200000", "/dev/cpu_dma_latency: Permission denied", False),
        (None, "/dev/cpu_dma_latency: Permission denied", False),
        ("0", "", False),
        ("0", "switched off", False),
    ],
)
def test_a_processor_that_is_halted_between_requests(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, halts: str | None, wakes: str, told_so: bool
) -> None:
    monkeypatch.setattr(machine, "POLLING", tmp_path / "polling")
    if halts is not None:
        (tmp_path / "polling").write_text(halts)
    assert scene.status is not None
    scene.status = msgspec.structs.replace(scene.status, fuse=FuseFact("handshake", "", "both", quick_wakes=wakes))
    found = list(machine.wakes(scene))
    assert [one.severity for one in found] == [Severity.NOTE] * told_so
    assert all("Permission denied" in one.text and "setfacl" in (one.mend or "") for one in found)
