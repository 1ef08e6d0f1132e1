"""Both machines drive one agent at the same time, ten times: nothing is torn, nothing lost, both people are told."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.agents.programs import PROGRAMS
from tests.agents.remembered import remembered
from tests.agents.together import conflicts, everything, settle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.agents.computer import Computer

ROUNDS = 10


@pytest.mark.long
@pytest.mark.parametrize("name", PROGRAMS)
def test_both_at_once(name: str, need: Callable[..., None], pair: tuple[Computer, Computer], base: Path) -> None:
    """The agent is adopted on both: what belongs to one machine, its locks first of all, stays there.

    Each has used it once before. In a new place OpenClaw begins by migrating its state, under a claim that is a row of
    the database: where two do that at once, one is told to try again.
    """
    need(name)
    a, b = pair
    a.turn(name, "start", how="first", at=f".{name}")
    a.run("adopt", name, "--vault", "vault", seconds=300)
    assert a.turn(name, "at_a").marks == ["start", "at_a"]
    a.handoff()
    settle(a, b)
    b.run("adopt", name, "--vault", "vault", seconds=300)
    assert b.turn(name, "at_b").marks == ["start", "at_a", "at_b"]
    b.handoff()
    settle(a, b)
    marks = {"start", "at_a", "at_b"}
    for number in range(ROUNDS):
        begun = [(one, one.begin(name, "resume", f"MARK-{one.label}{number} hello")) for one in (a, b)]
        for one, turn in begun:
            done = one.ended(turn)
            mark = f"{one.label}{number}"
            assert mark in done.marks, f"{one.label}: {done}\n{done.output}"
            marks.add(mark)
        settle(a, b)
        assert conflicts(a) == conflicts(b)
        place, wrong = remembered(a.path(name), base / "copy")
        assert not wrong, (number, wrong)
        if not marks <= place:
            for one in (a, b):
                assert one.status()["sync"]["conflicts"], "the person is told"
                shown = re.search(r"(?i)conflict", one.run("status", "--vault", "vault").stdout)
                assert shown, "in words, too"
    place, aside, wrong = everything(a, name, base / "scratch")
    assert not wrong, wrong
    assert marks <= place | aside, (marks - place - aside, conflicts(a))
    assert remembered(b.path(name), base / "copy") == (place, []), "B has the same in place"
    print(f"{name}: {len(conflicts(a))} conflicts of {ROUNDS} rounds; in place {len(place & marks)} of {len(marks)}")  # noqa: T201


@pytest.mark.slow
def test_who_comes_second_is_told(need: Callable[..., None], pair: tuple[Computer, Computer]) -> None:
    """Each of the two, before its agent starts: the other one wrote just now."""
    need("claude")
    a, b = pair
    a.turn("claude", "one", how="first")
    for one in pair:
        one.run("run", "claude", "--program", "true", "--vault", "vault", seconds=120)
    for here, there in ((a, b), (b, a)):
        here.turn("claude", f"by_{here.label}")
        here.handoff()
        there.catch_up()
        said = there.run("run", "claude", "--program", "true", "--vault", "vault", seconds=120)
        assert re.search(rf"Warning: {here.label}: .*wrote there", said.stderr), (
            said.stderr,
            there.status()["driving"],
        )
