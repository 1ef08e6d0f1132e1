"""Between real trees and the model's: make elements, flatten a commit, check what every node says of what is below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blake3 import blake3

from tests.support.nodes import MemoryNodes
from tests.sync import model
from vaultfs.format import node_codec
from vaultfs.format.node import (
    Branch,
    Directory,
    Dot,
    Entry,
    File,
    Group,
    Inline,
    Member,
    Ref,
    Unit,
)
from vaultfs.format.node_summary import Summary, stamped
from vaultfs.format.node_trie import Trie
from vaultfs.sync.edits import empty_root
from vaultfs.sync.merge import State, load_commit

if TYPE_CHECKING:
    from vaultfs.format.node import Element, Leaf

KEY = bytes(range(32))
NOBODY = Dot(bytes(16), 1)
DEVICES = [bytes([letter]) * 16 for letter in b"ABCD"]


def file(file_id: bytes, data: bytes, time: int = 0, dot: Dot = NOBODY) -> File:
    return File(file_id, dot, None, time, 0o644, None, None, time, (), len(data), Inline(data))


def directory(file_id: bytes, time: int = 0, mode: int = 0o755, dot: Dot = NOBODY) -> Directory:
    return Directory(file_id, dot, None, time, mode, None, None, time, ())


def unit(file_id: bytes, time: int = 0, dot: Dot = NOBODY) -> Unit:
    return Unit(file_id, dot, None, time, 0o755, None, None, time, (), None)


def group(file_id: bytes, data: bytes, time: int = 0, dot: Dot = NOBODY) -> Group:
    return Group(file_id, dot, None, time, (Member(b"", file(file_id, data)), Member(b"-wal", file(bytes(16), b"w"))))


def made_id(dot: model.Dot, path: model.Path) -> bytes:
    """The id of a directory that an edit had to make up, and of what the tests create."""
    return blake3(dot[0] + dot[1].to_bytes(8, "little") + b"/".join(path)).digest(16)


def start() -> tuple[MemoryNodes, State]:
    nodes = MemoryNodes(KEY)
    return nodes, State(empty_root(nodes, directory(b"r" * 16)), {})


def thing(trie: Trie, element: Element) -> model.Thing:
    common = tuple(element.version), tuple(element.placed or ()), element.id, element.time
    if isinstance(element, Directory):
        return model.Thing(*common, model.DIRECTORY, element.mode)
    if isinstance(element, Unit):
        inside = [(entry.name, content(entry.elements[0])) for entry in trie.entries(element.below)]
        return model.Thing(*common, model.UNIT, tuple(sorted(inside)))
    return model.Thing(*common, model.FILE, content(element))


def content(element: Element) -> bytes:
    return content(element.members[0].file) if isinstance(element, Group) else element.content.data


def flat(nodes: MemoryNodes, state: State) -> model.Picture:
    trie, commit = Trie(nodes), load_commit(nodes, state.root)

    def walk(ref: Ref | None, path: model.Path, out: model.Tree) -> model.Tree:
        for entry in trie.entries(ref):
            here = (*path, entry.name)
            if entry.elements:
                out[here] = frozenset(thing(trie, element) for element in entry.elements)
                assert len(out[here]) == len(entry.elements)
            walk(entry.below, here, out)
        return out

    return model.Picture(walk(commit.below, (), {}), walk(commit.conflicts, (), {}), dict(state.vector))


def check(nodes: MemoryNodes, state: State) -> None:
    """Every reference says the truth about its node, and every directory has the one shape for what is in it."""
    trie, commit = Trie(nodes), load_commit(nodes, state.root)
    for ref in (commit.below, commit.conflicts):
        if ref is not None:
            check_directory(trie, ref)


def check_directory(trie: Trie, ref: Ref) -> None:
    check_ref(trie, ref)
    entries = {entry.name: entry for entry in trie.entries(ref)}
    # Built anew from its entries it has the same shape: the same number of nodes, the same names in each.
    scratch = Trie(MemoryNodes(KEY))
    again = scratch.build(entries.values())
    assert again == ref  # the one form that there is for these entries
    assert shape(scratch, again) == shape(trie, ref)
    for entry in entries.values():
        for below in (entry.below, *(element.below for element in entry.elements if isinstance(element, Unit))):
            if below is not None:
                check_directory(trie, below)


def check_ref(trie: Trie, ref: Ref) -> None:
    node = trie.node(ref)
    node_codec.check_node(node)
    summary = Summary()
    if isinstance(node, Branch):
        for child in node.children:
            if child is not None:
                check_ref(trie, child)
                summary.add_child(child)
    else:
        summary.add_entries(node.entries)
    counted = summary.ref(ref.id)
    assert ref.stamp is None or counted.placed == ()
    assert ref == stamped(counted, ref.stamp)


def shape(trie: Trie, ref: Ref) -> object:
    node: Leaf | Branch = trie.node(ref)
    if isinstance(node, Branch):
        return [None if child is None else shape(trie, child) for child in node.children]
    return [entry.name for entry in node.entries]


def alike(tree: model.Tree) -> dict[model.Path, list[object]]:
    """A tree without `placed`: the real thing leaves it out where the version says it already."""
    return {path: sorted((one.version, one.file, one.time, one.kind, one.what) for one in tree[path]) for path in tree}


def same(a: model.Picture, b: model.Picture) -> bool:
    return (alike(a.tree), alike(a.aside), a.vector) == (alike(b.tree), alike(b.aside), b.vector)


def entry_of(name: bytes, element: Element) -> Entry:
    return Entry(name, (element,), None)
