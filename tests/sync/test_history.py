"""Commits looked at, compared, and written out: held to a plain dict of what the tree should be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.sync.worlds import A, B, World, changes, d, database, f, ident, link, p
from vaultfs.format.node import Blocks, File, Indirect, Inline
from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.sync.comparing import How, diff
from vaultfs.sync.history import content
from vaultfs.sync.merge import merge

if TYPE_CHECKING:
    from vaultfs.format.node import Element
    from vaultfs.sync.walking import Snapshot


def shown(snapshot: Snapshot, path: str = "") -> list[str]:
    top = snapshot.find(p(path))
    return [os.fsdecode(b"/".join(found.path)) for found in snapshot.walk(top) if found.path]


def test_walking_shows_groups_as_files_and_units_as_directories() -> None:
    world = World()
    editor = world.edit()
    for path, element in {"d": d("d"), "d/s.db": database("s.db", b"main", b"wal"), "d/z": f("z"), "g": d("g")}.items():
        editor.write(p(path), element)
    editor.write(p("g/HEAD"), f("HEAD", b"ref"))
    editor.enclose(p("g"))
    world.commit(editor)
    snapshot = world.snapshot()
    assert shown(snapshot) == ["d", "d/s.db", "d/s.db-wal", "d/z", "g", "g/HEAD"]
    assert shown(snapshot, "g") == ["g", "g/HEAD"]
    wal = snapshot.find(p("d/s.db-wal"))
    assert isinstance(wal.item.element, File)
    assert wal.item.element.content == Inline(b"wal")
    assert (wal.unit, snapshot.find(p("d/z")).unit) == (p("d/s.db"), None)
    assert snapshot.find(p("g/HEAD")).unit == snapshot.find(p("g")).unit == p("g")
    whole, files = snapshot.together(wal)
    assert whole.path == p("d/s.db")
    assert [found.path for found in files] == [p("d/s.db"), p("d/s.db-wal")]
    for missing in ("x", "d/x", "d/s.db-journal", "d/s.db-"):
        with pytest.raises(FileNotFoundError):
            snapshot.find(p(missing))
    with pytest.raises(NotADirectoryError):
        snapshot.find(p("d/z/x"))


def test_of_siblings_the_one_in_place_is_shown() -> None:
    world = World()
    base = world.state
    mine, theirs = world.edit(A, base), world.edit(B, base)
    mine.write(p("x"), f("mine", b"old", time=1))
    theirs.write(p("x"), f("theirs", b"new", time=2))
    merged = merge(world.nodes, mine.commit(), theirs.commit())
    found = world.snapshot(merged.root).find(p("x"))
    assert found.item.element.id == ident("theirs")
    assert shown(world.snapshot(merged.root)) == ["x"]


def test_a_groups_file_stands_before_one_that_somebody_else_put_there() -> None:
    world = World()
    base = world.state
    mine, theirs = world.edit(A, base), world.edit(B, base)
    mine.write(p("s.db"), database("s.db", b"m", b"whole"))
    theirs.write(p("s.db-wal"), f("loose", b"loose", time=9))
    snapshot = world.snapshot(merge(world.nodes, mine.commit(), theirs.commit()).root)
    top = snapshot.top
    assert [found.path for found in snapshot.inside(top)] == [p("s.db"), p("s.db-wal")]
    for found in (snapshot.find(p("s.db-wal")), list(snapshot.inside(top))[1]):
        assert isinstance(found.item.element, File)
        assert found.item.element.content == Inline(b"whole")
        assert found.unit == p("s.db")


def test_a_directory_without_attributes_is_private() -> None:
    world = World()
    first = world.build({"d": d("d"), "d/old": f("old")})
    base = world.state
    mine, theirs = world.edit(A, base), world.edit(B, base)
    mine.delete(p("d"))
    theirs.write(p("d/new"), f("new"))
    merged = merge(world.nodes, mine.commit(), theirs.commit()).root
    found = world.snapshot(merged).find(p("d"))
    assert (found.item.element.mode, shown(world.snapshot(merged))) == (0o700, ["d", "d/new"])
    assert [change[:2] for change in diff(world.nodes, first, merged)] == [
        (How.CHANGED, p("d")), (How.ADDED, p("d/new")), (How.REMOVED, p("d/old")),
    ]  # fmt: skip


@pytest.mark.parametrize("count", [3, 40])
def test_content_with_holes(count: int) -> None:
    world = World()
    blocks = {number * 3: os.urandom(BLOCK_BYTES if number % 2 else 100) for number in range(count)}
    size = count * 3 * BLOCK_BYTES + 5
    element = world.long("long", blocks, size)
    assert isinstance(element.content, Blocks if count < 16 else Indirect)
    expected = bytearray(size)
    for number, data in blocks.items():
        expected[number * BLOCK_BYTES :][: len(data)] = b""
        expected[number * BLOCK_BYTES : number * BLOCK_BYTES + len(data)] = data
    read = list(content(world.nodes, world.blobs, element))
    assert b"".join(read) == expected
    assert max(map(len, read)) <= BLOCK_BYTES
    for start, end in ((0, 1), (50, 150), (BLOCK_BYTES - 1, 3 * BLOCK_BYTES + 1), (size - 3, size + 9), (size, None)):
        assert b"".join(content(world.nodes, world.blobs, element, start, end)) == expected[start:end]
    world.blobs.reads = 0
    assert b"".join(content(world.nodes, world.blobs, element, 3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 1))
    assert world.blobs.reads == 1


def test_diff() -> None:
    world = World()
    a = world.build({
        "d": d("d"), "d/x": f("x", b"1"), "d/y": f("y"), "d/z": f("z"), "keep": d("keep"), "keep/k": f("k"),
        "big": d("big"), "big/1": f("1"), "big/2": f("2"), "big/s": d("s"), "big/s/3": f("3"), "gone": d("gone"),
        "gone/g": f("g"), "l": link("l", b"a"),
    })  # fmt: skip
    assert changes(world, a, a) == []
    editor = world.edit()
    editor.write(p("d/x"), f("x", b"2"))
    editor.delete(p("d/y"))
    editor.rename(p("d/z"), p("d/zz"))
    editor.write(p("d/new"), f("new"))
    editor.write(p("l"), link("l", b"b"))
    editor.write(p("archive"), d("archive"))
    editor.rename(p("big"), p("archive/big"))
    editor.write(p("archive/big/1"), f("1", b"!"))
    editor.delete(p("archive/big/2"))
    editor.rename(p("archive/big/s/3"), p("three"))
    editor.rename(p("gone/g"), p("g"))
    editor.delete(p("gone"))
    b = world.commit(editor)
    assert changes(world, a, b) == [
        "added archive/", "moved big -> archive/big/", "changed archive/big/1", "removed big/2", "added d/new",
        "changed d/x", "removed d/y", "moved d/z -> d/zz", "moved gone/g -> g", "removed gone/", "changed l",
        "moved big/s/3 -> three",
    ]  # fmt: skip
    assert "moved archive/big -> big/" in changes(world, b, a)
    assert changes(world, a, b, "d/x") == ["changed d/x"]
    assert changes(world, a, b, "keep") == changes(world, a, b, "nothing/there") == []
    assert changes(world, a, b, "gone") == ["removed gone/", "removed gone/g"]


def test_a_directory_that_was_read_before_it_was_known_to_have_moved() -> None:
    """A small directory is looked into before the larger new one that it moved into, and the other way round."""
    world = World()
    a = world.build({"d": d("d"), "d/x": f("x")})
    editor = world.edit()
    for path, element in {"n": d("n"), "n/y": f("y"), "n/z": f("z")}.items():
        editor.write(p(path), element)
    editor.rename(p("d"), p("n/d"))
    b = world.commit(editor)
    assert changes(world, a, b) == ["added n/", "moved d -> n/d/", "added n/y", "added n/z"]
    assert changes(world, b, a) == ["moved n/d -> d/", "removed n/", "removed n/y", "removed n/z"]
    editor = world.edit()
    editor.rename(p("n/d/x"), p("n/x"))
    c = world.commit(editor)
    assert changes(world, a, c) == ["added n/", "moved d -> n/d/", "moved d/x -> n/x", "added n/y", "added n/z"]
    assert changes(world, c, a) == ["moved n/d -> d/", "moved n/x -> d/x", "removed n/", "removed n/y", "removed n/z"]


def test_a_touched_directory_is_no_difference_but_its_mode_is() -> None:
    world = World()
    a = world.build({"d": d("d")})
    b = world.build({"d": d("d", mtime=5)})
    c = world.build({"d": d("d", mode=0o700)})
    assert changes(world, a, b) == []
    assert changes(world, b, c) == ["changed d/"]


def test_a_diff_reads_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaultfs.format.node_summary.LEAF_WEIGHT", 1000)
    world = World()
    tree: dict[str, Element] = {"d": d("d"), "e": d("e")}
    tree |= {f"d/{number}": f(str(number)) for number in range(500)}
    tree |= {f"e/{number}": f(f"e{number}") for number in range(500)}
    a = world.build(tree)
    editor = world.edit()
    editor.write(p("d/77"), f("77", b"changed"))
    editor.rename(p("e"), p("d/e"))
    b = world.commit(editor)
    world.nodes.reads = 0
    assert changes(world, a, b) == ["changed d/77", "moved e -> d/e/"]
    assert world.nodes.reads < 40
