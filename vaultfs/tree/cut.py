"""The cut: the working tree at one instant, as edits of the base and as pictures of what changed.

It is taken in the tree's thread and costs what changed. Then work in a thread seals the pictures (`work`), the commit's
nodes come behind them into the same pack (`add_nodes`), and the commit is the base (`done`) or is not (`failed`).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from vaultfs.tree.cut_pictures import Pictures
from vaultfs.tree.cut_plan import Plan
from vaultfs.tree.cut_slots import Slots
from vaultfs.tree.cut_work import AddNodes, Packing, SealCut
from vaultfs.tree.edit import Edit, Moved, Removed, Written
from vaultfs.tree.scope import Scoping
from vaultfs.tree.statements import error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultfs.format.node import Block, Content
    from vaultfs.tree.cut_pictures import Changed
    from vaultfs.tree.housekeeping import Work
    from vaultfs.tree.inode import Inode
    from vaultfs.tree.tree import Tree

_PER_FRAME = 64
_RECORD_BYTES = 8192  # an inode's, with the target of a link

__all__ = ["Cut", "Edit", "Moved", "Removed", "Scoping", "Written"]


class Cut:
    """One cut; only one at a time. Ends with `done` or `failed`, whatever happens in between.

    `counter`: the commit's number. `time`: ns since 1970. `edits`: to be applied to the base one after the other; what
    changes places in a circle is moved to a name at the top for a moment.

    Making it changes nothing in files. Raises `NotHereError` when something must be fetched first, and `OSError`.
    """

    def __init__(self, tree: Tree, rules: Scoping, *, everything: bool) -> None:
        state = self._state = tree.state
        changes = self._changes = state.changes
        if changes.cutting:
            raise error(errno.EBUSY)
        self._ledger = tree.ledger
        self.time = state.begin(grows=False)
        self.counter = state.counter
        record = changes.current
        slots = Slots(state, tree.content, changes, record, rules, everything=everything)
        plan = Plan(state, slots, record, everything=everything)
        self._edits = plan.edits
        self._outside = frozenset(slots.outside)
        self._lagged = bool(slots.lag)
        self._damaged: set[int] = set()
        self._lost = changes.cuts_lost
        self._was_enabled = changes.enabled
        self._ended = False
        writers = (tree.blocks.writer, tree.keeper.sealer)
        writing = {writer.number for writer in writers if writer is not None}
        self._pictures = Pictures(state, tree.blocks, record, writing)
        for ino, whole in plan.contents.items():
            self._pictures.take(state.inode(ino), whole=whole)
        self._restamp(sorted(plan.stale))
        # From here on nothing can go wrong any more.
        self._pictures.pin()
        self._packing = Packing(state, tree.blocks, tree.keeper)
        self._packing.pin(self._pictures.packs)
        changes.take()
        state.let_go_before, state.let_go = state.let_go | state.let_go_before, set()
        changes.enabled = True
        state.counter += 1

    def _restamp(self, inos: list[int]) -> None:
        """What an earlier cut was to publish, and did not, or what is published for another reason."""
        state = self._state
        for start in range(0, len(inos), _PER_FRAME):
            state.begin(_PER_FRAME * _RECORD_BYTES, grows=False, quiet=True)
            for ino in inos[start : start + _PER_FRAME]:
                node = state.inode(ino)
                node.writer, node.counter = state.device, self.counter
                state.put_inode(node)
            state.end()

    @property
    def edits(self) -> list[Edit]:
        """The edits; after `work` without those of files whose content cannot be read here."""
        if not self._damaged:
            return self._edits
        return [edit for edit in self._edits if not isinstance(edit, Written) or edit.ino not in self._damaged]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not self.edits

    def work(self) -> Work:
        """For `Housekeeping.do`: seals what changed. Raises `NotHereError` for blocks that must be fetched first."""
        return SealCut(self._packing, self._pictures, self._damaged)

    def content(self, ino: int) -> Content | Changed | list[Block] | None:
        """The content of a written file, after `work`.

        Small files as they are; else the changed blocks, by index (id and length, None: a hole), where the base has
        the file under the same path; else all blocks. `Blocks` or `Indirect`: what it came with. None: unchanged.
        """
        return self._pictures.files[ino].given()

    def start(self, ino: int) -> bytes:
        """The first 16 bytes of a file that is new or whose first block changed, after `work`; else nothing."""
        held = self._pictures.files.get(ino)
        return b"" if held is None else held.start

    def file_id(self, inode: Inode) -> bytes:
        """The file's id in commits (16 bytes). Safe in any thread."""
        return self._state.file_ids.of(inode)

    def add_nodes(self, nodes: Mapping[bytes, bytes]) -> Work:
        """For `Housekeeping.do`: puts the nodes (bytes by id) into the commit's pack and finishes it."""
        return AddNodes(self._packing, self._ledger, nodes, self._pictures.rows)

    @property
    def packs(self) -> list[int]:
        """The numbers of the packs that are to be published with the commit, after `add_nodes`."""
        return sorted(self._packing.packs)

    def done(self) -> None:
        """The commit is the base. Raises EIO if the database lost what it was told since the cut; then nothing is."""
        if self._ended:
            return
        if self._changes.cuts_lost != self._lost:
            self.failed()
            raise error(errno.EIO)
        self._end()
        self._state.let_go_before = set()
        self._changes.done(self._outside)
        self._state.changed += 1
        for edit in self._edits:
            if isinstance(edit, Written) and edit.ino in self._damaged:
                self._changes.add_inode(edit.ino, whole=True)
                if edit.new:
                    self._changes.add_name(edit.slot, 0, folder=False)
        if self._lagged:
            for parent, name, _ in self._ledger.lag():
                if self._state.find(parent) is None:
                    self._ledger.drop_lag(parent, name)

    def failed(self) -> None:
        """There is no such commit: its changes are to be in the next one."""
        if self._ended:
            return
        self._end()
        if self._changes.cuts_lost == self._lost:
            self._changes.give_back(enabled=self._was_enabled)

    def _end(self) -> None:
        self._ended = True
        self._packing.end()
        self._pictures.unpin()
