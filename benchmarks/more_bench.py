"""Further figures, each part on its own: processor time, latencies, growth, publishing, memory over a day."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import more_cpu, more_day, more_directories, more_files, more_latency, more_publishing
from benchmarks.fsbench import CACHES, chosen, interrupt
from benchmarks.more_base import Found, Part, note
from benchmarks.report import put, where

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PARTS: dict[str, tuple[str, Callable[[Part], Found]]] = {
    "cpu": ("Processor time of the daemon", more_cpu.run),
    "latency": ("Latency while four agents work", more_latency.run),
    "directories": ("Files in one directory", more_directories.run),
    "files": ("Size of a file", more_files.run),
    "publishing": ("Work while 500 MB are published", more_publishing.run),
    "day": ("Memory over a day of work", more_day.run),
}


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/more", description=__doc__)
    parser.add_argument("--only", default="", metavar="P,P", help="parts: " + ", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not how fast")
    parser.add_argument("--days", type=int, default=1, metavar="N", help="how long the day is; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every single figure there")
    parser.add_argument("--known", type=Path, metavar="FILE", help="take parts not measured now from that JSON")
    parser.add_argument("--update", type=Path, metavar="PAGE", help="also put the tables into docs/performance.md")
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def measure(name: str, work: Path, *, quick: bool, days: int) -> dict[str, Any]:
    """One part: its text and its figures. A part that fails says so where its table would stand."""
    title, run = PARTS[name]
    head = f"{where()}; load {os.getloadavg()[0]:.1f} at the start{'; small sizes' if quick else ''}."
    directory = work / name
    directory.mkdir()
    start = time.monotonic()
    try:
        found = run(Part(directory, quick, days))
    except (OSError, RuntimeError, AssertionError, ValueError) as error:
        note(f"{name}: {type(error).__name__}: {error}")
        found = Found(f"failed: {type(error).__name__}", {"failed": str(error)})
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    took = time.monotonic() - start
    note(f"{name}: done ({took:.0f} s)")
    return {"text": f"**{title}.** {head}\n\n{found.text}", "seconds": took, "facts": found.facts}


def main() -> None:
    args = options()
    if not os.access(CACHES, os.W_OK):
        raise SystemExit("this needs root: the cold figures drop the kernel's caches")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    known = json.loads(args.known.read_text()) if args.known else {}
    results: dict[str, Any] = {name: known[name] for name in PARTS if name in known}
    for name in chosen(args.only, list(PARTS), "part"):
        results[name] = measure(name, args.work, quick=args.quick, days=args.days)
        print(results[name]["text"] + "\n", flush=True)
        if args.json:
            args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.update:
        put(args.update, "more", "\n\n".join(results[name]["text"] for name in PARTS if name in results))


if __name__ == "__main__":
    main()
