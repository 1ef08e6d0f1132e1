"""Conflicts and what becomes of them: what a person decides, and what needs no person.

Every decision is an ordinary edit of the base, a commit like any other; the working tree follows as for a merge.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import trio
from blake3 import blake3

from vaultfs import clock
from vaultfs.format.node import Dot, File, Group
from vaultfs.format.node_trie import Trie
from vaultfs.sync.appending import settled
from vaultfs.sync.conflicts import conflicts
from vaultfs.sync.edits import Editor
from vaultfs.sync.elements import identity
from vaultfs.sync.history import content
from vaultfs.sync.walking import listing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultfs.format.node import Element, Ref
    from vaultfs.sync.commits import Commits
    from vaultfs.sync.conflicts import Conflict, Path
    from vaultfs.sync.elements import Identity
    from vaultfs.sync.fetching import Fetcher
    from vaultfs.sync.follow import Follower
    from vaultfs.sync.merge import State
    from vaultfs.sync.ports import Ports
    from vaultfs.tree.incoming import Incoming

_ID_LETTERS = 12
_TRIES = 8


class Kept(NamedTuple):
    """A conflict: how it is called, and what it is."""

    name: str
    conflict: Conflict


class Decisions:
    """Lists conflicts and ends them. All raise RemoteError where nodes have to be fetched and cannot be."""

    def __init__(self, ports: Ports, commits: Commits, follower: Follower, fetcher: Fetcher) -> None:
        self._ports = ports
        self._commits = commits
        self._follower = follower
        self._fetcher = fetcher
        self._root = b""
        self._known: list[Kept] = []

    @property
    def known(self) -> Sequence[Kept]:
        """What `list` found last."""
        return self._known

    @property
    def fresh(self) -> bool:
        """Whether the base is still what it was then."""
        base = self._ports.tree.ledger.base
        return base is None or base.root == self._root

    async def list(self) -> list[Kept]:
        """All conflicts of the base, in the order of their paths."""
        base = self._commits.base()
        if base is None:
            return []
        if base.root != self._root:
            nodes = self._commits.nodes()
            found = await trio.to_thread.run_sync(lambda: list(conflicts(nodes, base.root)))
            found.sort(key=lambda conflict: (conflict.path, conflict.element.time))
            self._known, self._root = [Kept(name_of(conflict), conflict) for conflict in found], base.root
        return list(self._known)

    async def read(self, file: File, start: int, end: int) -> bytes:
        """The bytes of a file of a conflict from `start` to before `end`."""
        nodes, source = self._commits.nodes(), _Blocks(self._fetcher, trio.lowlevel.current_trio_token())
        return await trio.to_thread.run_sync(lambda: b"".join(content(nodes, source, file, start, end)))

    async def inside(self, below: Ref | None, path: Path) -> Sequence[Incoming]:
        """What is in a unit that is a conflict, or in a directory of it, at `path`."""
        trie = Trie(self._commits.nodes())
        return await trio.to_thread.run_sync(lambda: [item for item, _ in listing(trie, below, path)])

    async def contents(self, kept: Kept) -> dict[bytes, bytes]:
        """The files of a conflict by the end of their names, whole; for small ones. A unit has none here."""
        nodes, source = self._commits.nodes(), _Blocks(self._fetcher, trio.lowlevel.current_trio_token())

        def read() -> dict[bytes, bytes]:
            files = files_of(kept.conflict.element)
            return {suffix: b"".join(content(nodes, source, file)) for suffix, file in files.items()}

        return await trio.to_thread.run_sync(read)

    async def keep(self, kept: Kept) -> None:
        """Put it in place; what is there now is given up."""
        path, which = kept.conflict.path, identity(kept.conflict.element)
        await self._decide(lambda editor: editor.keep_conflict(path, which))

    async def drop(self, kept: Kept) -> None:
        """Give it up."""
        path, which = kept.conflict.path, identity(kept.conflict.element)
        await self._decide(lambda editor: editor.drop_conflict(path, which))

    async def put_aside(self, paths: Sequence[Path]) -> None:
        """Make conflicts of files that a group beside them does not suffer."""

        def edit(editor: Editor) -> None:
            for path in paths:
                with suppress(FileNotFoundError, NotADirectoryError):
                    editor.put_aside(path)

        await self._decide(edit)

    async def give_up(self, those: Sequence[tuple[Path, Identity]]) -> None:
        """End conflicts of which the vault has what came after them (vaultfs.sync.superseded)."""

        def edit(editor: Editor) -> None:
            for path, which in those:
                with suppress(FileNotFoundError):  # it has ended already
                    editor.drop_conflict(path, which)

        await self._decide(edit)

    async def settle(self) -> int:
        """End the conflicts that need no person: one content twice, and logs of which one goes on the other.

        Returns how many ended.
        """
        found = [kept for kept in await self.list() if not kept.conflict.aside]
        ended = 0
        for kept in found:
            base = self._commits.base()
            if base is None:
                break
            source = _Blocks(self._fetcher, trio.lowlevel.current_trio_token())
            choice = await trio.to_thread.run_sync(
                partial(settled, self._commits.nodes(), source, base.root, kept.conflict)
            )
            if choice is None:
                continue
            await (self.keep(kept) if choice else self.drop(kept))
            ended += 1
        return ended

    async def _decide(self, edit: Callable[[Editor], None]) -> None:
        ports, commits = self._ports, self._commits

        def make(base: State, number: int, now: int) -> State | None:
            editor = Editor(nodes, base, Dot(ports.identity.id, number), now)
            try:
                edit(editor)
            except FileNotFoundError:
                return None  # it has ended already
            made = editor.commit()
            return None if made.root == base.root else made

        async with commits.busy:
            for _ in range(_TRIES):
                await commits.commit_now()
                base = commits.base()
                if base is None:
                    return
                nodes = commits.nodes()
                number, now = commits.next_number(), clock.now()
                made = await trio.to_thread.run_sync(make, base, number, now)
                if made is None or await self._follower.take(nodes, base, made, number, now):
                    return


def name_of(conflict: Conflict) -> str:
    """How a person calls a conflict: letters that come from its identity alone, the same on every machine."""
    dot, placed, file = identity(conflict.element)
    text = dot.device + dot.counter.to_bytes(8, "little") + file
    if placed is not None:
        text += placed.device + placed.counter.to_bytes(8, "little")
    return blake3(text + b"/".join(conflict.path)).hexdigest()[:_ID_LETTERS]


def files_of(element: Element) -> dict[bytes, File]:
    """The files of a conflict by the end of their names: one, or those of a group. A unit has none of its own."""
    if isinstance(element, Group):
        return {member.suffix: member.file for member in element.members}
    return {b"": element} if isinstance(element, File) else {}


class _Blocks:
    """Blocks for a worker thread (vaultfs.sync.history.Source)."""

    def __init__(self, fetcher: Fetcher, token: trio.lowlevel.TrioToken) -> None:
        self._fetcher = fetcher
        self._token = token

    def block(self, block_id: bytes, /) -> bytes:
        """The block of that id."""
        found = trio.from_thread.run(self._fetcher.contents, [block_id], trio_token=self._token)
        return found[block_id]

    def coming(self, block_ids: list[bytes], /) -> None:
        """These will be asked for next."""
        trio.from_thread.run(self._fetcher.contents, block_ids, trio_token=self._token)
