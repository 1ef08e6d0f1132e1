"""Merging what is one thing: units, groups, what is held."""

from __future__ import annotations

import pytest

from tests.sync.merging import A, B, C, Vault, git, path
from tests.sync.pictures import check, content, file, group
from vaultfs.format.node import Dot, Unit
from vaultfs.format.node_trie import Trie
from vaultfs.sync.elements import in_place
from vaultfs.sync.restamp import restamp


@pytest.fixture
def vault() -> Vault:
    return Vault()


def test_a_unit_is_one_thing(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.put("db", "old", kind=group))
    both = vault.merge(
        vault.do(base, A, vault.put("db", "from A", kind=group)), vault.do(base, B, vault.put("db", "B", kind=group))
    )
    entry = vault.entry(both, "db")
    assert entry is not None
    assert len(entry.elements) == 2
    assert (vault.read(both, "db"), vault.conflicts(both)) == ("B", [("db", "from A")])


def test_a_group_takes_in_the_files_it_is_made_of(vault: Vault) -> None:
    wal = file(bytes(16), b"wal", 1)
    base = vault.do(vault.empty, A, vault.put("db", "plain"), lambda e: e.write(path("db-wal"), wal))
    other = vault.do(vault.empty, B, vault.put("db-wal", "a stranger", now=10**9))
    made = vault.do(base, A, vault.put("db", "group", kind=group))
    assert vault.entry(made, "db-wal") is None
    assert vault.conflicts(made) == []
    again = vault.do(vault.merge(made, other), A, vault.put("db", "more", kind=group))
    assert vault.conflicts(again) == [("db-wal", "a stranger")]


def test_directory_units_are_kept_whole(vault: Vault) -> None:
    base = git(vault)
    a, b = vault.do(base, A, vault.put("git/refs/main", "A")), vault.do(base, B, vault.put("git/HEAD", "other"))
    both = vault.merge(a, b)
    assert vault.conflicts(both) == [("git", "unit")]
    entry = vault.entry(both, "git")
    assert entry is not None
    chosen = in_place(entry)
    assert isinstance(chosen, Unit)
    assert chosen.version == Dot(B, 1)
    trie = Trie(vault.nodes)
    head, refs = trie.lookup(chosen.below, b"HEAD"), trie.lookup(chosen.below, b"refs")
    assert head is not None
    assert refs is not None
    main = trie.lookup(refs.below, b"main")
    assert main is not None
    assert [content(head.elements[0]), content(main.elements[0])] == [b"other", b"1"]
    assert main.elements[0].version == Dot(A, 1)  # the files in it show their own last writer


def test_a_unit_moves_and_changes_in_one_commit(vault: Vault) -> None:
    base = git(vault)
    moved = vault.do(base, A, vault.put("git/HEAD", "new"), lambda e: e.rename(path("git"), path("moved")))
    entry = vault.entry(moved, "moved")
    assert entry is not None
    (element,) = entry.elements
    assert isinstance(element, Unit)
    found = Trie(vault.nodes).lookup(element.below, b"HEAD")
    assert found is not None
    assert content(found.elements[0]) == b"new"
    assert vault.entry(moved, "git") is None


def test_what_others_put_into_a_directory_that_became_a_unit(vault: Vault) -> None:
    base = vault.do(vault.empty, A, vault.mkdir("pg"), vault.put("pg/PG_VERSION", "16"))
    enclosed = vault.do(base, A, lambda e: e.enclose(path("pg")))
    assert vault.conflicts(enclosed) == []
    both = vault.merge(enclosed, vault.do(base, B, vault.put("pg/stray", "stray")))
    entry = vault.entry(both, "pg")
    assert entry is not None
    assert isinstance(in_place(entry), Unit)
    assert vault.conflicts(both) == [("pg/stray", "stray")]
    edited = vault.do(both, C, vault.put("pg/PG_VERSION", "17"))
    assert vault.conflicts(edited) == [("pg/stray", "stray")]
    released = vault.do(edited, C, lambda e: e.release(path("pg")))
    assert vault.read(released, "pg/PG_VERSION") == "17"
    assert vault.merge(released, both, enclosed) == released


def test_a_held_file_changes_beside_the_newer_one(vault: Vault) -> None:
    """The working tree still had the old version: its change is concurrent, whatever the vector says."""
    base = vault.do(vault.empty, A, vault.put("f", "old"))
    newer = vault.do(base, B, vault.put("f", "newer"))
    entry = vault.entry(base, "f")
    assert entry is not None
    (old,) = entry.elements
    seen = old.version, old.placed, old.id
    mine = file(old.id, b"mine", 10**6)
    both = vault.do(newer, A, lambda e: e.write(path("f"), mine, seen=seen))
    assert (vault.read(both, "f"), vault.conflicts(both)) == ("mine", [("f", "newer")])
    kept = vault.do(newer, A, lambda e: e.delete(path("f"), seen=seen))
    assert vault.read(kept, "f") == "newer"
    # What was not newer after all is an ordinary change.
    same = vault.do(base, A, lambda e: e.write(path("f"), mine, seen=seen))
    assert (vault.read(same, "f"), vault.conflicts(same)) == ("mine", [])


def test_a_machine_whose_counters_were_used_twice(vault: Vault) -> None:
    """A clone that was not noticed: both contents under one dot are kept."""
    base = vault.do(vault.empty, B, vault.put("f", "old"))
    one = vault.do(base, A, vault.put("f", "one"), vault.put("mine", "1"))
    two = vault.do(base, A, vault.put("f", "two"), vault.put("yours", "2"))
    assert one.vector == two.vector
    state = vault.merge(one, two)
    assert (vault.read(state, "mine"), vault.read(state, "yours")) == ("1", "2")
    entry = vault.entry(state, "f")
    assert entry is not None
    assert sorted(content(element) for element in entry.elements) == [b"one", b"two"]


def test_a_clone_goes_on_as_another_device(vault: Vault) -> None:
    """Two machines with one device id, several commits each: the second takes a new id, and nothing is lost."""
    base = git(vault)
    base = vault.do(base, A, vault.mkdir("d"), vault.put("d/f", "old"), vault.put("db", "old", kind=group))
    one = vault.do(base, A, vault.put("d/f", "one"), vault.put("git/HEAD", "one"))
    one = vault.do(one, A, lambda e: e.rename(path("d"), path("moved")))
    two = vault.do(base, A, vault.put("d/f", "two"), vault.put("db", "two", kind=group))
    two = vault.do(two, A, vault.put("git/HEAD", "two"), lambda e: e.rename(path("d/f"), path("g")))
    two = vault.do(two, A, lambda e: e.rename(path("d"), path("elsewhere")), vault.put("elsewhere/n", "new"))
    renamed = restamp(vault.nodes, two, A, base.vector[A], C)
    check(vault.nodes, renamed)
    assert renamed.vector == {**base.vector, C: 3}
    assert restamp(vault.nodes, base, A, base.vector[A], C) == base
    both = vault.merge(one, renamed)
    assert [vault.read(both, name) for name in ("moved/f", "g", "db", "elsewhere/n")] == ["one", "two", "two", "new"]
    assert vault.conflicts(both) == [("git", "unit")]
    assert vault.entry(both, "d") is None
