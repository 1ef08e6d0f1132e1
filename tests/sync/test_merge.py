"""Merging: single cases a person would tell, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sync.merging import A, B, C, Vault, do, git, path
from tests.sync.pictures import content, directory, file, group, unit
from vaultfs.format.node import Directory, Dot, Unit
from vaultfs.format.node_trie import Trie
from vaultfs.sync.conflicts import conflicts
from vaultfs.sync.edits import PRIVATE, Editor
from vaultfs.sync.elements import in_place

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def vault() -> Vault:
    return Vault()


def test_both_wrote(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.put("f", "old"))
    both = vault.merge(vault.do(base, A, vault.put("f", "from A")), vault.do(base, B, vault.put("f", "from B")))
    assert vault.read(both, "f") == "from B"
    assert vault.conflicts(both) == [("f", "from A")]


def test_the_newer_clock_is_in_place_whoever_it_was(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.put("f", "old"))
    a, b = vault.do(base, A, vault.put("f", "from A", now=900)), vault.do(base, B, vault.put("f", "from B", now=1))
    assert vault.read(vault.merge(a, b), "f") == "from A"


def test_different_files_are_no_conflict(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.mkdir("d"))
    both = vault.merge(vault.do(base, A, vault.put("d/a", "1")), vault.do(base, B, vault.put("d/b", "2")))
    assert (vault.read(both, "d/a"), vault.read(both, "d/b"), vault.conflicts(both)) == ("1", "2", [])


def test_removal_against_edit_keeps_the_edit(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.put("f", "old"))
    both = vault.merge(vault.do(base, A, lambda e: e.delete(path("f"))), vault.do(base, B, vault.put("f", "edit")))
    assert (vault.read(both, "f"), vault.conflicts(both)) == ("edit", [])


def test_what_was_removed_does_not_come_back_with_an_old_head(vault: Vault) -> None:
    old = vault.do(vault.empty, A, vault.put("f", "old"), vault.put("g", "stays"))
    gone = vault.do(old, B, lambda e: e.delete(path("f")))
    other = vault.do(old, C, vault.put("h", "new"))
    both = vault.merge(gone, other, old)
    assert (vault.entry(both, "f"), vault.read(both, "h")) == (None, "new")


def test_an_edit_moves_the_siblings_aside(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.put("f", "old"))
    a, b = vault.do(base, A, vault.put("f", "from A")), vault.do(base, B, vault.put("f", "from B"))
    both = vault.merge(a, b)
    decided = vault.do(both, C, vault.put("f", "from C"))
    assert (vault.read(decided, "f"), vault.conflicts(decided)) == ("from C", [("f", "from A")])
    assert vault.merge(decided, a, b) == decided
    dropped = vault.do(
        decided, C, *[lambda e, c=c: e.drop_conflict(c.path, (c.element.version, c.element.placed, c.element.id))
                      for c in conflicts(vault.nodes, decided.root)]
    )  # fmt: skip
    assert vault.conflicts(vault.merge(dropped, a, both)) == []


def test_a_conflict_can_be_kept(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.put("f", "old"))
    both = vault.merge(vault.do(base, A, vault.put("f", "from A")), vault.do(base, B, vault.put("f", "from B")))
    (found,) = conflicts(vault.nodes, both.root)
    which = found.element.version, found.element.placed, found.element.id
    kept = vault.do(both, C, lambda e: e.keep_conflict(found.path, which))
    assert (vault.read(kept, "f"), vault.conflicts(kept)) == ("from A", [])


def test_a_unit_that_was_a_conflict_is_kept_with_all_that_is_in_it(vault: Vault) -> None:
    base = git(vault)
    both = vault.merge(vault.do(base, A, vault.put("git/HEAD", "A")), vault.do(base, B, vault.put("git/HEAD", "B")))
    (found,) = conflicts(vault.nodes, both.root)
    which = found.element.version, found.element.placed, found.element.id
    kept = vault.do(both, C, lambda e: e.keep_conflict(found.path, which))
    entry = vault.entry(kept, "git")
    assert entry is not None
    (element,) = entry.elements
    assert isinstance(element, Unit)
    head = Trie(vault.nodes).lookup(element.below, b"HEAD")
    assert head is not None
    assert content(head.elements[0]) == b"A"
    assert vault.conflicts(kept) == []
    # New attributes of a unit change nothing in it.
    changed = vault.do(kept, C, lambda e: e.write(path("git"), unit(b"git".ljust(16), 99)))
    entry = vault.entry(changed, "git")
    assert entry is not None
    assert isinstance(entry.elements[0], Unit)
    assert (entry.elements[0].below, entry.elements[0].time) == (element.below, 99)


def test_a_conflict_that_cannot_be_put_in_place_stays(vault: Vault) -> None:
    a = vault.do(vault.empty, A, vault.mkdir("x"), vault.put("x/in", "1"))
    both = vault.merge(a, vault.do(vault.empty, B, vault.put("x", "file")))
    (found,) = conflicts(vault.nodes, both.root)
    which = found.element.version, found.element.placed, found.element.id

    def attempt(editor: Editor) -> None:
        with pytest.raises(IsADirectoryError):
            editor.keep_conflict(found.path, which)

    assert vault.conflicts(vault.do(both, C, attempt)) == [("x", "file")]


def test_removed_directory_into_which_something_was_put(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.mkdir("d"), vault.mkdir("d/s"), vault.put("d/s/old", "old"))
    gone = vault.do(base, A, lambda e: e.delete(path("d")))
    put = vault.do(base, B, vault.put("d/s/new", "new"))
    both = vault.merge(gone, put)
    assert (vault.read(both, "d/s/new"), vault.entry(both, "d/s/old")) == ("new", None)
    entry = vault.entry(both, "d")
    assert entry is not None
    assert (entry.elements, in_place(entry)) == ((), None)  # it has no attributes left
    again = vault.do(both, C, vault.put("d/s/more", "more"))
    entry = vault.entry(again, "d")
    assert entry is not None
    assert [element.mode for element in entry.elements if isinstance(element, Directory)] == [PRIVATE]


def test_two_made_the_same_directory(vault: Vault) -> None:
    a = vault.do(vault.empty, A, vault.mkdir("d", 0o700), vault.put("d/a", "1"))
    b = vault.do(vault.empty, B, vault.mkdir("d", 0o755), vault.put("d/b", "2"))
    both = vault.merge(a, b)
    assert vault.conflicts(both) == []
    entry = vault.entry(both, "d")
    assert entry is not None
    chosen = in_place(entry)
    assert isinstance(chosen, Directory)
    assert chosen.mode == 0o755
    changed = vault.do(both, A, vault.mkdir("d", 0o711))
    entry = vault.entry(changed, "d")
    assert entry is not None
    assert len(entry.elements) == 1
    assert vault.conflicts(changed) == []


def test_file_against_directory(vault: Vault) -> None:
    """What is in a directory must be reachable, so it is the file that gives way, whatever its time."""
    a = vault.do(vault.empty, A, vault.mkdir("x"), vault.put("x/in", "1"))
    b = vault.do(vault.empty, B, vault.put("x", "file", now=10**9))
    both = vault.merge(a, b)
    assert (vault.read(both, "x/in"), vault.conflicts(both)) == ("1", [("x", "file")])


def test_renamed_directory_against_an_edit_in_it(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.mkdir("d"), vault.put("d/x", "old"), vault.put("d/y", "y"))
    renamed = vault.do(base, A, lambda e: e.rename(path("d"), path("e")))
    edited = vault.do(base, B, vault.put("d/x", "edit"))
    both = vault.merge(renamed, edited)
    assert (vault.read(both, "d/x"), vault.read(both, "e/x"), vault.read(both, "e/y")) == ("edit", "old", "y")
    assert vault.entry(both, "d/y") is None


def test_both_renamed_one_directory(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.mkdir("d"), vault.put("d/x", "x"))
    both = vault.merge(
        vault.do(base, A, lambda e: e.rename(path("d"), path("e"))),
        vault.do(base, B, lambda e: e.rename(path("d"), path("f"))),
    )
    assert (vault.read(both, "e/x"), vault.read(both, "f/x"), vault.entry(both, "d")) == ("x", "x", None)


def test_a_directory_with_conflicts_is_renamed(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.mkdir("d"), vault.mkdir("d/s"), vault.put("d/s/x", "old"))
    a, b = vault.do(base, A, vault.put("d/s/x", "from A")), vault.do(base, B, vault.put("d/s/x", "from B"))
    both = vault.merge(a, b)
    renamed = vault.do(both, C, lambda e: e.rename(path("d"), path("e")))
    assert (vault.read(renamed, "e/s/x"), vault.conflicts(renamed)) == ("from B", [("d/s/x", "from A")])
    assert vault.merge(renamed, a, b) == renamed


def test_hard_links_and_exchange(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.put("a", "1"), vault.put("b", "2"), lambda e: e.link(path("a"), path("c")))
    changed = vault.do(base, A, lambda e: e.exchange(path("a"), path("b")))
    assert [vault.read(changed, name) for name in "abc"] == ["2", "1", "1"]
    b, c = vault.entry(changed, "b"), vault.entry(changed, "c")
    assert b is not None
    assert c is not None
    assert (b.elements[0].id, b.elements[0].version) == (c.elements[0].id, c.elements[0].version)


ERRORS: list[tuple[type[OSError], Callable[[Editor], object]]] = [
    (FileNotFoundError, lambda e: e.delete(path("none"))),
    (FileNotFoundError, lambda e: e.write(path("none/x"), file(bytes(16), b""))),
    (FileNotFoundError, lambda e: e.rename(path("none"), path("x"))),
    (FileNotFoundError, lambda e: e.link(path("none"), path("x"))),
    (FileNotFoundError, lambda e: e.exchange(path("f"), path("none"))),
    (FileNotFoundError, lambda e: e.drop_conflict(path("f"), (Dot(A, 1), None, b"f".ljust(16)))),
    (FileNotFoundError, lambda e: e.keep_conflict(path("none/x"), (Dot(A, 1), None, bytes(16)))),
    (NotADirectoryError, lambda e: e.write(path("f/x"), file(bytes(16), b""))),
    (NotADirectoryError, lambda e: e.enclose(path("f"))),
    (NotADirectoryError, lambda e: e.release(path("d"))),
    (IsADirectoryError, lambda e: e.write(path("d"), file(bytes(16), b""))),
    (IsADirectoryError, lambda e: e.write(path("d"), unit(bytes(16)))),
    (IsADirectoryError, lambda e: e.write(path("u"), directory(bytes(16)))),
    (IsADirectoryError, lambda e: e.write(path("u"), file(bytes(16), b""))),
    (OSError, lambda e: e.rename(path("f"), path("u"))),
    (OSError, lambda e: e.write(path("x" * 256), file(bytes(16), b""))),
    (OSError, lambda e: e.write(path("x" * 255), group(bytes(16), b""))),
    (FileExistsError, lambda e: e.link(path("f"), path("d"))),
    (PermissionError, lambda e: e.link(path("d"), path("x"))),
    (OSError, lambda e: e.rename(path("d"), path("d/s"))),
    (OSError, lambda e: e.rename(path("f"), path("d"))),
    (OSError, lambda e: e.exchange(path("d"), path("d/x"))),
    (OSError, lambda e: e.write((), file(bytes(16), b""))),
]


@pytest.mark.parametrize(("kind", "edit"), ERRORS)
def test_edits_that_cannot_be(kind: type[OSError], edit: Callable[[Editor], object], vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.put("f", "1"), vault.mkdir("d"), vault.put("d/x", "2"))
    base = vault.do(base, A, lambda e: e.write(path("u"), unit(b"u" * 16)), vault.put("u/x", "3"))
    with pytest.raises(kind):
        vault.do(base, A, edit)


def test_a_path_of_400_names(vault: Vault) -> None:
    names: tuple[bytes, ...] = ()
    edits: list[Callable[[Editor], object]] = []
    for _ in range(400):
        names = (*names, b"d")
        edits.append(lambda e, names=names: e.write(names, directory(b"d" * 16)))
    base = do(vault.nodes, vault.empty, A, *edits)
    a, b = (do(vault.nodes, base, who, lambda e: e.write((*names, b"f"), file(b"f" * 16, b""))) for who in (A, B))
    both = vault.merge(a, b)
    assert len(list(conflicts(vault.nodes, both.root))) == 1
    assert vault.conflicts(do(vault.nodes, both, A, lambda e: e.rename(path("d"), path("e"))))
    with pytest.raises(OSError, match="too long"):
        do(vault.nodes, both, A, lambda e: e.delete((b"d",) * 2049))
