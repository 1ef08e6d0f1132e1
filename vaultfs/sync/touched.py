"""Which device wrote what is in a directory last: read off the references of a commit, without walking through it.

A reference to a node tells for each device the highest commit of anything below. So the way down to what a device wrote
last is one node a level. What was removed leaves no trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vaultfs.format.node import Leaf
from vaultfs.format.node_trie import Trie
from vaultfs.sync.depth import allow_depth
from vaultfs.sync.merge import load_commit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vaultfs.format.node import Entry, Nodes, Ref
    from vaultfs.sync.conflicts import Path


class Write(NamedTuple):
    """Something was written in commit `counter` of a device, at `time` (ns since 1970)."""

    counter: int
    time: int


Touches = dict[bytes, Write]


def touches(nodes: Nodes, root: bytes, path: Path, known: Iterable[Touches], *, but: bytes, exact: bool) -> Touches:
    """The last write of each device but one at or below `path` in the commit `root`; empty where there is nothing.

    `known`: writes of which the time is known, so that they are not looked for; the time of others is 0 unless `exact`.
    For a worker thread; raises what reading nodes raises.
    """
    allow_depth()
    trie = Trie(nodes)
    entry: Entry | None = None
    below = load_commit(nodes, root).below
    for name in path:
        entry = trie.lookup(below, name)
        if entry is None:
            return {}
        below = entry.below
    found: Touches = {}
    for device, counter in _highest(entry, below).items():
        if device == but:
            continue
        times = (one[device].time for one in known if device in one and one[device].counter == counter)
        moment = next((time for time in times if time), 0)
        if not moment and exact:
            moment = _time(trie, entry, below, device, counter)
        found[device] = Write(counter, moment)
    return found


def top_names(nodes: Nodes, root: bytes, most: int) -> list[bytes]:
    """Names of directories at the top of a commit."""
    entries = Trie(nodes).entries(load_commit(nodes, root).below)
    return sorted(entry.name for entry in entries if entry.below is not None)[:most]


def _highest(entry: Entry | None, below: Ref | None) -> dict[bytes, int]:
    found: dict[bytes, int] = {} if below is None else {span.device: span.high for span in below.versions}
    for element in () if entry is None or below is not None else entry.elements:
        found[element.version.device] = max(found.get(element.version.device, 0), element.version.counter)
    return found


def _time(trie: Trie, entry: Entry | None, below: Ref | None, device: bytes, counter: int) -> int:
    """When the device wrote what is of its commit `counter`; where that was several things, one of them."""
    if entry is not None:
        for element in entry.elements:
            if element.version == (device, counter):
                return element.time
    for inner in _way(trie, below, device, counter):
        found = _time(trie, inner, inner.below, device, counter)
        if found:
            return found
    return 0


def _way(trie: Trie, ref: Ref | None, device: bytes, counter: int) -> Iterator[Entry]:
    """The entries of a directory in which something of that commit is."""
    if ref is None or not _has(ref, device, counter):
        return
    node = trie.node(ref)
    if not isinstance(node, Leaf):
        for child in node.children:
            yield from _way(trie, child, device, counter)
        return
    for entry in node.entries:
        if any(element.version == (device, counter) for element in entry.elements) or (
            entry.below is not None and _has(entry.below, device, counter)
        ):
            yield entry


def _has(ref: Ref, device: bytes, counter: int) -> bool:
    return any(span.device == device and span.high == counter for span in ref.versions)
