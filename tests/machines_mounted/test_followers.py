"""A machine that only looks: live, with no right to write on the remote."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.machines_mounted.conftest import join

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.machines_mounted.desk import Desk
    from tests.machines_mounted.store import Store


def follow(a: Desk, c: Desk) -> None:
    """C joins, to look."""
    shutil.copy(a.key, c.key)
    c.mount("--read-only")


def test_tail_follows_a_file_that_grows(desk: Callable[..., Desk], store: Store, base: Path) -> None:
    a, c = desk("a"), desk("c")
    join(a)
    log = base / "log"
    writer = a.start("writing", "append", str(a.path("session.log")), str(log), "0.02")
    a.until(lambda: a.path("session.log").stat().st_size > 1000)
    a.sync()
    follow(a, c)
    before = len([name for name in store.objects() if name.startswith("heads/")])
    c.until(lambda: c.path("session.log").stat().st_size > 1000)
    tail = subprocess.Popen(
        ["tail", "-n", "+1", "-f", str(c.path("session.log"))], stdout=subprocess.PIPE, text=True, cwd="/"
    )
    c.helpers.append(tail)  # type: ignore[arg-type]
    assert tail.stdout
    for number in range(1, 400):
        line = tail.stdout.readline()
        assert line == f"line {number:06} of a session that grows\n", (number, line)
    c.end(tail)  # type: ignore[arg-type]
    a.end(writer)
    with pytest.raises(OSError, match="Read-only"):
        c.path("mine").touch()
    assert c.status()["sync"]["trouble"] is None
    heads = {name.split("/")[1] for name in store.objects() if name.startswith("heads/")}
    assert len(heads) == 1, "who only looks publishes nothing"
    assert before
    c.umount()


@pytest.mark.root
def test_to_look_needs_only_the_right_to_read(desk: Callable[..., Desk], base: Path) -> None:
    """The remote is a directory that the one who looks may not write to (a read-only mount: root may everything)."""
    place, window = base / "remote", base / "window"
    place.mkdir()
    window.mkdir()
    a, c = desk("a", knows=None), desk("c", knows=None)
    a.remote, c.remote = str(place / "vault"), str(window / "vault")
    join(a)
    a.path("note").write_text("one")
    a.sync()
    subprocess.run(["mount", "--bind", place, window], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", window], check=True)
        follow(a, c)
        c.until_reads("note", b"one")
        a.path("note").write_text("two")
        a.path("new").write_text("new")
        os.symlink("note", a.path("link"))
        a.sync()
        c.until_reads("note", b"two")
        c.until_reads("new", b"new")
        c.until(lambda: c.path("link").is_symlink())
        facts = c.status()["sync"]
        assert facts["trouble"] is None
        assert not facts["requests"].get("puts")
        c.umount()
    finally:
        subprocess.run(["umount", "--lazy", window], check=True)
