"""A process that serves a mount and the test that started it, line by line."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def say(**facts: object) -> None:
    """One line for the test."""
    print(json.dumps(facts), flush=True)  # noqa: T201


async def questions() -> AsyncIterator[dict[str, Any]]:
    """What the test asks, until it closes its end."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        yield json.loads(line)
