"""Hand-off between two machines: vaultfs and what people use in its place, measured one after the other."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import handoff_tasks as tasks
from benchmarks.fsbench import chosen, interrupt
from benchmarks.handoff_agent import make_directory
from benchmarks.handoff_pairs import PAIRS
from benchmarks.handoff_report import page
from benchmarks.report import put, where

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.handoff_pairs import Pair
    from benchmarks.handoff_tasks import Facts


STEP_SECONDS = 900


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/handoff", description=__doc__)
    parser.add_argument("--targets", default=",".join(PAIRS), metavar="T,T", help="default: %(default)s")
    parser.add_argument("--edits", type=int, default=30, metavar="N", help="small edits (default 30)")
    parser.add_argument("--appends", type=int, default=5, metavar="N", help="lines added (default 5)")
    parser.add_argument("--states", type=int, default=20, metavar="N", help="states of a database (default 20)")
    parser.add_argument("--only", default="", metavar="X,X", help="of: handoff, verb, append, edits, states, both")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every single figure there")
    parser.add_argument("--known", type=Path, metavar="FILE", help="take what is not measured now from that JSON")
    parser.add_argument("--update", type=Path, metavar="PAGE", help="also put the tables into docs/performance.md")
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def too_long(_number: int, _frame: object) -> None:
    raise TimeoutError(f"not done after {STEP_SECONDS} s")


def measure(pair: Pair, args: argparse.Namespace, source: Path, facts: Facts, done: Callable[[], None]) -> None:
    """All figures of one pair into `facts`, `done` after each; what fails is said, and the next one tried."""
    steps = {
        "handoff": partial(tasks.hand_off, pair, source),
        "verb": partial(tasks.verb, pair),
        "append": partial(tasks.append, pair, args.appends),
        "edits": partial(tasks.edits, pair, args.edits),
        "states": partial(tasks.states, pair, args.states),
        "both": partial(tasks.both, pair),
    }
    facts |= {"version": pair.version(), "about": pair.about, "measured": where()}
    only = chosen(args.only, list(steps), "measurement")
    if "append" in only or "edits" in only:
        only = ["handoff", *(name for name in only if name != "handoff")]  # they need its files
    for name in only:
        start, load = time.monotonic(), os.getloadavg()[0]
        signal.alarm(STEP_SECONDS)
        try:
            facts[name] = steps[name]() | {"load": load}
        except (OSError, RuntimeError, AssertionError, ValueError) as error:
            facts[name] = {"failed": f"{type(error).__name__}: {error}"}
            print(f"# {pair.name}, {name}: {error}", file=sys.stderr)
        finally:
            signal.alarm(0)
        done()
        print(f"# {pair.name}: {name} ({time.monotonic() - start:.0f} s)", file=sys.stderr)


def main() -> None:
    args = options()
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGALRM, too_long)
    source = args.work / "source"
    source.mkdir()
    total = make_directory(source)
    known = json.loads(args.known.read_text())["targets"] if args.known else {}
    facts: dict[str, Facts] = {name: known.get(name) or {} for name in PAIRS}

    def save() -> None:
        if args.json:
            args.json.write_text(json.dumps({"bytes": total, "targets": facts}, indent=1) + "\n")

    for number, name in enumerate(chosen(args.targets, list(PAIRS), "target")):
        if not PAIRS[name].available():
            print(f"# {name} is not installed: left out", file=sys.stderr)
            facts[name].setdefault("missing", True)
            continue
        pair = PAIRS[name](args.work / f"pair-{number}")
        try:
            pair.start()
            measure(pair, args, source, facts[name], save)
        except (OSError, RuntimeError, AssertionError) as error:
            print(f"# {name}: {error}", file=sys.stderr)
            facts[name]["failed"] = f"{type(error).__name__}: {error}"
        finally:
            pair.close()
    save()
    text = page({name: fact for name, fact in facts.items() if fact}, total)
    print(text)
    if args.update:
        put(args.update, "handoff", text)


if __name__ == "__main__":
    main()
