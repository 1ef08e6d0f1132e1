"""What the kernel asks while something is done, counted by the mount itself."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Counted(Counter[str]):
    """Requests by kind, and those that pyfuse3 answered as `passed_on`."""


@contextmanager
def counting(status: Path) -> Iterator[Counted]:
    """Counts what is asked within the block, but for what asking for the status itself costs."""

    def now() -> Counted:
        found = json.loads(status.read_bytes())["fuse"]
        return Counted(found["requests"]) + Counter(passed_on=found["passed_on"])

    now()
    before = now()
    cost = now() - before
    counted = Counted()
    before = now()
    yield counted
    counted.update(now() - before - cost)
