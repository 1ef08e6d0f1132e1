"""Conflicts that need no person: one content twice, and files that only grow, of which one goes on the other.

Pure but for the nodes and blocks it reads; for a worker thread.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from vaultfs.format.node import File
from vaultfs.sync.history import content
from vaultfs.sync.walking import Snapshot

if TYPE_CHECKING:
    from vaultfs.format.node import Nodes
    from vaultfs.sync.conflicts import Conflict
    from vaultfs.sync.history import Source

APPEND_ONLY = (b".jsonl", b".ndjson", b".log")
LARGEST = 256 << 20  # bytes of a log that is compared


def settled(nodes: Nodes, source: Source, root: bytes, conflict: Conflict) -> bool | None:
    """What becomes of a conflict beside what is in place: True: keep it, False: drop it, None: a person decides."""
    other = conflict.element
    try:
        here = Snapshot(nodes, root).find(conflict.path).item.element
    except OSError:
        return None
    if not isinstance(here, File) or not isinstance(other, File):
        return None
    alike = (here.mode, here.uid, here.gid, here.xattrs) == (other.mode, other.uid, other.gid, other.xattrs)
    if alike and here.size == other.size and here.content == other.content:
        return False
    if not conflict.path[-1].endswith(APPEND_ONLY) or max(here.size, other.size) > LARGEST:
        return None
    short, long = (here, other) if here.size < other.size else (other, here)
    for a, b in zip_longest(content(nodes, source, short), content(nodes, source, long, 0, short.size)):
        if a != b:
            return None
    return long is other
