"""The long run: `python -m tests.crash.soak --kills 500 --cuts 50 [--seed N]`; exit code 1 if anything was lost."""

# ruff: noqa: T201 - a program that reports
from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
import uuid

from tests.crash.rounds import KillRounds, machine


def kills(count: int, seed: int) -> list[str]:
    """That many kills; the vault is made anew every fifty rounds."""
    wrong: list[str] = []
    done = acknowledged = 0
    start = time.monotonic()
    while done < count:
        with machine() as home:
            rounds = KillRounds(home, seed)
            while rounds.kills < 50 and done + rounds.kills < count:
                found = rounds.round()
                for line in found:
                    print(f"LOST {line}", flush=True)
                wrong += found
            home.abandon()
        done += rounds.kills
        acknowledged += rounds.acknowledged
        seed += 1000
        print(
            f"{done} kills, {acknowledged} acknowledgements, {len(wrong)} broken, slowest mount "
            f"{rounds.slowest_mount:.1f} s, {time.monotonic() - start:.0f} s",
            flush=True,
        )
    return wrong


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--cuts", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    arguments = parser.parse_args()
    os.environ.setdefault("VAULTFS_TEST_RUN", uuid.uuid4().hex)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # unmount and remove first
    print(f"seed {arguments.seed}", flush=True)
    wrong = kills(arguments.kills, arguments.seed) if arguments.kills else []
    if arguments.cuts:
        from tests.crash.cuts import cuts  # noqa: PLC0415 - needs pyfuse3 in this process's children only

        wrong += cuts(arguments.cuts, arguments.seed)
    print("nothing acknowledged was lost" if not wrong else f"{len(wrong)} broken promises")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
