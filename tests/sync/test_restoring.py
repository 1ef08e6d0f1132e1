"""Commits written out into directories."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from tests.sync.worlds import WHEN, World, d, database, f, link, p
from vaultfs.errors import RemoteUnavailableError, TargetExistsError
from vaultfs.format.pack import BLOCK_BYTES

if TYPE_CHECKING:
    from pathlib import Path as Place


# Restoring.


def test_restoring_a_file_a_directory_and_everything(tmp_path: Place) -> None:
    world = World()
    data = {0: os.urandom(BLOCK_BYTES), 2: b"tail"}
    world.build({
        "d": d("d", mode=0o555), "d/x": f("x", b"hello", mode=0o640, xattrs=((b"user.k", b"v"),)),
        "d/l": link("l", b"/etc/passwd"), "d/s": d("s"), "d/s/long": world.long("long", data, 3 * BLOCK_BYTES),
    })  # fmt: skip
    done = world.restore("d/x", tmp_path / "one")
    assert (done.files, done.failures) == (1, [])
    found = (tmp_path / "one/x").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o640, WHEN)
    assert os.getxattr(tmp_path / "one/x", "user.k") == b"v"

    world.restore("d", tmp_path / "one")
    assert stat.S_IMODE((tmp_path / "one/d").stat().st_mode) == 0o555
    assert os.readlink(tmp_path / "one/d/l") == "/etc/passwd"
    assert os.lstat(tmp_path / "one/d/l").st_mtime_ns == WHEN
    long = tmp_path / "one/d/s/long"
    assert long.read_bytes() == data[0] + bytes(BLOCK_BYTES) + b"tail".ljust(BLOCK_BYTES, b"\0")
    assert long.stat().st_blocks * 512 < long.stat().st_size, "the hole is one"

    done = world.restore("", tmp_path / "all")
    assert (done.files, done.directories, done.symlinks) == (2, 2, 1)
    assert sorted(os.listdir(tmp_path / "all")) == ["d"]


def test_nothing_is_written_over(tmp_path: Place) -> None:
    world = World()
    world.build({"x": f("x", b"new"), "db": database("db", b"m", b"w")})
    (tmp_path / "x").write_text("mine")
    (tmp_path / "db-wal").symlink_to(tmp_path / "x")
    for path in ("x", "db", "db-wal", ""):
        with pytest.raises(TargetExistsError):
            world.restore(path, tmp_path)
    assert (tmp_path / "x").read_text() == "mine"
    assert not (tmp_path / "db").exists()
    with pytest.raises(FileNotFoundError):
        world.restore("no", tmp_path)
    with pytest.raises(FileNotFoundError):
        world.restore("x", tmp_path / "a/b")
    with pytest.raises(NotADirectoryError):
        world.restore("x", tmp_path / "x")


def test_a_unit_is_restored_whole(tmp_path: Place) -> None:
    world = World()
    editor = world.edit()
    editor.write(p("a"), d("a"))
    editor.write(p("a/db"), database("db", b"m", b"w"))
    editor.write(p("a/g"), d("g"))
    editor.write(p("a/g/HEAD"), f("HEAD"))
    editor.write(p("a/g/refs"), d("refs"))
    editor.enclose(p("a/g"))
    world.commit(editor)
    world.restore("a/db-wal", tmp_path / "one")
    assert sorted(os.listdir(tmp_path / "one")) == ["db", "db-wal"]
    world.restore("a/g/HEAD", tmp_path / "two")
    assert sorted(os.listdir(tmp_path / "two/g")) == ["HEAD", "refs"]


def test_hard_links(tmp_path: Place) -> None:
    world = World()
    world.build({"d": d("d"), "d/x": f("x", b"one"), "e": d("e"), "y": f("y", b"one")})
    editor = world.edit()
    editor.link(p("d/x"), p("e/other"))
    world.commit(editor)
    done = world.restore("", tmp_path / "out")
    assert (done.files, done.links) == (2, 1)
    assert os.path.samefile(tmp_path / "out/d/x", tmp_path / "out/e/other")
    assert not os.path.samefile(tmp_path / "out/d/x", tmp_path / "out/y")
    world.restore("e", tmp_path / "out2")
    assert (tmp_path / "out2/e/other").read_bytes() == b"one"


def test_links_are_never_followed(tmp_path: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that somebody swaps for a link while it is being filled stops what is below it, and no more."""
    outside = tmp_path / "outside"
    outside.mkdir()
    world = World()
    world.build({"d": d("d"), "d/x": f("x", b"secret"), "z": f("z")})
    real = os.mkdir

    def swapped(path: Any, *args: Any, **more: Any) -> None:
        real(path, *args, **more)
        if path == b"d":
            os.rmdir(tmp_path / "out/d")
            os.symlink(outside, tmp_path / "out/d")

    monkeypatch.setattr("vaultfs.sync.restoring.os.mkdir", swapped)
    done = world.restore("", tmp_path / "out")
    assert not os.listdir(outside)
    assert {failure.path for failure in done.failures} == {p("d"), p("d/x")}
    assert (tmp_path / "out/z").exists()


def test_what_cannot_be_read_is_left_out_and_told(tmp_path: Place) -> None:
    world = World()
    world.build({"a": f("a", b"x"), "long": world.long("l", {0: b"y" * 999}, 999), "z": f("z", b"x"), "d": d("d")})
    world.blobs.blocks.clear()
    done = world.restore("", tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["a", "d", "z"]
    assert [failure.path for failure in done.failures] == [p("long")]
    assert "missing" in done.failures[0].detail


def test_a_remote_that_goes_away_ends_it(tmp_path: Place) -> None:
    world = World()
    world.build({"a": f("a"), "long": world.long("l", {0: b"y" * 999}, 999)})

    def gone(_: bytes) -> bytes:
        raise RemoteUnavailableError(remote="r", detail="d")

    world.blobs.block = gone  # type: ignore[method-assign]
    with pytest.raises(RemoteUnavailableError):
        world.restore("", tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["a"], "no half of a file"


def test_a_name_that_the_disk_cannot_hold(tmp_path: Place) -> None:
    """A group's companion may have a longer name than a file can have: it and no other is left out."""
    world = World()
    depth = 30  # names of 200 bytes: longer than PATH_MAX together, which is no reason not to write them
    paths = ["/".join(["n" * 200] * level) for level in range(1, depth)]
    world.build({path: d(str(len(path))) for path in paths} | {paths[-1] + "/x": f("x", b"deep")})
    done = world.restore("", tmp_path / "out")
    assert (done.failures, done.directories, done.files) == ([], depth - 1, 1)
