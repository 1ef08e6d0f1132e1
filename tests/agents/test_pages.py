"""The pages in docs/agents: each command in them is run, on two machines, with the real agent."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.agents.programs import PROGRAMS, base_environment, shelf
from tests.support.driver import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.agents.computer import Computer

PAGES = REPOSITORY / "docs/agents"
BLOCK = re.compile(r"^```sh\n# on the (laptop|workstation)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^```\w*$", re.MULTILINE)
BEFORE = "Used before the vault came"  # what was said to the agent before it was adopted


def blocks(name: str) -> list[tuple[str, str]]:
    """Machine and commands of each block, in order."""
    text = (PAGES / f"{name}.md").read_text()
    found = BLOCK.findall(text)
    assert len(FENCE.findall(text)) == 2 * len(found), "a block that says on which machine it is, or none"
    return found


def prepare(one: Computer, name: str, base: Path) -> dict[str, str]:
    """The machine as the page finds it: the programs, the wallet, and a remote called `drive`."""
    commands = one.home / "bin"
    commands.mkdir()
    for program in PROGRAMS.values():
        (commands / program.name).symlink_to(program.path)
    (commands / "elizaos").symlink_to(PROGRAMS["eliza"].path)
    place = one.home / ".config/rclone/rclone.conf"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"[drive]\ntype = alias\nremote = {base / 'drive'}\n")
    environment = base_environment(one.person) | one.environ() | PROGRAMS[name].environment
    path = f"{one.person / 'bin'}:{shelf()}/eliza/node_modules/bun/bin:{base_environment(one.person)['PATH']}"
    quiet = {"ELIZA_NONINTERACTIVE": "1", "ELIZA_NO_AUTO_INSTALL": "1", "npm_config_fetch_retries": "0"}
    return environment | quiet | {"PATH": path, "VAULTFS_DEVICE_LABEL": one.label}


def say(one: Computer, commands: str, environment: dict[str, str]) -> str:
    """Run a block as it stands, where the only network is our model; returns what was printed."""
    words = [*one.prefix, sys.executable, "-m", "tests.agents.offline", "bash", "-euo", "pipefail", "-c", commands]
    script = f"cd {one.person}/work\n{commands}"
    done = subprocess.run(
        [*words[:-1], script], env=environment, cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{one.label}: exit {done.returncode}\n{commands}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_command_of_the_page(
    name: str, need: Callable[..., None], computer: Callable[..., Computer], base: Path
) -> None:
    """What was said before, on the laptop, is known on the workstation, and what was said there is known at home."""
    need(name)
    (base / "drive").mkdir()
    machines = {label: computer(label) for label in ("laptop", "workstation")}
    laptop, workstation = machines.values()
    shutil.copy(laptop.key, workstation.key)
    environments = {one.label: prepare(one, name, base) for one in machines.values()}
    laptop.turn(name, "before", how="first", say=BEFORE, at=f".{name}")
    replies = []
    for label, commands in blocks(name):
        said = say(machines[label], commands, environments[label])
        replies += [(label, reply) for reply in re.findall(r"FAKE users=\d+ .*", said)]
    assert {label for label, _ in replies} == set(machines)
    for label, reply in replies:
        assert "marks=[before" in reply, (label, reply)
    users = [int(re.findall(r"users=(\d+)", reply)[0]) for _, reply in replies]
    assert users == list(range(2, len(users) + 2)), replies
