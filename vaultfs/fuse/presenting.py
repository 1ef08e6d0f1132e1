"""A checkout as the kernel and those who watch see it: by renames and removals through the mount, made by ourselves.

So names, caches, open files and inotify are right without anything being invalidated: watchers are told, who has the
old version open keeps it, and a program that opens the file finds either version, whole. Each batch is put in place
in the tree by the first request of ours that reaches us (`Underway.place`); the others only tell the kernel.

Where the kernel does not let us (a read-only directory, a path that is too long, another mount on top) the batch is
put in place directly, and the kernel is told to forget what it knows; watchers are not told then. So it is in a
read-only mount, which follows other machines: there a file that somebody has open also grows in place.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from functools import partial
from typing import TYPE_CHECKING

import trio

from vaultfs.fuse import virtual
from vaultfs.fuse.telling import Note, Step, forget, tell
from vaultfs.fuse.threads import through_mount
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.obstacles import CHANGED, OPEN
from vaultfs.tree.whereabouts import exact_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultfs.fuse.meaning import Meaning
    from vaultfs.tree.arrivals import Batch

_DATABASE = b"SQLite format 3\0"
_log = logging.getLogger(__name__)


class Presenter:
    """Puts prepared batches in place. One at a time does so."""

    def __init__(self, operations: Meaning, mountpoint: str) -> None:
        self._operations = operations
        self._tree = operations.tree
        self._mountpoint = os.fsencode(mountpoint)
        self._lock = trio.Lock()

    async def present(self, batch: Batch) -> bool:
        """True: it is in place, and the kernel knows; False: something holds it, nothing happened. Raises `OSError`.

        The batch is done in either case: what was staged for it and is not in place is gone.
        """
        return (await self.present_all([batch]))[0]

    async def present_all(self, batches: Sequence[Batch]) -> list[bool]:
        """As `present`, one after the other, much cheaper than each by itself.

        Raises `OSError` only when nothing more can be done (the disk, the journal); those in place stay.
        """
        if not batches:
            return []
        async with self._lock:
            try:
                notes = [] if self._operations.read_only else await self._through_kernel(batches)
                return await self._directly(batches, notes)
            finally:
                for batch in batches:
                    self._tree.arrivals.done(batch)

    # -- through the kernel

    async def _through_kernel(self, batches: Sequence[Batch]) -> list[Note]:
        """What is not placed afterwards is held, or the kernel was in the way.

        Returns the names that the kernel took nothing about, though others of their batch went through.
        """
        missed: list[Step] = []
        underway = self._operations.underway
        # What is in use is left alone: a write that waits for the network would hold our thread up, and that the whole
        # directory. (What is in the way otherwise may go with a batch before.)
        batches = [batch for batch in batches if not self._held(batch)]
        work = [steps for batch in batches if (steps := self._steps(batch))]
        for batch in batches:
            underway.begin(batch)
        try:
            if work:
                await through_mount(partial(tell, work, missed, self._mountpoint, self._operations.own))
        except OSError as error:
            _log.info("a checkout cannot go through the mount: %s", error.strerror)
        finally:
            refused = [underway.end(batch) for batch in batches]
        for problem in refused:
            if problem is not None and problem.errno != errno.EBUSY:
                raise problem
        staged = [Note(virtual.STAGING, step.token, 0) for step in missed if step.token is not None]
        return [Note(step.parent, step.name, 0) for step in missed] + staged

    def _held(self, batch: Batch) -> bool:
        return any(self._tree.arrivals.busy(swap) in {OPEN, CHANGED} for swap in batch.swaps)

    def _steps(self, batch: Batch) -> list[Step]:
        """What to do for a batch; nothing where a name has no path."""
        steps = []
        for swap in batch.swaps:
            if swap.attributes is not None:
                continue
            above = exact_path(self._tree.state, swap.parent)
            if above is None:
                return []
            old, new = batch.inodes[swap.parent, swap.name]
            if old == new:
                continue
            directories = self._is_directory(old), self._is_directory(new)
            path = b"/".join((self._mountpoint, *above, swap.name))
            steps.append(Step(swap.parent, swap.name, path, swap.token, directories[0], bool(old) and any(directories)))
        return steps

    def _is_directory(self, ino: int) -> bool:
        node = self._tree.state.find(ino) if ino else None
        return node is not None and node.is_dir

    # -- directly

    async def _directly(self, batches: Sequence[Batch], notes: list[Note]) -> list[bool]:
        """Places what is not in place, and tells the kernel what it must forget: that, and `notes`."""
        placed = []
        for batch in batches:
            came = batch.placed or self._place(batch, notes)
            placed.append(came)
            if came:
                self._linked(batch)
        if notes:
            self._operations.changes += 1
            await trio.to_thread.run_sync(forget, self._operations.notes, notes)
        return placed

    def _linked(self, batch: Batch) -> None:
        """One more name for a file that the kernel knows: to it, it was a rename."""
        for _, new in batch.inodes.values():
            node = self._tree.state.find(new) if new else None
            if node is not None and node.nlink > 1 and not node.is_dir:
                self._operations.altered(new)

    def _place(self, batch: Batch, notes: list[Note]) -> bool:
        arrivals = self._tree.arrivals
        try:
            token = batch.swaps[0].token
            if token is not None and (ino := self._grows(batch)):
                incoming = arrivals.incoming(token)
                arrivals.update(ino, incoming.element, incoming.below)
                notes.append(Note(0, b"", 0, ino))
                return True
            arrivals.place(batch)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        for swap in batch.swaps:
            if swap.attributes is None:
                old, _ = batch.inodes[swap.parent, swap.name]
                notes.append(Note(swap.parent, swap.name, 0 if swap.token else old))
        return True

    def _grows(self, batch: Batch) -> int:
        """The inode of a plain file that somebody has open, to be given its new content in place; 0 for all else.

        Not the files of a database: who reads one must not meet pages of two versions.
        """
        tree, swap = self._tree, batch.swaps[0]
        if not self._operations.read_only or len(batch.swaps) > 1:
            return 0
        old, new = batch.inodes[swap.parent, swap.name]
        found = [tree.state.find(ino) for ino in (old, new)]
        if not tree.handles.is_used(old) or any(node is None or not stat.S_ISREG(node.mode) for node in found):
            return 0
        try:
            start = tree.content.read(old, 0, len(_DATABASE))
        except (NotHereError, OSError):
            start = b""  # nobody has read it either
        return 0 if start == _DATABASE else old
