"""Two machines in networks of their own, and a line between them that is cut and heals."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import trio

from tests.machines_mounted.conftest import join
from tests.machines_mounted.store import Store
from tests.machines_mounted.test_crashes import settle
from vaultfs.remote.program import find_rclone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.machines_mounted.desk import Desk

HUB = "10.231.77.1"


def sh(*words: str) -> None:
    """A command that must work."""
    subprocess.run(words, check=True, capture_output=True, text=True)


@pytest.fixture
def networks() -> Iterator[dict[str, str]]:
    """A network namespace for the store and for each machine, joined by lines; the interface names of these."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("nsenter"):
        pytest.skip("network namespaces need root, ip and nsenter")
    mark = os.environ["VAULTFS_TEST_RUN"][:5]
    hub, lines = f"vt{mark}s", {}
    try:
        sh("ip", "netns", "add", hub)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not permitted here: {error.stderr.strip()}")
    made = [hub]
    try:
        sh("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
        sh("ip", "-n", hub, "addr", "add", f"{HUB}/24", "dev", "br0")
        sh("ip", "-n", hub, "link", "set", "br0", "up")
        sh("ip", "-n", hub, "link", "set", "lo", "up")
        for number, label in enumerate("ab", 2):
            name = f"vt{mark}{label}"
            sh("ip", "netns", "add", name)
            made.append(name)
            sh("ip", "link", "add", name, "netns", name, "type", "veth", "peer", "name", f"to{label}", "netns", hub)
            sh("ip", "-n", hub, "link", "set", f"to{label}", "master", "br0", "up")
            sh("ip", "-n", name, "addr", "add", f"10.231.77.{number}/24", "dev", name)
            sh("ip", "-n", name, "link", "set", name, "up")
            sh("ip", "-n", name, "link", "set", "lo", "up")
            lines[label] = name
        yield {"store": hub, **lines}
    finally:
        for name in made:
            with contextlib.suppress(subprocess.CalledProcessError):
                sh("ip", "netns", "delete", name)


def inside(name: str) -> tuple[str, ...]:
    """Words that run a command in that network, with everybody's mounts."""
    return ("nsenter", f"--net=/run/netns/{name}")


@pytest.mark.root
@pytest.mark.slow
def test_the_line_is_cut_and_heals(networks: dict[str, str], desk: Callable[..., Desk], base: Path) -> None:
    store = Store(trio.run(find_rclone), base / "far", prefix=inside(networks["store"]), address=HUB)
    store.start()
    try:
        a, b = desk("a", knows=None), desk("b", knows=None)
        for one in (a, b):
            one.prefix = inside(networks[one.label])
            one.knows(store)
        join(a, b)
        a.path("note").write_text("base")
        a.sync()
        b.until_reads("note", b"base")
        # Silence, as when a laptop leaves the house: nothing is refused, nothing answers.
        sh("ip", "-n", networks["store"], "link", "set", "tob", "down")
        a.path("note").write_text("by a")
        a.path("from-a").write_text("x")
        a.sync()
        b.path("note").write_text("by b")
        b.path("from-b").write_text("y")
        assert b.path("note").read_text() == "by b", "work goes on"
        assert not b.path("from-a").exists()
        sh("ip", "-n", networks["store"], "link", "set", "tob", "up")
        b.until(lambda: b.path("from-a").exists(), 120)
        a.until_reads("from-b", b"y", 120)
        settle(a, b)
        (kept,) = a.json("conflicts", "list", "--vault", "vault")
        assert kept["path"] == "note"
        for one in (a, b):
            one.umount()
    finally:
        store.stop()
