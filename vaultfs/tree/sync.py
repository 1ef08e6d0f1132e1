"""What fsync has to wait for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vaultfs.durable import sync_content
from vaultfs.tree.statements import error

if TYPE_CHECKING:
    from vaultfs.tree.blocks import Blocks
    from vaultfs.tree.state import State


class Ticket:
    """Makes everything durable that was done before the ticket was made.

    `run`, or `run_apart` in another thread than the tree's, blocks; `done` is called in the tree's thread after it
    returned (not when it raised). Several tickets may run at once: each covers all that is not yet known to be on
    disk, whoever else is waiting for it. Packs come first: a journal on disk never speaks of a block that is not.
    """

    __slots__ = ("_blocks", "_packs", "_slots", "_state", "lsn")

    def __init__(self, state: State, blocks: Blocks) -> None:
        self._state = state
        journal = state.journal
        self._blocks = blocks
        self.lsn = journal.lsn
        self._packs = [(pack, pack.size) for pack in blocks.unsynced]
        self._slots = journal.unsynced()

    @property
    def heavy(self) -> bool:
        """Whether there may be much to write, so that it should not be done where others wait."""
        return bool(self._packs)

    def run(self) -> None:
        """Blocks until all is on disk. Raises `OSError`; then nothing more is written until the store is reopened.

        After a failed fdatasync the kernel may call pages clean that never reached the disk, so that the next call
        would succeed and mean nothing.
        """
        self._run(apart=False)

    def run_apart(self) -> None:
        """`run` for any other thread: whatever the disk says is told to it and to the tree's thread both."""
        self._run(apart=True)

    def _run(self, *, apart: bool) -> None:
        try:
            for pack, _ in self._packs:
                pack.sync()
            for slot in self._slots:
                if apart:
                    sync_content(slot.path, slot.fd)
                else:
                    os.fdatasync(slot.fd)  # a file is not opened anew for each fsync of a program
        except OSError as problem:
            self._state.fail(problem, "the disk does not take what was written")
            raise

    def done(self) -> None:
        """What the ticket covered is known to be on disk. Raises as `noted` and `confirm`."""
        if self.noted():
            self.confirm()

    def noted(self) -> bool:
        """The first half of `done`; True: `confirm` is to follow, which whoever waits need not wait for, too.

        Raises `OSError` when somebody else's wait failed meanwhile: of the same file the kernel tells one of them only.
        """
        if self._state.failed:
            raise error(self._state.failed)
        journal = self._state.journal
        newer = self.lsn > journal.synced
        if newer:
            journal.synced = self.lsn
        for pack, size in self._packs:
            self._blocks.synced(pack, size)
        return newer

    def confirm(self) -> None:
        """The second half: it is noted in the journal. Raises `OSError`, after which it takes no more changes."""
        self._state.journal.confirm()


def not_on_disk(state: State, blocks: Blocks) -> Ticket | None:
    """What was done and may not be durable yet; None where everything is."""
    if state.journal.all_synced and not blocks.unsynced:
        return None
    return Ticket(state, blocks)
