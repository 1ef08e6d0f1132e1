"""Killed, interrupted, a full disk, a file that changes: the original is whole, and the next run finishes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.adopting.used import whole
from tests.machines_mounted.desk import Desk, differences
from tests.support.driver import REPOSITORY
from vaultfs.agents import adopting, leaving, looking
from vaultfs.agents.profiles import profile
from vaultfs.errors import AdoptError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.adopting.used import Used

STEPS = ("rules", "copying", "verifying", "place", "exchange", "exchanged")
BACK = ("copying", "exchange", "exchanged", "remove")


def strike(home: Desk, what: str, step: str, how: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.adopting.killed", what, step, how, str(home.mountpoint), str(home.home)]
    return subprocess.run(words, cwd=REPOSITORY, env=home.environ(), capture_output=True, text=True, check=False)


def adopt(home: Desk) -> adopting.Outcome:
    environ = {"HOME": str(home.home)}
    wish = looking.Wish(profile("hermes"), str(home.mountpoint), environ, follow=False)
    return adopting.carry_out(looking.look(wish))


def asides(home: Desk) -> list[Path]:
    return sorted(home.home / name for name in os.listdir(home.home) if "before-vaultfs" in name)


def original(home: Desk) -> Path:
    """Where the directory is that was there first."""
    place = home.home / ".hermes"
    kept = [path for path in asides(home) if not path.is_symlink()]
    assert len(kept) == place.is_symlink()
    return kept[0] if kept else place


def start_again(home: Desk) -> None:
    """As before the first run."""
    kept = original(home)
    if kept.name != ".hermes":
        (home.home / ".hermes").unlink()
        kept.rename(home.home / ".hermes")
    shutil.rmtree(home.path("hermes"), ignore_errors=True)


def test_killed_at_any_step_of_adopt(home: Desk, hermes: Path) -> None:
    before = whole(hermes)
    for step in STEPS:
        done = strike(home, "adopt", step, "kill")
        assert done.returncode == -9, (step, done.stderr)
        assert differences(before, whole(original(home))) == [], step
        adopt(home)
        assert hermes.is_symlink(), step
        assert differences(before, whole(home.path("hermes"))) == [], step
        assert differences(before, whole(original(home))) == [], step
        assert len(asides(home)) == 1, step
        assert [name for name in os.listdir(home.mountpoint) if "adopting" in name] == [], step
        start_again(home)


@pytest.mark.parametrize("how", ["interrupt", "full", "change"])
def test_what_goes_wrong_changes_nothing(home: Desk, hermes: Path, how: str) -> None:
    before = whole(hermes)
    (home.mountpoint / ".vaultignore").write_text("*.mine\n")
    log = hermes / "sessions/2026/rollout.jsonl"
    data, when = log.read_bytes(), log.stat().st_mtime_ns
    for step in ("copying", "verifying", *(["exchanged"] if how == "change" else [])):
        done = strike(home, "adopt", step, how)
        assert done.returncode in {1, 130, -2}, (step, done.stderr)
        if how == "change":
            assert "rollout.jsonl was changed meanwhile" in done.stderr, step
            assert log.read_bytes().removeprefix(data).startswith(b"meanwhile"), "what was written meanwhile is there"
            log.write_bytes(data)
            os.utime(log, ns=(when, when))
        assert not hermes.is_symlink(), step
        assert differences(before, whole(hermes)) == [], step
        assert asides(home) == [], step
        assert sorted(os.listdir(home.mountpoint)) == [".vaultignore"], step
        if step != "exchanged":
            assert (home.mountpoint / ".vaultignore").read_text() == "*.mine\n", step


def test_killed_at_any_step_of_unadopt(home: Desk, hermes: Path) -> None:
    before = whole(hermes)
    for step in BACK:
        adopt(home)
        done = strike(home, "unadopt", step, "kill")
        assert done.returncode == -9, (step, done.stderr)
        there = home.path("hermes") if hermes.is_symlink() else hermes
        assert differences(before, whole(there)) == [], step
        environ = {"HOME": str(home.home)}
        departure = leaving.plan(profile("hermes"), str(home.mountpoint), environ, to=None, remove=True)
        leaving.carry_out(departure, others=[])
        assert not hermes.is_symlink(), step
        assert differences(before, whole(hermes)) == [], step
        assert not home.path("hermes").exists(), step
        assert [name for name in os.listdir(home.home) if "unadopting" in name] == [], step
        for path in asides(home):
            shutil.rmtree(path)


@pytest.fixture
def small(base: Path) -> Iterator[Desk]:
    """A machine whose disk for the store holds less than is to be copied."""
    disk = base / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=755", "tmpfs", disk], check=True)
    one = Desk(base / "s", data=disk, label="s")
    one.init()
    one.mount()
    yield one
    one.leave()
    subprocess.run(["umount", disk], check=True)


@pytest.mark.root
@pytest.mark.slow
def test_a_disk_that_is_full(small: Desk, used: Used) -> None:
    hermes = small.home / ".hermes"
    os.rename(used.top, hermes)
    (hermes / "larger").write_bytes(os.urandom(50 << 20))
    before = whole(hermes)
    done = small.run("adopt", "hermes", check=False)
    assert done.returncode == 103, done.stderr
    assert "No space left" in done.stderr
    assert differences(before, whole(hermes)) == []
    assert not small.path("hermes").exists()
    assert [name for name in os.listdir(small.mountpoint) if "adopting" in name] == []


def test_what_claude_has_outside_of_its_directory_comes_along(home: Desk) -> None:
    (home.home / ".claude/projects").mkdir(parents=True)
    (home.home / ".claude.json").write_text('{"mcpServers": {}}')
    environ = {"HOME": str(home.home)}
    wish = looking.Wish(profile("claude"), str(home.mountpoint), environ, follow=False)
    adopting.carry_out(looking.look(wish))
    assert home.path("claude/.claude.json").read_text() == '{"mcpServers": {}}'
    assert (home.home / ".claude.json").exists()
    # and on a machine that finds the agent in the vault
    home.path("claude/.claude.json").unlink()
    (home.home / ".claude").unlink()
    assert adopting.carry_out(looking.look(wish)).how == "linked"
    assert home.path("claude/.claude.json").exists()


def test_two_at_once(home: Desk, hermes: Path) -> None:
    """The second one is told."""
    import fcntl  # noqa: PLC0415 - only here

    held = os.open(home.mountpoint, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AdoptError, match="another adopt"):
            adopt(home)
    finally:
        os.close(held)
    assert not hermes.is_symlink()
