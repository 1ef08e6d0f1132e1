"""Uploads stop while programs are hard at work in the mount, and everything gets there all the same."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.remote.test_rclone import ended, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machines_mounted.desk import Desk

pytestmark = pytest.mark.skipif(os.environ.get("VAULTFS_LANE") == "pyfuse3", reason="the fast lane sees the rush")
MEGABYTES = 96  # of noise: a second of uploading or two


@contextmanager
def hard_at_work(top: Path) -> Iterator[None]:
    """A program that asks for one name after the other."""
    enough = threading.Event()

    def ask() -> None:
        number = 0
        while not enough.is_set():
            number += 1
            with suppress(OSError):
                os.stat(top / f"none-{number}")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def rclone(desk: Desk) -> int:
    """The process that uploads."""
    (found,) = [pid for pid in desk.children() if b"rcd" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    return found


def test_uploads_stop_and_arrive(pair: tuple[Desk, Desk]) -> None:
    a, b = pair
    data = os.urandom(MEGABYTES << 20)
    pid = rclone(a)
    with hard_at_work(a.mountpoint):
        a.path("large").write_bytes(data)
        a.until(lambda: state_of(pid) == "T", say="it was never stopped")
        a.until(lambda: state_of(pid) != "T", say="it was stopped for good")
        assert len(os.listdir(a.mountpoint)) >= 1, "the mount answers meanwhile"
        # Who asks for it has it, however hard others work.
        a.run("handoff", "--vault", "vault")
    b.until_reads("large", data)


def test_a_daemon_that_is_killed_leaves_no_stopped_process(pair: tuple[Desk, Desk]) -> None:
    a, b = pair
    data = os.urandom(MEGABYTES << 20)
    pid = rclone(a)
    with hard_at_work(a.mountpoint):
        with a.path("large").open("wb") as file:
            file.write(data)
            os.fsync(file.fileno())
        a.until(lambda: state_of(pid) == "T", say="it was never stopped")
        a.kill()
        a.until(lambda: ended(pid), say="it stands there for ever")
    a.mount()
    a.sync()
    b.until_reads("large", data)
