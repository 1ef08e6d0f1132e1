"""Conflicts as files: below `.vaultfs/conflicts` of every mount, and in an attribute of what is in place."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.desks import a_tick_later

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.desks import Desk

pytestmark = pytest.mark.fuse

ATTRIBUTE = "user.vaultfs.conflicts"


def apart(desk: Desk, laptop: Desk, work: Callable[[Path, str], None]) -> None:
    """Both do the work, the laptop later, without knowing of each other; then they meet."""
    away = desk.remote.with_name("unplugged")
    desk.remote.rename(away)
    work(desk.mountpoint, "desk")
    a_tick_later()
    work(laptop.mountpoint, "laptop")
    away.rename(desk.remote)
    for one in (desk, laptop, desk):
        one.sync()


def kept(desk: Desk) -> Path:
    return desk.mountpoint / ".vaultfs/conflicts"


def named(desk: Desk, path: str) -> str:
    """The name of the conflict at a path."""
    (found,) = (one for one in desk.json("conflicts", "list") if one["path"] == path)
    return str(found["name"])


def test_without_conflicts_there_is_an_empty_directory(both: tuple[Desk, Desk]) -> None:
    for one in both:
        assert ".vaultfs" not in os.listdir(one.mountpoint)
        assert sorted(os.listdir(one.mountpoint / ".vaultfs")) == ["conflicts", "status"]
        assert os.listdir(kept(one)) == []
        file = one.write("note", "x")
        assert ATTRIBUTE not in os.listxattr(file)
        with pytest.raises(OSError, match="No data"):
            os.getxattr(file, ATTRIBUTE)


def test_a_vault_without_a_remote_has_none(desk: Desk, base: Path) -> None:
    desk.ok("mount", str(base / "home-alone"), "--vault", "alone", "--yes")
    try:
        assert os.listdir(base / "home-alone/.vaultfs/conflicts") == []
    finally:
        desk.ok("umount", str(base / "home-alone"))


def test_a_file(both: tuple[Desk, Desk]) -> None:
    desk, laptop = both
    long = "n" * 250
    os.makedirs(desk.mountpoint / "d/e")
    desk.write("d/e/plan.md", "base")
    desk.write(long, "base")
    desk.sync()
    laptop.sync()

    def work(top: Path, label: str) -> None:
        (top / "d/e/plan.md").write_text(f"by the {label}")
        (top / "d/e/plan.md").chmod(0o755)
        (top / long).write_text(label)

    apart(desk, laptop, work)
    name = named(desk, "d/e/plan.md")
    for one in both:
        path = kept(one) / f"d/e/plan.md.{name}"
        assert path.read_text() == "by the desk"
        assert path.stat().st_mode & 0o777 == 0o500
        assert os.listdir(kept(one) / "d/e") == [path.name]
        assert sorted(os.listdir(kept(one))) == ["d", f"{'n' * 242}.{named(one, long)}"]
        assert (kept(one) / f"{'n' * 242}.{named(one, long)}").read_text() == "desk"
        in_place = one.mountpoint / "d/e/plan.md"
        assert in_place.read_text() == "by the laptop"
        assert ATTRIBUTE in os.listxattr(in_place)
        assert json.loads(os.getxattr(in_place, ATTRIBUTE)) == {"number": 1, "names": [name]}
        assert ATTRIBUTE not in os.listxattr(one.mountpoint / "d")
        shutil.copy2(in_place, one.home / "copy")

    # Nothing there can be changed.
    path = kept(desk) / f"d/e/plan.md.{name}"
    for change in (
        lambda: path.write_text("x"),
        lambda: os.unlink(path),
        lambda: os.rename(path, desk.mountpoint / "out"),
        lambda: os.mkdir(kept(desk) / "new"),
        (kept(desk) / "d/new").touch,
        lambda: os.truncate(path, 0),
        lambda: os.setxattr(desk.mountpoint / "d/e/plan.md", ATTRIBUTE, b"x"),
    ):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - any of these
            change()
        assert caught.value.errno in {errno.EPERM, errno.EROFS, errno.EACCES, errno.EXDEV}, caught.value

    with path.open() as held:
        desk.ok("conflicts", "keep", name)
        assert held.read() == "by the desk", "who has it open goes on reading"
    desk.sync()
    laptop.sync()
    for one in both:
        assert (one.mountpoint / "d/e/plan.md").read_text() == "by the desk"
        assert ATTRIBUTE not in os.listxattr(one.mountpoint / "d/e/plan.md")
        assert "d" not in os.listdir(kept(one))
        assert not (kept(one) / f"d/e/plan.md.{name}").exists()


def test_what_was_put_aside_and_a_new_mount(both: tuple[Desk, Desk]) -> None:
    desk, laptop = both
    apart(desk, laptop, lambda top, label: (top / "note").write_text(label) and None)
    laptop.write("note", "decided")
    laptop.sync()
    desk.sync()
    name = named(desk, "note")
    assert (kept(desk) / f"note.{name}").read_text() == "desk"
    desk.ok("umount")
    desk.mount()
    desk.sync()
    assert desk.status()["sync"]["conflicts"] == 1, "also after a new mount"
    assert json.loads(os.getxattr(desk.mountpoint / "note", ATTRIBUTE))["names"] == [name]
    assert (kept(desk) / f"note.{name}").read_text() == "desk"
    os.removexattr(desk.mountpoint / "note", ATTRIBUTE)  # as `rsync -X` does: it succeeds, and does nothing
    assert ATTRIBUTE in os.listxattr(desk.mountpoint / "note")
    older = desk.home / "older"
    desk.ok("mount", str(older), "--at", desk.json("log")[0]["commit"])
    assert (older / f".vaultfs/conflicts/note.{name}").read_text() == "desk"
    assert json.loads(os.getxattr(older / "note", ATTRIBUTE))["names"] == [name]
    desk.ok("umount", str(older))
    laptop.ok("umount")
    laptop.mount("--read-only")
    assert (kept(laptop) / f"note.{name}").read_text() == "desk"


def test_a_database_a_unit_and_a_link(both: tuple[Desk, Desk], base: Path) -> None:
    desk, laptop = both

    def work(top: Path, label: str) -> None:
        db = sqlite3.connect(top / "state.db", isolation_level=None)
        db.execute("pragma journal_mode=wal")
        db.execute("create table t (x)")
        db.execute("insert into t values (?)", (label,))
        shutil.copy(top / "state.db", base / "saved")
        shutil.copy(top / "state.db-wal", base / "saved-wal")
        db.close()
        shutil.copy(base / "saved", top / "state.db")
        shutil.copy(base / "saved-wal", top / "state.db-wal")
        run = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*"]
        subprocess.run([*run, "init", "-q", "-b", "main", str(top / "repo")], check=True)
        (top / "repo/.git/description").write_text(label)
        (top / "repo/.git/hooks/way/down").mkdir(parents=True)
        (top / "repo/.git/hooks/way/down/here").write_text(label)
        os.symlink(f"to the {label}", top / "link")

    apart(desk, laptop, work)
    for one in both:
        database, unit, link = (named(one, path) for path in ("state.db", "repo/.git", "link"))
        assert {f"state.db.{database}", f"state.db.{database}-wal"} <= set(os.listdir(kept(one)))
        copy = base / f"copy-{one.home.name}"
        copy.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(kept(one) / f"state.db.{database}{suffix}", copy / f"state.db{suffix}")
        with closing(sqlite3.connect(copy / "state.db")) as db:
            assert db.execute("select x from t").fetchall() == [("desk",)]
        there = kept(one) / f"repo/.git.{unit}"
        assert (there / "description").read_text() == "desk"
        assert (there / "hooks/way/down/here").read_text() == "desk"
        assert {"HEAD", "objects", "refs"} <= set(os.listdir(there))
        shutil.copytree(there, copy / ".git")
        for directory, _, _ in os.walk(copy):
            Path(directory).chmod(0o700)  # what is kept is read-only, and an ordinary user could not remove this one
        assert json.loads(os.getxattr(one.mountpoint / "repo/.git", ATTRIBUTE))["names"] == [unit]
        assert os.readlink(kept(one) / f"link.{link}") == "to the desk"


def test_a_large_one_is_fetched_piece_by_piece(both: tuple[Desk, Desk]) -> None:
    desk, laptop = both
    size = 24 << 20
    data = {"desk": os.urandom(size), "laptop": os.urandom(1 << 20)}
    apart(desk, laptop, lambda top, label: (top / "big").write_bytes(data[label]) and None)
    path = kept(laptop) / f"big.{named(laptop, 'big')}"
    before = laptop.status()["sync"]["requests"]["bytes_down"]
    with path.open("rb") as file:
        file.seek(size - 1000)
        assert file.read() == data["desk"][-1000:]
        assert laptop.status()["sync"]["requests"]["bytes_down"] - before < size // 3, "not the whole of it"
    grown = memory(laptop)
    assert path.read_bytes() == data["desk"]
    assert path.stat().st_size == size
    assert memory(laptop) - grown < 48 << 20, "a few blocks on the way, not the file"


def memory(desk: Desk) -> int:
    """What the daemon holds, in bytes."""
    return int(Path(f"/proc/{desk.pid()}/statm").read_text().split()[1]) * resource.getpagesize()
