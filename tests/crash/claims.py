"""What a worker of the crash load promises: a log outside the mount, and what it obliges the store to.

A worker writes a line before it begins something and a line when the system call has returned. After the crash
`verify` reads the lines back: what was acknowledged must be there, what was only begun may be there in part.
"""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Crash:
    """When it happened (CLOCK_MONOTONIC, seconds), and whether the machine went down or only the daemon."""

    at: float
    power: bool = False


class Log:
    """Lines of JSON in a file outside the mount, each written in one call."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)

    def say(self, event: str, **fields: Any) -> None:
        """One line, with the moment."""
        line = json.dumps({"event": event, "t": time.monotonic(), **fields})
        os.write(self._fd, line.encode() + b"\n")


def events(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a torn last one (the worker was killed) is left out."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def content(name: str, version: int, size: int) -> bytes:
    """The bytes of a version of a file, half of them text; no two versions have a sector in common."""
    dice = random.Random(f"{name}:{version}")
    return dice.randbytes(size) if dice.random() < 0.5 else dice.randbytes(size // 2 + 1).hex().encode()[:size]


def read_or_none(path: Path) -> bytes | None:
    """A file's content, None if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


class Worker:
    """One kind of load in its own process and directory."""

    name: ClassVar[str]

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.rng = random.Random(f"{self.name}:{seed}")

    def run(self, log: Log) -> None:
        """Work until the file system goes away (an OSError ends it)."""
        raise NotImplementedError

    def verify(self, log: list[dict[str, Any]], crash: Crash) -> list[str]:
        """What is wrong after the crash; empty if every promise was kept."""
        raise NotImplementedError


def sync_directory(path: Path) -> None:
    """Fsync of a directory: its names are durable when this returns."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
