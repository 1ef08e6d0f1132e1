"""How the speed goes with the number of files in one directory, on the disk and in the mount."""

from __future__ import annotations

import os
import random
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING

from benchmarks.more_base import Found, Part, by_target, cold, mounted, note, restarted, seconds, versus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.targets import Target

SOME = 500
ROUNDS = 3
CREATE, STAT, FIRST = "create, files/s", "stat cold, files/s", "stat once mounted, files/s"
LIST, REMOVE = "list cold, names/s", "remove, files/s"


def create(directory: str, numbers: Iterable[int]) -> None:
    """Files with some bytes in them."""
    for number in numbers:
        with open(os.path.join(directory, f"file-{number}"), "wb") as file:
            file.write(b"%d\n" % number)


def stat(directory: str, numbers: Iterable[int]) -> None:
    for number in numbers:
        os.stat(os.path.join(directory, f"file-{number}"))


def remove(directory: str, numbers: Iterable[int]) -> None:
    for number in numbers:
        os.unlink(os.path.join(directory, f"file-{number}"))


def one_round(target: Target, directory: str, count: int, seed: int) -> dict[str, float]:
    """All rates with `count` files there, of which the last `SOME` are made here."""
    dice = random.Random(seed)
    found = {CREATE: SOME / seconds(lambda: create(directory, range(count - SOME, count)))}
    cold(target)
    found[STAT] = SOME / seconds(lambda: stat(directory, dice.sample(range(count), SOME)))
    restarted(target)
    found[FIRST] = SOME / seconds(lambda: stat(directory, dice.sample(range(count), SOME)))
    cold(target)
    names: list[str] = []
    found[LIST] = count / seconds(lambda: names.extend(os.listdir(directory)))
    if len(names) != count:
        raise RuntimeError(f"{target.name} lists {len(names)} of {count} files")
    gone = dice.sample(range(count), SOME)
    found[REMOVE] = SOME / seconds(lambda: remove(directory, gone))
    create(directory, gone)
    return found


def growing(target: Target, counts: list[int]) -> dict[int, dict[str, list[float]]]:
    """One directory that grows; at each count the rates of some rounds."""
    directory = str(target.root / "directory")
    os.mkdir(directory)
    found: dict[int, dict[str, list[float]]] = {}
    there = 0
    for count in counts:
        note(f"directories: {count:,} files, {target.name}")
        create(directory, range(there, count - SOME))
        rates = found[count] = defaultdict(list)
        for number in range(ROUNDS):
            if number:
                remove(directory, range(count - SOME, count))
            for name, rate in one_round(target, directory, count, number).items():
                rates[name].append(rate)
        there = count
    return found


def run(part: Part) -> Found:
    """The disk first, then the mount."""
    counts = [1_000, 2_000] if part.quick else [1_000, 10_000, 50_000, 200_000]
    with mounted(by_target(part, ["native", "vaultfs"])) as started:
        found = {target.name: growing(target, counts) for target in started}
    middle = {
        name: {count: {row: statistics.median(runs) for row, runs in rows.items()} for count, rows in sizes.items()}
        for name, sizes in found.items()
    }
    rows = {f"{count:,}": (middle["native"][count], middle["vaultfs"][count]) for count in counts}
    about = (
        f"The last {SOME} made, {SOME} of any looked at, all listed, {SOME} removed; {ROUNDS} rounds, medians, in "
        "brackets the ratio to native. Cold: the vault mounted anew, and then the kernel's caches emptied; once "
        "mounted: the caches emptied first, as after a start of the machine."
    )
    return Found(f"{about}\n\n{versus(['files', 'on', CREATE, STAT, FIRST, LIST, REMOVE], rows)}", {"rates": found})
