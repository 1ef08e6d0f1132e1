"""Two machines after a meeting: that they agree, and that between them nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.agents.remembered import remembered

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agents.computer import Computer

SETTLE_SECONDS = 120


def settle(*machines: Computer) -> None:
    """Until all have the same tree in place, everything is published, and nothing waits."""

    def calm() -> bool:
        for one in machines:
            one.catch_up()
        facts = [one.now()["sync"] for one in machines]
        same = len({fact["root"] for fact in facts}) == 1
        return same and not any(fact["lag"] or fact["pending"]["commits"] for fact in facts)

    said = lambda: [one.now()["sync"] for one in machines]  # noqa: E731
    try:
        machines[0].until(calm, SETTLE_SECONDS, "all have the same")
    except AssertionError as error:
        raise AssertionError(f"the machines do not agree: {said()}") from error


def conflicts(one: Computer) -> list[dict[str, Any]]:
    """What `conflicts list` says."""
    listed: list[dict[str, Any]] = one.json("conflicts", "list", "--vault", "vault")
    return listed


def everything(one: Computer, name: str, scratch: Path) -> tuple[set[str], set[str], list[str]]:
    """Marks in place, marks in what `conflicts show` opens, and what is wrong with any database in either."""
    scratch.mkdir(exist_ok=True)
    in_place, wrong = remembered(one.path(name), scratch / "place")
    aside: set[str] = set()
    for entry in conflicts(one):
        shown = scratch / f"shown-{entry['name']}"
        if not shown.exists():
            said = one.run("conflicts", "show", entry["name"], "--to", str(shown), "--vault", "vault", check=False)
            if said.returncode and entry["name"] not in {other["name"] for other in conflicts(one)}:
                continue  # a log of which another is the continuation: it has ended by itself meanwhile
            facts = one.now()["sync"]["root"], one.json("log", "--vault", "vault")[:6]
            assert said.returncode == 0, (entry, said.stderr, facts)
        marks, problems = remembered(shown, scratch / "copy")
        aside |= marks
        wrong += [f"conflict {entry['path']} {entry['name']}: {problem}" for problem in problems]
    return in_place, aside, wrong
