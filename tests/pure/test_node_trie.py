"""Directories as tries: the same for the same entries, and cheap to change, look up and compare."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.nodes import MemoryNodes
from tests.sync.pictures import DEVICES, KEY, check_directory, directory, entry_of, file
from vaultfs.format.node import Block, Blocks, Dot, Entry, File
from vaultfs.format.node_summary import placed_by
from vaultfs.format.node_trie import Trie

if TYPE_CHECKING:
    from vaultfs.format.node import Ref

MANY = 100_000
DOTS = st.builds(Dot, st.sampled_from(DEVICES), st.integers(1, 5))
NAMES = st.sampled_from([b"n%d" % n for n in range(30)])


def trie() -> Trie:
    return Trie(MemoryNodes(KEY))


@pytest.fixture(autouse=True)
def small_leaves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves of a few entries, so that a few dozen make a trie of several levels."""
    if "large" not in request.fixturenames:
        monkeypatch.setattr("vaultfs.format.node_summary.LEAF_WEIGHT", 500)


def listed(of: Trie, ref: Ref | None) -> dict[bytes, Entry]:
    return {entry.name: entry for entry in of.entries(ref)}


@st.composite
def entries(draw: st.DrawFn, depth: int = 0) -> dict[bytes, tuple[object, ...]]:
    """What an entry is made of: element, and the entries below it."""
    out: dict[bytes, tuple[object, ...]] = {}
    for name in draw(st.sets(NAMES, max_size=25)):
        version, placed = draw(DOTS), draw(st.none() | DOTS)
        if depth < 2 and draw(st.integers(0, 4)) == 0:
            element = replace(directory(name.ljust(16), dot=version), placed=placed)
            out[name] = element, draw(entries(depth + 1))
        else:
            out[name] = replace(file(name.ljust(16), b"x" * draw(st.integers(0, 99)), dot=version), placed=placed), {}
    return out


def built(of: Trie, tree: dict[bytes, tuple[object, ...]], stamp: Dot | None = None) -> Ref | None:
    """A tree built all at once; with a stamp, put into every single element."""
    return of.build(
        Entry(name, (element if stamp is None else placed_by(element, stamp),), built(of, below, stamp))  # type: ignore[arg-type]
        for name, (element, below) in tree.items()
    )


@settings(max_examples=60, deadline=None)
@given(entries(), entries(), st.randoms(use_true_random=False))
def test_changes_lead_to_what_building_leads_to(
    first: dict[bytes, tuple[object, ...]], second: dict[bytes, tuple[object, ...]], rnd: random.Random
) -> None:
    of = trie()
    ref, target = built(of, first), built(of, second)
    wanted = listed(of, target)
    changes: list[tuple[bytes, Entry | None]] = [(name, wanted.get(name)) for name in {*first, *second}]
    rnd.shuffle(changes)
    while changes:
        few = dict(changes.pop() for _ in range(min(len(changes), rnd.randint(1, 7))))
        ref = of.apply(ref, few)
        if ref is not None:
            check_directory(of, ref)
    assert ref == target
    assert listed(of, ref) == wanted
    for name in {*first, *second}:
        assert of.lookup(ref, name) == wanted.get(name)


@settings(max_examples=60, deadline=None)
@given(entries(), DOTS)
def test_a_stamp_is_all_it_stands_for(tree: dict[bytes, tuple[object, ...]], dot: Dot) -> None:
    """A renamed directory is the same, node for node, as one in which every single element was placed anew."""
    of = trie()
    ref = built(of, tree)
    if ref is not None:
        stamped = of.stamp(ref, dot)
        assert stamped == built(of, tree, dot)
        check_directory(of, stamped)
        for name in tree:
            assert of.lookup(stamped, name) == listed(of, stamped)[name]


@settings(max_examples=60, deadline=None)
@given(entries(), entries(), DOTS)
def test_differences(first: dict[bytes, tuple[object, ...]], second: dict[bytes, tuple[object, ...]], dot: Dot) -> None:
    of = trie()
    a, b = built(of, first), built(of, {**first, **second})
    old, new = listed(of, a), listed(of, b)
    expected = {name: (old.get(name), new.get(name)) for name in {*old, *new} if old.get(name) != new.get(name)}
    assert {name: (x, y) for name, x, y in of.diff(a, b)} == expected
    assert list(of.diff(a, a)) == []
    if a is not None:
        renamed = of.stamp(a, dot)
        for name, x, y in of.diff(a, renamed, placed=False):
            assert x is not None
            assert y is not None
            assert (name, x.elements[0].version) == (name, y.elements[0].version)


def test_nothing_is_a_directory_without_a_node() -> None:
    of = trie()
    assert of.build([]) is None
    ref = of.build([entry_of(b"a", file(bytes(16), b""))])
    assert of.apply(ref, {b"a": None}) is None
    assert of.apply(ref, {}) is ref
    assert of.apply(None, {b"a": None}) is None
    assert of.lookup(None, b"a") is None
    assert list(of.entries(None)) == []


def test_an_entry_larger_than_a_leaf() -> None:
    of = trie()
    big = replace(file(bytes(16), b""), xattrs=((b"user.big", bytes(60_000)),))
    ref = of.build([entry_of(b"a", big)])
    assert ref is not None
    ref = of.apply(ref, {b"b": entry_of(b"b", big)})
    assert ref is not None
    check_directory(of, ref)
    assert set(listed(of, ref)) == {b"a", b"b"}


@pytest.fixture(scope="module")
def large() -> tuple[MemoryNodes, Ref]:
    """A directory of 100,000 files."""
    nodes, rnd = MemoryNodes(KEY), random.Random(1)
    ref = Trie(nodes).build(session(number, rnd) for number in range(MANY))
    assert ref is not None
    return nodes, ref


def session(number: int, rnd: random.Random, counter: int = 0) -> Entry:
    dot = Dot(DEVICES[number % 3], counter or number // 100 + 1)
    content = Blocks((Block(0, rnd.randbytes(32), 9000),))
    name = b"session-%012d" % number
    return entry_of(name, File(rnd.randbytes(16), dot, None, number, 0o644, None, None, number, (), 9000, content))


def test_one_change_among_100_000_entries(large: tuple[MemoryNodes, Ref]) -> None:
    """At most 100 KB of nodes are to be written (design, section 4); these are 10 KB in 4 nodes."""
    nodes, ref = large
    assert (ref.width, ref.names, ref.size) == (MANY, MANY, MANY * 9000)
    rnd = random.Random(2)
    for number in rnd.sample(range(MANY), 10):
        over = MemoryNodes(KEY, nodes)
        changed = Trie(over).apply(ref, {b"session-%012d" % number: session(number, rnd, 99_999)})
        assert changed != ref
        assert len(over.new) <= 4
        assert sum(map(len, over.new.values())) <= 16_000
        assert over.reads <= 4
        over.reads = 0
        difference = list(Trie(over).diff(ref, changed))
        assert [name for name, _, _ in difference] == [b"session-%012d" % number]
        assert over.reads <= 8


def test_looking_up_reads_one_path(large: tuple[MemoryNodes, Ref]) -> None:
    nodes, ref = large
    over = MemoryNodes(KEY, nodes)
    assert Trie(over).lookup(ref, b"session-%012d" % 77) is not None
    assert Trie(over).lookup(ref, b"none such") is None
    assert over.reads <= 8


def test_renaming_a_large_directory_reads_and_writes_nothing(large: tuple[MemoryNodes, Ref]) -> None:
    nodes, ref = large
    over = MemoryNodes(KEY, nodes)
    stamped = Trie(over).stamp(ref, Dot(DEVICES[0], 5000))
    assert (over.reads, over.new, stamped.id) == (0, {}, ref.id)
