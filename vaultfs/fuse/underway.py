"""Batches of a checkout that are being presented to the kernel, for the requests that this makes."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from vaultfs.fuse.answering import refusal

if TYPE_CHECKING:
    from vaultfs.tree import Tree
    from vaultfs.tree.arrivals import Batch


class Underway:
    """The batches, by the names they are about. Falsy when there are none, which is nearly always."""

    __slots__ = ("_batches", "_refused", "_tree")

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._batches: dict[tuple[int, bytes], Batch] = {}
        self._refused: dict[int, OSError] = {}

    def __bool__(self) -> bool:
        return bool(self._batches)

    def begin(self, batch: Batch) -> None:
        """Its requests will come."""
        for swap in batch.swaps:
            self._batches[swap.parent, swap.name] = batch

    def end(self, batch: Batch) -> OSError | None:
        """No more of them; returns why the tree refused it, if it did."""
        for swap in batch.swaps:
            self._batches.pop((swap.parent, swap.name), None)
        return self._refused.pop(id(batch), None)

    def place(self, parent: int, name: bytes) -> None:
        """The kernel is about to change this name: with the first of a batch all are put in place.

        Raises `OSError`: EBUSY if the batch is held, EXDEV where the way led to another directory than was meant.
        """
        batch = self._batches.get((parent, name))
        if batch is None:
            raise refusal(errno.EXDEV)
        try:
            self._tree.arrivals.place(batch)
        except OSError as error:
            self._refused[id(batch)] = error
            raise

    def is_placed(self, parent: int, name: bytes) -> bool:
        """Whether the name is in a batch that is in place, though the kernel may not know of this name yet."""
        batch = self._batches.get((parent, name))
        return batch is not None and batch.placed
