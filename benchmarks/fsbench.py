"""Times the workloads on several file systems, side by side.

Every workload runs on every target in turn, so a drift of the machine's speed falls on all alike; in another order each
time, as what one leaves the disk to do is felt by the next; and after a moment of work that is not timed. The figure is
the median over the rounds, higher is better. Needs root for the cold workloads (they drop the kernel's caches); as an
ordinary user these are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import means, medians, put, table, where
from benchmarks.targets import TARGETS, USUAL, Target
from benchmarks.workloads import WORKLOADS, Workload
from vaultfs.fuse.fast.quick_wakes import QuickWakes

if TYPE_CHECKING:
    from types import FrameType

CACHES = Path("/proc/sys/vm/drop_caches")
WARM_UP_SECONDS = 0.1


def drop_caches() -> None:
    os.sync()
    CACHES.write_text("3")


def rate(workload: Workload, directory: str) -> float:
    """Operations a second of one run. The clock starts at the workload's `yield` where it has one."""
    start = time.perf_counter()
    done = workload.run(directory)
    if isinstance(done, Generator):
        next(done)
        start = time.perf_counter()
        try:
            next(done)
        except StopIteration as stop:
            done = stop.value
    return float(done / (time.perf_counter() - start))


def warm_up(directory: Path) -> None:
    """Have the file system do something for a moment, untimed.

    While the others had their turn the host may have put aside what its daemon works on: on some virtual machines a
    page that was not looked at for a while costs several times as much (`python -m benchmarks.full_memory`).
    """
    path, other = directory / "warm", directory / "up"
    end = time.monotonic() + WARM_UP_SECONDS
    with suppress(OSError):  # some peers lose a file now and then; the workload is what counts
        while time.monotonic() < end:
            with path.open("wb") as file:
                file.write(bytes(4096))
                file.flush()
                os.fsync(file.fileno())
            path.rename(other)
            path.exists()
            other.read_bytes()
            other.unlink()


def in_turn(targets: Sequence[Target], what: str) -> list[Target]:
    """Those in an order of its own for `what`, the same each time."""
    return random.Random(what).sample(targets, len(targets))


def one_round(targets: Sequence[Target], workloads: Sequence[Workload], rates: Any, number: int) -> None:
    directories = {target.name: target.root / f"round{number}" for target in targets}
    for directory in directories.values():
        directory.mkdir()
    for workload in workloads:
        for target in in_turn(targets, f"{workload.name} {number}"):
            if sys.stderr.isatty():
                print(
                    f"\r\033[K# round {number + 1}: {workload.name} on {target.name}",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
            warm_up(directories[target.name])
            if workload.cold:
                drop_caches()  # the kernel's: the daemon is as awake as in any other row
            try:
                found = rate(workload, str(directories[target.name]))
            except Exception as error:  # noqa: BLE001  (a file system that fails a workload has no figure there)
                print(f"# {target.name} {workload.name}: {type(error).__name__}: {error}", file=sys.stderr)
            else:
                rates[target.name][workload.name].append(found)
    for directory in directories.values():
        shutil.rmtree(directory, ignore_errors=True)


def interrupt(number: int, _frame: FrameType | None) -> None:
    """A signal handler that lets everything be unmounted on the way out."""
    raise SystemExit(128 + number)


def wakes(*, awake: bool) -> QuickWakes:
    """`awake`: no processor sleeps until it is closed, as vaultfs asks for while requests come quickly."""
    asked = QuickWakes(wanted=awake)
    if asked.available:
        asked.ask()
    elif awake:
        raise SystemExit(f"processors cannot be kept awake: {asked.lack}")
    return asked


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--only", default="", metavar="W,W", help="workloads: " + ", ".join(w.name for w in WORKLOADS))
    parser.add_argument("--targets", default=",".join(USUAL), metavar="T,T", help="default: %(default)s")
    parser.add_argument(
        "--awake", action="store_true", help="have Linux put no processor to sleep, whoever is measured"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every single figure there")
    parser.add_argument("--update", type=Path, metavar="PAGE", help="also put the table into docs/performance.md")
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def chosen(names: str, known: Sequence[str], what: str) -> list[str]:
    picked = [name for name in names.split(",") if name]
    unknown = sorted(set(picked) - set(known))
    if unknown:
        raise SystemExit(f"no such {what}: {', '.join(unknown)} (there are: {', '.join(known)})")
    return [name for name in known if name in picked] if picked else list(known)


def main() -> None:
    args = options()
    workloads_by_name = {workload.name: workload for workload in WORKLOADS}
    workloads = [workloads_by_name[name] for name in chosen(args.only, list(workloads_by_name), "workload")]
    if not os.access(CACHES, os.W_OK):
        print("# not root: the cold workloads are left out", file=sys.stderr)
        workloads = [workload for workload in workloads if not workload.cold]
    signal.signal(signal.SIGTERM, interrupt)
    targets: list[Target] = []
    with ExitStack() as stack:
        stack.callback(wakes(awake=args.awake).close)
        for name in chosen(args.targets, list(TARGETS), "target"):
            if not TARGETS[name].available():
                print(f"# {name} is not installed: left out", file=sys.stderr)
                continue
            target = TARGETS[name](args.work / name)
            stack.callback(target.stop)
            try:
                target.start()
            except (OSError, RuntimeError) as error:
                print(f"# {error}\n# {name} is left out", file=sys.stderr)
            else:
                targets.append(target)
        if not targets:
            raise SystemExit("there is nothing to measure")
        rates: dict[str, dict[str, list[float]]] = {t.name: {w.name: [] for w in workloads} for t in targets}
        for number in range(args.rounds):
            one_round(targets, workloads, rates, number)
        about = {target.name: target.version() for target in targets}
    units = {workload.name: workload.unit for workload in workloads}
    unsafe = [target.name for target in targets if not target.keeps_fsync]
    text = "\n\n".join(
        (
            f"{args.rounds} rounds, medians; in brackets the ratio to {targets[0].name}. {where()}"
            + ("; no processor sleeps meanwhile." if args.awake else "."),
            table(rates, units, unsafe),
            "; ".join(f"{name}: {version}" for name, version in about.items()) + ".",
        )
    )
    print(text)
    if args.update:
        put(args.update, "speed-awake" if args.awake else "speed", text)
    if args.json:
        middle = medians(rates)
        facts = {"versions": about, "medians": middle, "runs": rates}
        facts["geometric_mean"] = means(middle, targets[0].name, list(units))
        args.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
