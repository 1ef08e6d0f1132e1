"""A skill that one agent writes on one machine is there for other agents on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.agents.computer import Computer

SKILL = "carried-over"
TEXT = f"---\\nname: {SKILL}\\ndescription: Says what was carried over. Use it when asked for that.\\n---\\nSay it.\\n"


@pytest.mark.long
def test_hermes_writes_a_skill_and_others_list_it_elsewhere(
    need: Callable[..., None], pair: tuple[Computer, Computer]
) -> None:
    """All three were used before and are adopted. Claude Code tells its model of it, OpenClaw has a command for it."""
    need("hermes", "claude", "openclaw")
    a, b = pair
    a.turn("hermes", "one", how="first", at=".hermes")
    a.run("adopt", "hermes", "--vault", "vault", seconds=300)
    a.catch_up()
    b.catch_up()
    for name in ("claude", "openclaw"):
        first = b.turn(name, "before", how="first", at=f".{name}")
        assert SKILL not in first.reply
        b.run("adopt", name, "--vault", "vault", seconds=300)
    directory = f"$HERMES_HOME/skills/{SKILL}"
    done = a.turn("hermes", "two", say=f"RUN mkdir -p {directory} && printf '%b' '{TEXT}' > {directory}/SKILL.md")
    assert a.path(f"skills/{SKILL}/SKILL.md").exists(), done
    a.handoff()
    b.catch_up()
    listed = b.turn("claude", "after")
    assert listed.marks == ["before", "after"]
    assert f"skills=[{SKILL}]" in listed.reply, listed
    shown = b.ended(b.begin("openclaw", "says", "skills list --json"))
    assert f'"name": "{SKILL}"' in shown.output, shown.output[-3000:]
