"""Which files of a commit need something that is gone, and which older commit still has them whole.

For a worker thread. Of trees that share nodes, what was found clean once is not read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vaultfs.errors import RemoteDamagedError, RemoteObjectMissingError
from vaultfs.format.node import BlockList, Branch, File, Group, NodeDamagedError, Unit
from vaultfs.format.node_codec import decode_directory, decode_node
from vaultfs.sync.garbage_mark import content_below
from vaultfs.sync.merge import load_commit
from vaultfs.sync.walking import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vaultfs.format.node import Element, Nodes, Ref
    from vaultfs.sync.conflicts import Path

CONFLICTS = (b".vaultfs", b"conflicts")
_UNREADABLE = (RemoteObjectMissingError, RemoteDamagedError, NodeDamagedError)


class Gone(NamedTuple):
    """A path of the commit `root` that is not whole; `directory`: what is in it is not even known."""

    path: Path
    directory: bool = False


class Losses:
    """Looks for what needs any of `gone`."""

    def __init__(self, nodes: Nodes, gone: Callable[[bytes], bool]) -> None:
        self._nodes = nodes
        self._gone = gone
        self._clean: set[bytes] = set()

    def of(self, root: bytes) -> Iterator[Gone]:
        """All paths of a commit that are not whole."""
        try:
            commit = load_commit(self._nodes, root)
        except _UNREADABLE:
            yield Gone((), directory=True)
            return
        for ref, path in ((commit.below, ()), (commit.conflicts, CONFLICTS)):
            if ref is not None:
                yield from self._directory(ref, path)

    def _directory(self, ref: Ref, path: Path) -> Iterator[Gone]:
        if ref.id in self._clean:
            return
        if self._gone(ref.id):
            yield Gone(path, directory=True)
            return
        any_gone = False
        for one in self._inside(ref, path):
            any_gone = True
            yield one
        if not any_gone:
            self._clean.add(ref.id)

    def _inside(self, ref: Ref, path: Path) -> Iterator[Gone]:
        try:
            node = decode_directory(self._nodes.get(ref.id))
        except _UNREADABLE:
            yield Gone(path, directory=True)
            return
        if isinstance(node, Branch):
            for child in node.children:
                if child is not None:
                    yield from self._directory(child, path)
            return
        for entry in node.entries:
            here = (*path, entry.name)
            if entry.below is not None:
                yield from self._directory(entry.below, here)
            for element in entry.elements:
                yield from self._element(element, here)

    def _element(self, element: Element, path: Path) -> Iterator[Gone]:
        if isinstance(element, Unit) and element.below is not None:
            yield from self._directory(element.below, path)
        elif isinstance(element, Group):
            for suffix, file in element.members:
                if not self.whole(file):
                    yield Gone((*path[:-1], path[-1] + suffix))
        elif isinstance(element, File) and not self.whole(element):
            yield Gone(path)

    def whole(self, file: File) -> bool:
        """Whether everything that the file needs is there."""
        waiting = list(content_below(file))
        while waiting:
            name, kind = waiting.pop()
            if self._gone(name):
                return False
            if kind is not None:
                try:
                    found = decode_node(self._nodes.get(name), BlockList)
                except _UNREADABLE:
                    return False
                waiting += [(child, None if found.height == 1 else BlockList) for _, child, _ in found.items]
        return True

    def whole_in(self, path: Path, roots: Sequence[bytes]) -> int | None:
        """The number (from 0) of the first of these commits in which the file is whole; None: it is in none."""
        for number, root in enumerate(roots):
            try:
                element = Snapshot(self._nodes, root).find(path).item.element
            except (OSError, *_UNREADABLE):
                continue
            if isinstance(element, File) and self.whole(element):
                return number
        return None
