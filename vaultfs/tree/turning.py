"""What a newer base changes in the working tree at once: attributes, and directories that nobody looked into.

The rest lags, and comes into place later. This cannot lag, so it must hold exactly as long as the base does: it is not
in the journal but only in the database's open transaction, where the base is, and that is committed at once. Who loses
the transaction, to a full disk or by a crash, has both as they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.tree.inode import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultfs.format.node import Directory, Ref
    from vaultfs.tree.bringing import Bringer
    from vaultfs.tree.folded import Folded
    from vaultfs.tree.state import State


class Turner:
    """Makes the change. For the `change` of a `SyncWork`."""

    def __init__(self, state: State, folds: Folded, bringer: Bringer) -> None:
        self._state = state
        self._folds = folds
        self._bringer = bringer

    def fits(self, refolds: Sequence[tuple[int, Ref | None]]) -> bool:
        """Whether nobody has looked into these directories; the top one may also be empty."""
        return all(
            self._folds.is_folded(ino) or (ino == ROOT and (ref is None or self._folds.is_empty(ino)))
            for ino, ref in refolds
        )

    def turn(
        self,
        refolds: Sequence[tuple[int, Ref | None]],
        attributes: Sequence[tuple[int, Directory]],
        base: Callable[[], None],
    ) -> None:
        """Calls `base`, which sets it, and gives the directories their new contents and attributes.

        Raises `OSError`, before anything is changed here or with an end to all changes; and what `base` raises.
        """
        state = self._state
        if not refolds and not attributes:
            base()
            return
        for ino, _ in refolds:
            self._folds.clear_remains(ino)
        self._bringer.meet(element for _, element in attributes)
        state.begin(quiet=True)
        base()
        try:
            for ino, ref in refolds:
                if ref is not None or self._folds.is_folded(ino):
                    self._folds.turn(state.inode(ino), ref)
            for ino, element in attributes:
                self._bringer.dress(state.inode(ino), element)
        except OSError as problem:
            state.fail(problem, "the metadata database does not take what others published")
            raise
        state.end_unlogged()
