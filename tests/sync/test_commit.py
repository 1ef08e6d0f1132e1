"""A cut's edits become a commit: what belongs together becomes one element; what was held is seen as concurrent."""

from __future__ import annotations

import pytest

from tests.support.nodes import MemoryNodes
from tests.sync.machine_edits import A, B, Machine, Start, path
from tests.sync.pictures import KEY
from vaultfs.format.node import Block, Blocks, Directory, Dot, Group, Symlink
from vaultfs.sync.edits import empty_root
from vaultfs.sync.merge import State, merge
from vaultfs.sync.seen import seen_element
from vaultfs.sync.units import SQLITE_MAGIC
from vaultfs.tree.edit import Moved, Removed

DB = SQLITE_MAGIC + b" a database"


def removed(name: str) -> Removed:
    return Removed(path(name), (0, name.encode()))


@pytest.fixture
def empty() -> tuple[Machine, Machine, State]:
    nodes = MemoryNodes(KEY)
    top = Directory(b"r" * 16, Dot(bytes(16), 1), None, 0, 0o755, None, None, 0, ())
    return Machine(nodes, A), Machine(nodes, B), State(empty_root(nodes, top), {})


def test_files_directories_and_links(empty: Start) -> None:
    a, _, base = empty
    state = a.commit(base, a.directory("d"), a.file("d/x", b"1"), a.link("l", b"d/x"))
    assert a.read(state, "d/x") == b"1"
    link = a.element(state, "l")
    assert isinstance(link, Symlink)
    assert link.target == b"d/x"
    assert isinstance(a.element(state, "d"), Directory)
    state = a.commit(state, removed("d"))
    assert a.element(state, "d") is None


@pytest.mark.parametrize("wal_first", [True, False])
def test_a_database_and_its_log_are_one_element(empty: Start, wal_first: bool) -> None:
    a, _, base = empty
    edits = [a.file("s.db", DB), a.file("s.db-wal", b"log")]
    state = a.commit(base, *(reversed(edits) if wal_first else edits))
    assert a.members(state, "s.db") == {b"": DB, b"-wal": b"log"}
    assert a.element(state, "s.db-wal") is None
    again = a.commit(state, a.file("s.db-wal", b"more"))
    assert a.members(again, "s.db") == {b"": DB, b"-wal": b"more"}
    group = a.element(again, "s.db")
    assert isinstance(group, Group)
    assert [member.file.version.counter for member in group.members] == [1, 2]
    closed = a.commit(again, removed("s.db-wal"))
    assert a.members(closed, "s.db") == {b"": DB}
    gone = a.commit(closed, removed("s.db"))
    assert a.element(gone, "s.db") is None


def test_a_reader_of_a_database_changes_nothing(empty: Start) -> None:
    a, _, base = empty
    state = a.commit(base, a.file("s.db", DB))
    again = a.commit(state, a.file("s.db-wal", b""))
    assert again.root == state.root
    assert a.commit(again, removed("s.db-wal")).root == state.root
    written = a.commit(again, a.file("s.db-wal", b"log"))
    assert a.members(written, "s.db") == {b"": DB, b"-wal": b"log"}
    assert a.members(a.commit(written, a.file("s.db-wal", b"")), "s.db") == {b"": DB}


def test_a_log_that_was_empty_is_told_by_what_changed_in_it(empty: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _, base = empty
    state = a.commit(base, a.file("s.db", DB), a.file("s.db-wal", b""))
    grown = a.file("s.db-wal", b"l" * 5000)
    monkeypatch.setattr(a, "content", lambda _: {0: (b"b" * 32, 5000)})
    state = a.commit(state, grown)
    group = a.element(state, "s.db")
    assert isinstance(group, Group)
    assert {member.suffix: member.file.size for member in group.members} == {b"": len(DB), b"-wal": 5000}
    assert group.members[1].file.content == Blocks((Block(0, b"b" * 32, 5000),))
    with pytest.raises(FileNotFoundError):
        a.commit(state, a.file("never-seen", b"x"))


def test_a_log_that_was_there_before_its_database(empty: Start) -> None:
    a, _, base = empty
    state = a.commit(base, a.file("s.db-wal", b"log"))
    assert a.read(state, "s.db-wal") == b"log"
    state = a.commit(state, a.file("s.db", DB))
    assert a.members(state, "s.db") == {b"": DB, b"-wal": b"log"}
    assert a.element(state, "s.db-wal") is None
    assert a.kept(state) == []


def test_what_stays_of_a_database_that_is_removed(empty: Start) -> None:
    a, _, base = empty
    state = a.commit(base, a.file("s.db", DB), a.file("s.db-journal", b"log"))
    state = a.commit(state, removed("s.db"))
    assert a.element(state, "s.db") is None
    assert a.read(state, "s.db-journal") == b"log"


def test_a_file_that_is_no_database_any_more(empty: Start) -> None:
    a, _, base = empty
    state = a.commit(base, a.file("s.db", DB), a.file("s.db-wal", b"log"))
    state = a.commit(state, a.file("s.db", b"plain text"))
    assert a.read(state, "s.db") == b"plain text"
    assert a.read(state, "s.db-wal") == b"log"
    state = a.commit(state, a.link("s.db", b"elsewhere"), a.file("s.db-wal", b"x"))
    assert isinstance(a.element(state, "s.db"), Symlink)


@pytest.mark.parametrize("order", [0, 1])
def test_a_database_is_moved_with_its_log(empty: Start, order: int) -> None:
    a, _, base = empty
    state = a.commit(base, a.directory("d"), a.file("s.db", DB), a.file("s.db-wal", b"log"))
    moves = [Moved(path("s.db"), path("d/t.db")), Moved(path("s.db-wal"), path("d/t.db-wal"))]
    state = a.commit(state, *(moves if order else reversed(moves)))
    assert a.members(state, "d/t.db") == {b"": DB, b"-wal": b"log"}
    assert a.element(state, "s.db") is None
    state = a.commit(state, Moved(path("d"), path("e")), a.file("e/t.db-wal", b"more"))
    assert a.members(state, "e/t.db") == {b"": DB, b"-wal": b"more"}
    state = a.commit(state, Moved(path("e/t.db"), path("u.db")))
    assert a.members(state, "u.db") == {b"": DB}
    assert a.read(state, "e/t.db-wal") == b"more"
    state = a.commit(state, a.file("u.db-wal", b"x"), removed("e"))
    assert a.element(state, "e") is None
    assert a.members(state, "u.db") == {b"": DB, b"-wal": b"x"}


def test_a_file_is_renamed_over_a_database(empty: Start) -> None:
    a, _, base = empty
    state = a.commit(base, a.file("s.db", DB), a.file("new", DB + b"2"))
    state = a.commit(state, removed("s.db"), Moved(path("new"), path("s.db")), a.file("s.db-wal", b"log"))
    assert a.members(state, "s.db") == {b"": DB + b"2", b"-wal": b"log"}
    assert a.element(state, "new") is None


def test_a_held_database_is_concurrent_as_a_whole(empty: Start) -> None:
    a, b, base = empty
    start = a.commit(base, a.file("s.db", DB), a.file("s.db-wal", b"one"))
    seen = a.element(start, "s.db")
    newer = b.commit(start, b.file("s.db", DB + b"B", time=9), b.file("s.db-wal", b"two", time=9), now=9)
    merged = merge(a.nodes, start, newer)
    # A still has the old one open and goes on writing its log.
    mine = a.commit(merged, a.file("s.db-wal", b"one more", time=5), held={"s.db": seen, "s.db-wal": seen}, now=5)
    assert a.members(mine, "s.db") == {b"": DB + b"B", b"-wal": b"two"}
    ((where, kept),) = a.kept(mine)
    assert where == path("s.db")
    assert isinstance(kept, Group)
    assert {member.suffix: member.file.content.data for member in kept.members} == {b"": DB, b"-wal": b"one more"}


def test_a_held_database_that_is_written_again_and_again(empty: Start) -> None:
    a, b, base = empty
    start = a.commit(base, a.file("s.db", DB), a.file("s.db-wal", b"one"))
    seen = a.element(start, "s.db")
    newer = b.commit(start, b.file("s.db", DB + b"B", time=9), now=9)
    state = merge(a.nodes, start, newer)
    held = {"s.db": seen, "s.db-wal": seen}
    for edit in (a.file("s.db", DB + b"moved in", time=5), a.file("s.db-wal", b"two", time=6), removed("s.db-wal")):
        state = a.commit(state, edit, held=held, now=6)
        assert a.seen[b"s.db"] == a.seen[b"s.db-wal"]
        held = dict.fromkeys(held, seen_element(a.seen[b"s.db"] or b""))
    assert a.members(state, "s.db") == {b"": DB + b"B", b"-wal": b"one"}
    ((_, kept),) = a.kept(state)
    assert {member.suffix: member.file.content.data for member in kept.members} == {b"": DB + b"moved in"}


def test_a_held_file_that_was_written_or_removed(empty: Start) -> None:
    a, b, base = empty
    start = a.commit(base, a.file("f", b"one"), a.file("g", b"one"))
    newer = b.commit(start, b.file("f", b"two", time=9), b.file("g", b"two", time=9), b.file("h", b"two"), now=9)
    merged = merge(a.nodes, start, newer)
    held = {"f": a.element(start, "f"), "g": a.element(start, "g"), "h": None}
    mine = a.commit(merged, removed("g"), a.file("f", b"three"), a.file("h", b"mine", time=3), held=held)
    assert a.read(mine, "f") == b"two"
    assert a.read(mine, "g") == b"two"
    assert a.read(mine, "h") == b"mine"
    assert {where[0]: element.content.data for where, element in a.kept(mine)} == {b"f": b"three", b"h": b"two"}
    assert a.seen.pop(b"g") is None
    again = {name.decode(): seen_element(record or b"") for name, record in a.seen.items()}
    later = a.commit(mine, a.file("f", b"four", time=4), held=again | {"g": None})
    assert {where[0]: element.content.data for where, element in a.kept(later)} == {b"f": b"four", b"h": b"two"}


def test_a_directory_that_is_gone_elsewhere_comes_back_for_what_is_new_in_it(empty: Start) -> None:
    a, b, base = empty
    start = a.commit(base, a.directory("d"), a.directory("d/e"), a.file("d/e/x", b"1"), a.file("f", b"1"))
    gone = b.commit(start, removed("d"), removed("f"))
    merged = merge(a.nodes, start, gone)
    held = {"d": a.element(start, "d"), "f": a.element(start, "f")}
    mine = a.commit(merged, a.file("d/e/new", b"2"), removed("f"), held=held)
    assert a.read(mine, "d/e/new") == b"2"
    assert a.element(mine, "d/e/x") is None
    assert a.element(mine, "f") is None


def test_a_directory_here_and_a_file_there(empty: Start) -> None:
    a, b, base = empty
    start = a.commit(base, a.directory("d"))
    other = b.commit(start, removed("d"), b.file("d", b"a file", time=9), now=9)
    merged = merge(a.nodes, start, other)
    mine = a.commit(merged, a.file("d/x", b"1"), held={"d": a.element(start, "d")})
    assert a.read(mine, "d/x") == b"1"
    assert [element.content.data for _, element in a.kept(mine)] == [b"a file"]


def test_many_files_write_their_directories_once(empty: Start) -> None:
    a, _, base = empty
    edits = [a.directory(name) for name in ("d", "d/e", "d/u", "d/u/v")]
    edits += [a.file(f"d/e/{number}", b"x" * 100) for number in range(200)]
    edits += [a.file(f"d/u/v/{number}", b"x" * 100) for number in range(50)]
    before = len(a.nodes.new)
    state = a.commit(base, *edits)
    assert len(a.nodes.new) - before < 30, "no node of an unfinished directory"
    assert a.read(state, "d/u/v/49") == b"x" * 100


@pytest.mark.parametrize("name", ["f", "s.db"])
def test_a_line_of_versions_is_one_conflict(empty: Start, name: str) -> None:
    """Both go on writing what both have open: of the one that is not in place only the newest version is kept."""
    a, b, base = empty
    start = DB if name == "s.db" else b""
    base = a.commit(base, a.file(name, start), now=1)
    seen, theirs, ours = a.element(base, name), base, base
    for turn in range(2, 8, 2):
        # B's is in place: it moves ours out of its way. Ours was made from ours.
        theirs = b.commit(merge(b.nodes, theirs, ours), b.file(name, start + b"B%d" % turn, time=100 + turn), now=turn)
        ours = merge(a.nodes, ours, theirs)
        ours = a.commit(ours, a.file(name, start + b"A%d" % turn), held={name: seen}, now=turn + 1)
        record = a.seen[name.encode()]
        assert record is not None
        seen = seen_element(record)
    assert len(a.kept(ours)) == 1
    both = merge(b.nodes, b.commit(ours, b.file(name, start + b"B", time=200), now=9), ours)
    (kept,) = a.kept(both)
    assert kept[1].version == seen.version
