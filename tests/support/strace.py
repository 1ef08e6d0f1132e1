"""The system calls of a running process, counted by what they were on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_CALL = re.compile(r"(?P<name>\w+)\((?:\d+<(?P<path>[^>]*)>)?.* = (?P<result>-?\d+)(?P<error> E\w+)?")


@dataclass
class Calls:
    """What each call that succeeded gave, for some the bytes that it moved; by (call, path of its descriptor or "")."""

    given: defaultdict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))

    def note(self, line: str) -> None:
        """One line of strace's; what failed (with EAGAIN, mostly) and what was cut off does not count."""
        found = _CALL.match(line)
        if found is None or found["error"]:
            return
        self.given[found["name"], found["path"] or ""].append(int(found["result"]))

    def of(self, names: set[str], part: str) -> list[int]:
        """What all calls so named on paths with this part gave."""
        return [each for key, given in self.given.items() if key[0] in names and part in key[1] for each in given]


@contextmanager
def traced(pid: int) -> Iterator[Calls]:
    """Counts what all threads of a process call within the block; there is something to read after it.

    Skips the test where nobody may look.
    """
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace here")
    calls = Calls()
    with tempfile.TemporaryDirectory() as directory:
        # A file for each thread: else a call during which another thread makes one stands in two lines.
        command = [strace, "-ff", "-y", "-s", "0", "-o", f"{directory}/of", "-p", str(pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            said = process.stderr.readline()
            if "attached" not in said:
                process.wait()
                pytest.skip(f"the kernel lets nobody look at another process here: {said.strip()}")
            try:
                yield calls
            finally:
                process.send_signal(signal.SIGINT)
                process.wait()
        for name in os.listdir(directory):
            for line in Path(directory, name).read_text(errors="replace").splitlines():
                calls.note(line)
