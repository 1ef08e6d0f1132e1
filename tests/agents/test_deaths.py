"""The machine dies, or is cut off, at the worst moment: the agent goes on elsewhere, and nothing is lost."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import trio

from tests.agents.conftest import join
from tests.agents.programs import PROGRAMS
from tests.agents.remembered import remembered
from tests.agents.together import conflicts, everything, settle
from tests.machines_mounted.store import Store
from vaultfs.remote.program import find_rclone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.agents.computer import Computer


@dataclass
class Door(Store):
    """Another server for what is in the store, so that one machine's way to it can be closed."""

    behind: Store | None = None

    @property
    def root(self) -> Path:
        """The same objects."""
        return self.behind.root if self.behind else super().root


@pytest.mark.long
@pytest.mark.parametrize("name", PROGRAMS)
def test_killed_right_after_its_reply(
    name: str, need: Callable[..., None], pair: tuple[Computer, Computer], base: Path
) -> None:
    """First the agent and the daemon, as soon as the reply is on the screen; then the daemon when the agent has ended.

    What an agent stores after it has shown its reply is not asked for in the first case: it was never written.
    """
    need(name)
    a, b = pair
    a.turn(name, "one", how="first")
    a.turn(name, "two")
    a.handoff()
    pid = a.pid()
    a.turn(name, "three", kill=True)
    a.kill(pid)
    a.mount()
    stored, wrong = remembered(a.path(name), base / "copy")
    assert not wrong, wrong
    assert {"one", "two"} <= stored
    done = a.turn(name, "four")
    a.kill(a.pid())
    a.mount()
    a.handoff()
    b.catch_up()
    assert [mark for mark in done.marks if mark != "three"] == ["one", "two", "four"]
    assert b.turn(name, "five").marks == [*done.marks, "five"]
    assert conflicts(b) == []
    print(f"{name}: the turn of which only the reply was seen is {'kept' if 'three' in done.marks else 'not kept'}")  # noqa: T201


@pytest.mark.long
@pytest.mark.parametrize("name", PROGRAMS)
def test_cut_off_before_it_published(
    name: str, need: Callable[..., None], computer: Callable[..., Computer], store: Store, base: Path
) -> None:
    need(name)
    door = Door(trio.run(find_rclone), base / "door", behind=store)
    door.base.mkdir()
    door.start()
    try:
        a, b = computer("a", knows=door), computer("b")
        join(a, b)
        a.turn(name, "one", how="first")
        known = a.handoff()["commit"]
        door.stop()
        parted = datetime.now(UTC)
        assert a.turn(name, "two").marks == ["one", "two"]
        pending = a.now()["sync"]["pending"]
        assert pending["commits"] or pending["files"], "A's person is told that the remote does not have it"
        a.kill()
        b.catch_up()
        its = next(device for device in b.status()["sync"]["devices"] if device["label"] == "a")
        assert its["last"]["number"] == known, "B's person is told which of A's commits this is, and of when"
        assert datetime.fromisoformat(its["last"]["time"]) < parted
        assert b.turn(name, "three").marks == ["one", "three"], "B goes on from the older state"
        b.handoff()
        door.start()
        a.mount()
        settle(a, b)
        for one in (a, b):
            place, aside, wrong = everything(one, name, base / f"all-{one.label}")
            assert not wrong, wrong
            assert {"one", "two", "three"} <= place | aside, (place, aside)
            assert {"two", "three"} <= place or conflicts(one), "what is not in place is listed"
        assert "four" in a.turn(name, "four").marks
        shutil.rmtree(base / "all-a")
    finally:
        door.stop()
