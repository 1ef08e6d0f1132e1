"""What a cut says was changed: edits that make the working tree of the base, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vaultfs.tree.changes import Slot
    from vaultfs.tree.inode import Inode
    from vaultfs.tree.scope import Path


class Removed(NamedTuple):
    """What is at `path` goes, a directory with all that is in it. `slot`: the name in the working tree's terms."""

    path: Path
    slot: Slot


class Moved(NamedTuple):
    """What is at `old` comes to be at `new`, in place of a file that may be there.

    `slot`, `to`: the name that it had in the base, and the one that it has now, in the working tree's terms.
    """

    old: Path
    new: Path
    slot: Slot = (0, b"")
    to: Slot = (0, b"")


class Written(NamedTuple):
    """A node is new at `path` (`new`), or has other content or attributes than in the base.

    `inode` is a copy. `xattrs`: all of them, by name. Hard links: one for each name, with the same inode. `()` is the
    path of the top directory. `slot`: the name in the working tree's terms, `(0, b"")` for the top.
    """

    path: Path
    ino: int
    inode: Inode
    xattrs: tuple[tuple[bytes, bytes], ...]
    new: bool
    slot: Slot


Edit = Removed | Moved | Written
