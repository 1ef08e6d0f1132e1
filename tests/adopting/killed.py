"""Adopts or unadopts, and is killed, interrupted, or meets a full disk at the step that is named.

python -m tests.adopting.killed adopt|unadopt STEP kill|interrupt|full|change MOUNTPOINT HOME
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vaultfs.agents import adopting, exchanging, leaving, looking
from vaultfs.agents.profiles import profile

if TYPE_CHECKING:
    from collections.abc import Callable


def happening(how: str, home: str) -> Callable[[], None]:
    """What happens at the step."""

    def now() -> None:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "interrupt":
            raise KeyboardInterrupt
        elif how == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")
        else:
            # the directory that was there first, wherever it is now
            place = next((path for path in sorted(Path(home).glob(".hermes*")) if not path.is_symlink()), None)
            assert place is not None
            with (place / "sessions/2026/rollout.jsonl").open("ab") as file:
                file.write(b"meanwhile\n")

    return now


def main() -> None:
    """One run."""
    what, at, how, mountpoint, home = sys.argv[1:]
    strike = happening(how, home)

    def step(name: str, done: int) -> None:
        del done
        if name == at:
            strike()

    if at in {"exchange", "exchanged"}:
        real = exchanging.exchange

        def exchange(one: str, other: str) -> None:
            if at == "exchanged":
                real(one, other)
            strike()
            if at == "exchange":
                real(one, other)

        adopting.exchange = leaving.exchange = exchange  # type: ignore[attr-defined]
    hermes, environ = profile("hermes"), {"HOME": home}
    if what == "adopt":
        plan = looking.look(looking.Wish(hermes, mountpoint, environ, follow=False))
        adopting.carry_out(plan, step)
    else:
        departure = leaving.plan(hermes, mountpoint, environ, to=None, remove=True)
        leaving.carry_out(departure, others=[], step=step)


if __name__ == "__main__":
    main()
