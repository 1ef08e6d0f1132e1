"""Look whether every node of a commit is there, in its one form, and says the truth about what is below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vaultfs.errors import NewerFormatError
from vaultfs.format.node import Branch, Commit, NodeDamagedError, Unit
from vaultfs.format.node_summary import Summary, bucket, common_stamp, fits_leaf, stamped
from vaultfs.format.node_trie import Trie
from vaultfs.sync.depth import allow_depth
from vaultfs.sync.merge import load_commit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultfs.format.node import Leaf, Nodes, Ref
    from vaultfs.sync.conflicts import Path


class Problem(NamedTuple):
    """Something wrong with the directory `path` of a commit, or with what was set aside there."""

    path: Path
    detail: str


def verify(nodes: Nodes, root: bytes) -> Iterator[Problem]:
    """All problems of the commit `root`; reads all of its nodes. A missing node is a KeyError of `nodes.get`."""
    allow_depth()
    trie = Trie(nodes)
    try:
        commit: Commit = load_commit(nodes, root)
    except (KeyError, NodeDamagedError, NewerFormatError) as error:
        yield Problem((), _said(error))
        return
    for ref in (commit.below, commit.conflicts):
        if ref is not None:
            yield from _directory(trie, ref, (), 0, ())


def _directory(trie: Trie, ref: Ref, path: Path, depth: int, prefix: tuple[int, ...]) -> Iterator[Problem]:
    try:
        node = trie.node(ref)
    except (KeyError, NodeDamagedError, NewerFormatError) as error:
        yield Problem(path, _said(error))
        return
    summary = Summary()
    if isinstance(node, Branch):
        for number, child in enumerate(node.children):
            if child is not None:
                summary.add_child(child)
                yield from _directory(trie, child, path, depth + 1, (*prefix, number))
    else:
        summary.add_entries(node.entries)
        yield from _leaf(trie, node, path, prefix)
    counted = summary.ref(ref.id)
    if (ref.stamp is not None and counted.placed) or stamped(counted, ref.stamp) != ref:
        yield Problem(path, "a reference that does not say what is in its node")
    if fits_leaf(counted.width, counted.weight, depth) == isinstance(node, Branch) or _has_stamp(node):
        yield Problem(path, "a node in another form than what is in it has")


def _leaf(trie: Trie, leaf: Leaf, path: Path, prefix: tuple[int, ...]) -> Iterator[Problem]:
    for entry in leaf.entries:
        here = (*path, entry.name)
        if any(bucket(entry.name, depth) != number for depth, number in enumerate(prefix)):
            yield Problem(here, "a name in a node where it does not belong")
        units = [element.below for element in entry.elements if isinstance(element, Unit)]
        for below in (entry.below, *units):
            if below is not None:
                yield from _directory(trie, below, here, 0, ())


def _has_stamp(node: Leaf | Branch) -> bool:
    """Whether what is in the node has a common stamp, which should then stand on its reference."""
    if isinstance(node, Branch):
        stamps = {child.stamp for child in node.children if child is not None}
        return len(stamps) == 1 and None not in stamps
    return common_stamp(node.entries) is not None


def _said(error: Exception) -> str:
    return "a node that is missing" if isinstance(error, KeyError) else f"a damaged node: {error}"
