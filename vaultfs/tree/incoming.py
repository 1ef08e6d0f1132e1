"""What comes from commits into the working tree, and what a call still needs of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vaultfs.format.node import Directory, File, Ref, Symlink, Unit


class Incoming(NamedTuple):
    """What stands under a name in a commit. `below`: what is in a directory (or unit), None: nothing.

    A group stands here as its files, one by one.
    """

    name: bytes
    element: Directory | File | Symlink | Unit
    below: Ref | None = None


class NotHereError(Exception):
    """What a call needs is on the remote: fetch it (`vaultfs.sync.fetching`), then call again. Nothing was changed.

    `directory`: an inode that is not expanded yet. `content`: an inode whose blocks are not known yet. `blocks`: rows
    of the block table whose bytes are not on this machine.
    """

    def __init__(self, *, directory: int = 0, content: int = 0, blocks: tuple[int, ...] = ()) -> None:
        super().__init__("not on this machine yet")
        self.directory = directory
        self.content = content
        self.blocks = blocks
