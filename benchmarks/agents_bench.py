"""Times a turn of each real agent in the mount and on the disk: in pairs, and each of a pair first every other time.

The model answers at once, so what is timed is the agent: its start, its work on its state, its end. The mount publishes
to a directory all the while, as a person's does. The figure is the median over the pairs of mount / disk.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.fsbench import chosen, interrupt
from benchmarks.report import put, where
from tests.agents.programs import PROGRAMS
from tests.support.driver import Machine

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Figures:
    """Of each turn one figure for each round: seconds, and seconds of processor (the daemon's too, for the mount)."""

    disk: list[float] = field(default_factory=list)
    mount: list[float] = field(default_factory=list)
    disk_cpu: list[float] = field(default_factory=list)
    mount_cpu: list[float] = field(default_factory=list)
    daemon_cpu: list[float] = field(default_factory=list)

    def pairs(self) -> list[float]:
        """Mount / disk of each pair, the smallest first."""
        return sorted(there / here for here, there in zip(self.disk, self.mount, strict=True))


def turn(name: str, home: Path, state: Path, number: int) -> tuple[float, float]:
    """Seconds and seconds of processor of one turn; raises where the agent did not go on with the conversation."""
    how = "resume" if number else "first"
    words = [sys.executable, "-m", "tests.agents.turn", name, how, f"MARK-m{number} hello", "--state", str(state)]
    environment = os.environ | {"HOME": str(home)}
    done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    said = json.loads(done.stdout) if done.returncode == 0 else {"reply": done.stderr}
    marks = ",".join(f"m{before}" for before in range(number + 1))
    if f"marks=[{marks}]" not in said["reply"]:
        raise SystemExit(f"{name}: turn {number} in {state} is not marks=[{marks}]: {said}")
    return float(said["seconds"]), float(said["cpu"])


def used(pid: int) -> float:
    """Seconds of processor that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def measure(names: Sequence[str], rounds: int, work: Path) -> dict[str, Figures]:
    """The figures of each agent. The first turn, which makes databases, is not among them."""
    machine = Machine(work / "machine")
    machine.run("init", "vault", "--wallet", f"keyfile:{machine.key}", "--remote", str(work / "remote"), "--yes")
    machine.mount("--remote", str(work / "remote"))
    daemon = machine.pid()
    found = {name: Figures() for name in names}
    try:
        for name, figures in found.items():
            plain, mounted = work / "plain" / name, machine.mountpoint / name
            for number in range(rounds + 1):
                for state in (plain, mounted) if number % 2 else (mounted, plain):
                    home = work / f"home-{name}-{state.parts[-2]}"
                    home.mkdir(exist_ok=True)
                    before = used(daemon)
                    seconds, cpu = turn(name, home, state, number)
                    spent = used(daemon) - before
                    print(f"# {name} {number} {state}: {seconds:.2f} s, {cpu:.2f} + {spent:.2f} s cpu", file=sys.stderr)
                    if number and state == plain:
                        figures.disk.append(seconds)
                        figures.disk_cpu.append(cpu)
                    elif number:
                        figures.mount.append(seconds)
                        figures.mount_cpu.append(cpu)
                        figures.daemon_cpu.append(spent)
    finally:
        machine.abandon()
    return found


def table(found: dict[str, Figures], versions: dict[str, str]) -> str:
    """The Markdown table."""
    heads = ["agent", "version", "on the disk, s", "in the mount, s", "mount / disk", "pairs from, to"]
    heads += ["processor on the disk, s", "in the mount, s", "the daemon's, s"]
    lines = [f"| {' | '.join(heads)} |", "| --- | --- |" + " ---: |" * 7]
    middle = statistics.median
    for name, one in found.items():
        pairs = one.pairs()
        cells = [f"{middle(one.disk):.2f}", f"{middle(one.mount):.2f}", f"**{middle(pairs):.2f}**"]
        cells.append(f"{pairs[0]:.2f}, {pairs[-1]:.2f}")
        cells += [f"{middle(figures):.2f}" for figures in (one.disk_cpu, one.mount_cpu, one.daemon_cpu)]
        lines.append(f"| {name} | {versions[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def version(name: str) -> str:
    """What the program says of itself."""
    package = {"codex": "@openai/codex", "claude": "@anthropic-ai/claude-code", "eliza": "@elizaos/cli"}.get(name, name)
    if name == "hermes":
        python = PROGRAMS[name].path.with_name("python")
        asks = "import importlib.metadata as m; print(m.version('hermes-agent'))"
        return subprocess.run([python, "-c", asks], check=True, capture_output=True, text=True).stdout.strip()
    top = next(path for path in PROGRAMS[name].path.parents if path.name == "node_modules")
    return str(json.loads((top / package / "package.json").read_text())["version"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks/agents", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--only", default="", metavar="A,A", help="agents: " + ", ".join(PROGRAMS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every single figure there")
    parser.add_argument("--update", type=Path, metavar="PAGE", help="also put the table into docs/agents.md")
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    names = [name for name in chosen(args.only, list(PROGRAMS), "agent") if PROGRAMS[name].installed()]
    load = os.getloadavg()[0]
    found = measure(names, args.rounds, args.work)
    versions = {name: version(name) for name in names}
    head = f"{args.rounds} pairs, medians. {where()}; other work on the machine before: load {load:.0f}."
    text = f"{head}\n\n{table(found, versions)}"
    print(text)
    if args.update:
        put(args.update, "agents-speed", text)
    if args.json:
        args.json.write_text(json.dumps({name: vars(figures) for name, figures in found.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
