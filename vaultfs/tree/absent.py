"""What the base turned out to lack though the working tree has it, and nobody made it here since the last cut.

A machine comes to that when its base was set back and the working tree was not: the tree is ahead. The next cut then
must not move or patch what the base has not got; it writes it whole, as it is now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultfs.tree.changes import Slot
    from vaultfs.tree.state import State


def note_absent(state: State, lacking: Mapping[Slot, int]) -> bool:
    """The base lacks what these names stood for, and so many directories above each. False: all of that was known.

    Between cuts.
    """
    changes = state.changes
    was = {old: slot for slot, old in changes.names.items() if old in changes.current.folders}
    absent: set[Slot] = set()
    for name, missing in lacking.items():
        slot = name
        for _ in range(missing):
            slot = was.get(slot[0]) or _place(state, slot[0]) or slot
        absent.add(slot)
    absent -= changes.outside
    changes.absent(absent)
    for slot in absent - changes.names.keys():
        entry = state.entry(*slot)
        if entry is not None and entry.ino not in changes.inodes:
            # Else what is not in the base would be left alone. A directory is made there, without all that is in it.
            changes.add_inode(entry.ino, whole=True)
    return bool(absent)


def _place(state: State, ino: int) -> Slot | None:
    row = state.all("SELECT parent, name FROM dirent WHERE ino=?", ino)
    return (row[0][0], row[0][1]) if row else None
