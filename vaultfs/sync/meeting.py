"""A directory that was made here meets one of the base that has not come into the working tree yet.

The two are one directory, and what the base has in it lags, name by name: else it would never come, as the directory is
there; and what is written or removed here would count as made from it, though nobody here has seen any of it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import trio

from vaultfs.format.node import Directory, Unit
from vaultfs.sync.seen import seen_element
from vaultfs.sync.walking import Snapshot
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.inode import ROOT, Flag
from vaultfs.tree.whereabouts import way_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vaultfs.format.node import Nodes
    from vaultfs.sync.conflicts import Path
    from vaultfs.tree import Tree
    from vaultfs.tree.changes import Slot


class _Met(NamedTuple):
    """A name that lags, the directory that stands there now, and its path in the base."""

    slot: Slot
    ino: int
    path: Path


class Meeting:
    """Looks for such directories."""

    def __init__(self, tree: Tree, nodes: Callable[[], Nodes]) -> None:
        self._tree = tree
        self._nodes = nodes

    async def note(self, fetch: Callable[[NotHereError], Awaitable[None]]) -> None:
        """When it returns, and until somebody else has a turn, there is none that was not noted.

        `fetch` brings what is in one that nobody looked into. For who holds `busy`. Raises RemoteError, `OSError`.
        """
        ledger, state = self._tree.ledger, self._tree.state
        looked: set[_Met] = set()
        while met := [one for one in self._found() if one not in looked]:
            looked.update(met)
            for one in met:
                node = state.find(one.ino)
                if node is not None and node.flags & Flag.FOLDED:
                    await fetch(NotHereError(directory=one.ino))
            base = ledger.base
            assert base is not None  # noqa: S101 - nothing lags behind none
            found = await trio.to_thread.run_sync(_inside, self._nodes(), base.root, [one.path for one in met])
            for one, names in zip(met, found, strict=True):
                for name in names:
                    if ledger.lag_of(one.ino, name) is None:
                        ledger.set_lag(one.ino, name, None)

    def _found(self) -> list[_Met]:
        state, found = self._tree.state, []
        for parent, name, seen in self._tree.ledger.lag():
            entry = None if _is_directory(seen) else state.entry(parent, name)
            if entry is None or not state.inode(entry.ino).is_dir:
                continue
            above = self._path_in_base(parent)
            if above is not None:
                found.append(_Met((parent, name), entry.ino, (*above, name)))
        return found

    def _path_in_base(self, ino: int) -> Path | None:
        """The path of what the base has for a directory that is here; None: nothing."""
        state, record, parts = self._tree.state, self._tree.changes.current, []
        before = {old: slot for slot, old in record.names.items() if old in record.folders}
        while ino != ROOT:
            here = next(way_up(state, ino))
            if here is None or self._tree.ledger.lag_of(*here) is None:  # else it has met that of the base
                here = before.get(ino, None if here in record.names else here)
            if here is None:
                return None
            ino = here[0]
            parts.append(here[1])
        return tuple(reversed(parts))


def _is_directory(seen: bytes | None) -> bool:
    return seen is not None and isinstance(seen_element(seen), Directory | Unit)


def _inside(nodes: Nodes, root: bytes, paths: list[Path]) -> list[list[bytes]]:
    """The names in the directories that a commit has at these paths; none where it has something else.

    A unit is something else: with that nothing mixes (vaultfs.sync.commit).
    """
    snapshot, out = Snapshot(nodes, root), []
    for path in paths:
        names: list[bytes] = []
        with suppress(FileNotFoundError, NotADirectoryError):
            found = snapshot.find(path)
            if isinstance(found.item.element, Directory):
                names = [one.path[-1] for one in snapshot.inside(found)]
        out.append(names)
    return out
