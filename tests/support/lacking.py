"""Beside a mount: inodes whose content or names are "not on this machine" until the test lets them come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from tests.support.talk import questions, say
from vaultfs.tree.incoming import NotHereError

if TYPE_CHECKING:
    from vaultfs.fuse.operations import Operations
    from vaultfs.tree import Tree

FETCH_SECONDS = 5.0

_missing: dict[int, trio.Event] = {}
_vain: set[int] = set()


def prepare(tree: Tree) -> None:
    """Every call that needs what is missing raises before it changes anything, as the tree's own do."""
    content, names = tree.content, tree.names

    def guard(part: Any, method: str, kind: str) -> None:
        real = getattr(part, method)

        def call(first: Any, *arguments: Any, **named: Any) -> Any:
            ino = first if isinstance(first, int) else first.ino
            if ino in _missing:
                raise NotHereError(**{kind: ino})
            return real(first, *arguments, **named)

        setattr(part, method, call)

    for method in ("pieces", "write", "truncate"):
        guard(content, method, "content")
    for method in ("find", "listing", "make", "unlink", "rmdir", "rename"):
        guard(names, method, "directory")


async def fetch(error: NotHereError) -> None:
    """Waits until the test lets it come."""
    ino = error.directory or error.content
    arrived = _missing.get(ino)
    if arrived is not None:
        say(fetching=ino)
        await arrived.wait()
        if ino not in _vain:
            _missing.pop(ino, None)


async def control(tree: Tree, operations: Operations, place: str, words: list[str]) -> None:
    """What the test asks."""
    del tree, place, words
    async for question in questions():
        if "miss" in question:
            _missing[question["miss"]] = trio.Event()
        if "vain" in question:
            _vain.add(question["vain"])
        if "come" in question:
            _missing[question["come"]].set()
        say(waiting=operations.fetched.waiting)
