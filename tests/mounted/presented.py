"""What is said to a served vault: put this in place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.served import Served


WHICH = "tests.support.arriving:control"


def file(path: str, content: str, **more: object) -> dict[str, Any]:
    return {"path": path, "kind": "file", "content": content, **more}


def directory(path: str, **more: object) -> dict[str, Any]:
    return {"path": path, "kind": "directory", **more}


def gone(path: str, **more: object) -> dict[str, Any]:
    return {"path": path, "kind": "gone", **more}


def attempt(vault: Served, *said: dict[str, Any]) -> bool:
    """One batch."""
    answer = vault.ask(batches=[list(said)])
    (placed,) = answer["placed"]
    print(answer)  # noqa: T201 - pytest shows it with a failure
    return placed


def present(vault: Served, *said: dict[str, Any]) -> bool:
    """One batch, again if need be: after a close the kernel tells us of it when it has nothing better to do."""
    end = time.monotonic() + 90
    while not (placed := attempt(vault, *said)) and time.monotonic() < end:
        pass
    return placed
