"""A file on the remote, and reads that say what they lack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.tree.incoming import NotHereError

if TYPE_CHECKING:
    from tests.store.elements import RemotePacks
    from vaultfs.tree import Tree


def read(tree: Tree, remote: RemotePacks, ino: int, offset: int, size: int) -> bytes:
    """As a FUSE handler reads."""
    for _ in range(4):
        try:
            return tree.content.read(ino, offset, size)
        except NotHereError as lack:
            if not lack.blocks:
                break
            remote.fetch(tree, lack)
    raise AssertionError
