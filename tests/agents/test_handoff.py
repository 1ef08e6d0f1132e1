"""A real agent works on A, goes on on B with all that was said, and comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.agents.programs import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.agents.computer import Computer

CHEAP = ("hermes", "codex", "claude")
LONG = [pytest.param(name, marks=[] if name in CHEAP else pytest.mark.long) for name in PROGRAMS]


def passed(name: str, of: Computer, to: Computer) -> None:
    """The agent's person stops at one machine and goes to the other."""
    said = of.handoff()
    assert said["published"], (name, said)
    to.catch_up()


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_it_goes_on_elsewhere_and_comes_back(
    name: str, need: Callable[..., None], pair: tuple[Computer, Computer]
) -> None:
    need(name)
    a, b = pair
    a.turn(name, "one", how="first")
    assert a.turn(name, "two").marks == ["one", "two"]
    passed(name, a, b)
    assert b.turn(name, "three").marks == ["one", "two", "three"]
    assert b.turn(name, "four").marks == ["one", "two", "three", "four"]
    passed(name, b, a)
    assert a.turn(name, "five").marks == ["one", "two", "three", "four", "five"]
    assert a.json("conflicts", "list", "--vault", "vault") == []


@pytest.mark.long
def test_ten_rounds_of_two_agents(need: Callable[..., None], pair: tuple[Computer, Computer]) -> None:
    """Hermes and Codex side by side in one vault, from machine to machine and back, ten times."""
    need("hermes", "codex")
    marks: list[str] = []
    for number in range(10):
        for here, there in (pair, pair[::-1]):
            marks.append(f"{here.label}{number}")
            for name in ("hermes", "codex"):
                done = here.turn(name, marks[-1], how="first" if len(marks) == 1 else "resume")
                assert done.marks == marks, (name, done)
            passed("both", here, there)
    for one in pair:
        assert one.json("conflicts", "list", "--vault", "vault") == []
