"""What comes from commits into the working tree: quietly, so that none of it is an edit made here.

New versions come in under new inodes. They are made ready out of sight (`stage`), then a whole batch of names changes
hands at one instant (`place`), and who presents it to the kernel says when that is through (`done`). What is staged is
an inode without a name: a crash leaves garbage that the next start removes.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from vaultfs import clock
from vaultfs.format.node import Directory, File, Symlink
from vaultfs.tree.bringing import Bringer, weigh
from vaultfs.tree.folded import Folded
from vaultfs.tree.incoming import Incoming
from vaultfs.tree.leaving import AT_ONCE, Leaving
from vaultfs.tree.obstacles import Obstacles, Swap
from vaultfs.tree.statements import error
from vaultfs.tree.turning import Turner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaultfs.format.node import Ref
    from vaultfs.tree.blocks import Blocks
    from vaultfs.tree.bringing import Shown
    from vaultfs.tree.handles import Handles
    from vaultfs.tree.housekeeping import Work
    from vaultfs.tree.inode import Inode
    from vaultfs.tree.ledger import Ledger
    from vaultfs.tree.state import State

BATCH_MAX = 256
_REST_NS = 5_000_000_000
_SWAP_BYTES = 1024  # the changes for one swap, without the attributes of a directory


class Staged(NamedTuple):
    """What waits to get a name: how it is called until then, and its inode."""

    token: bytes
    ino: int


class Batch:
    """Names that change hands together. `inodes`: what stood and what is to stand under each, 0: nothing.

    `along`: names that belong to them, and are what they should be already.
    """

    def __init__(
        self,
        swaps: list[Swap],
        inodes: dict[tuple[int, bytes], tuple[int, int]],
        along: Sequence[tuple[int, bytes]] = (),
    ) -> None:
        self.swaps = swaps
        self.inodes = inodes
        self.along = along
        self.placed = False


class _Waiting(NamedTuple):
    ino: int
    placed: int
    incoming: Incoming


class Arrivals:
    """Expand, stage, place. All raise `OSError`.

    `kernel_knows(ino)`: whether the kernel was told of an inode and has not let go of it; whoever mounts sets it.
    """

    def __init__(self, state: State, blocks: Blocks, ledger: Ledger, handles: Handles) -> None:
        self._state = state
        self._ledger = ledger
        self._handles = handles
        self._bringer = Bringer(state, ledger)
        self.kernel_knows: Callable[[int], bool] = lambda _: False
        self.leaving = Leaving(state, lambda ino: self.kernel_knows(ino) or handles.is_open(ino))
        self.folds = Folded(state, blocks, self._bringer, self.leaving)
        self.obstacles = Obstacles(state, handles)
        self.expand = self.folds.expand
        self.unfold = self.folds.unfold
        self.refold = self.folds.refold
        self.folded = self.folds.of
        self.is_folded = self.folds.is_folded
        self.turner = Turner(state, self.folds, self._bringer)
        self._staged: dict[bytes, _Waiting] = {}
        self._uses: dict[int, int] = {}  # how many tokens stand for an inode
        self._next = 1
        self._replaced: set[int] = set()
        self._resting = 0  # until when nothing more is removed, because the disk did not take that

    def tell(self, altered: Callable[[int], None]) -> None:
        """Have `altered(ino)` called whenever an inode is given the attributes of an element."""
        self._bringer.altered = altered

    # -- out of sight

    def stage(self, incoming: Incoming) -> Staged:
        """Makes an inode for it that has no name yet. A file that is here in this version already is linked to."""
        state, element = self._state, incoming.element
        self._bringer.meet([element])
        node = self._bringer.linked(element)
        if node is None or (not node.nlink and node.ino not in self._uses):
            state.begin(weigh(incoming), quiet=True)
            node = self._bringer.make(element, incoming.below, 0, 0)
            state.put_orphan(node.ino)
            state.end()
        token = b"%x" % self._next
        self._next += 1
        self._staged[token] = _Waiting(node.ino, self._bringer.dot(element.placed), incoming)
        self._uses[node.ino] = self._uses.get(node.ino, 0) + 1
        return Staged(token, node.ino)

    def is_staged(self, ino: int) -> bool:
        """Whether the inode waits to be placed: it has no name and must stay all the same."""
        return ino in self._uses

    def staged(self, token: bytes) -> Inode:
        """The inode as it will be, for whoever looks into the staging directory. Raises ENOENT."""
        waiting = self._staged.get(token)
        if waiting is None:
            raise error(errno.ENOENT)
        node = self._state.inode(waiting.ino)
        return node if node.nlink else replace(node, nlink=2 if node.is_dir else 1)

    def incoming(self, token: bytes) -> Incoming:
        """What was given to `stage`, for a mount that changes files in place."""
        return self._staged[token].incoming

    def tokens(self) -> list[bytes]:
        """What is staged."""
        return list(self._staged)

    def discard(self, token: bytes) -> None:
        """It is not needed after all."""
        waiting = self._staged.pop(token, None)
        if waiting is None:
            return
        left = self._uses[waiting.ino] - 1
        if left:
            self._uses[waiting.ino] = left
            return
        del self._uses[waiting.ino]
        node = self._state.find(waiting.ino)
        if node is not None and not node.nlink:
            self.leave(node.ino)

    # -- names change hands

    def prepare(self, swaps: list[Swap], along: Sequence[tuple[int, bytes]] = ()) -> Batch:
        """Puts swaps, at most `BATCH_MAX` and each of another name, together. Raises ENOENT for an unknown token.

        `along`: names that lag no longer when these are in place.
        """
        if len(swaps) > BATCH_MAX:
            raise ValueError(len(swaps))
        inodes = {}
        swaps = [self._resolved(swap) for swap in swaps]
        for swap in swaps:
            entry = self._state.entry(swap.parent, swap.name)
            old = 0 if entry is None else entry.ino
            new = old if swap.attributes is not None else 0
            if swap.token is not None:
                new = self._staged[swap.token].ino
            inodes[swap.parent, swap.name] = old, new
        return Batch(swaps, inodes, along)

    def _resolved(self, swap: Swap) -> Swap:
        if swap.token is None:
            return swap
        if swap.token not in self._staged:
            raise error(errno.ENOENT)
        return swap._replace(whole=self._state.inode(self._staged[swap.token].ino).is_dir)

    def busy(self, swap: Swap) -> str:
        """Why the name cannot change hands now: "open", "changed" or "occupied"; empty when it can."""
        return self.obstacles.found(self._resolved(swap), {})

    def place(self, batch: Batch) -> None:
        """All names of the batch change hands at one instant. Does nothing if they did already.

        Raises EBUSY, with the name, when one cannot (see `busy`); then none did. Names no longer lag afterwards.
        """
        if batch.placed:
            return
        self.obstacles.check(batch.swaps)
        state = self._state
        elements = [swap.attributes for swap in batch.swaps if swap.attributes is not None]
        self._bringer.meet(elements)
        size = _SWAP_BYTES * (len(batch.swaps) + len(batch.along))
        size += sum(weigh(Incoming(b"", element)) for element in elements)
        now = state.begin(size, grows=False, quiet=True)
        for swap in batch.swaps:
            self._swap(swap, now)
        for slot in batch.along:
            self._ledger.note_caught_up(*slot)
        # Last, as the names that changed below a directory are no change of its times.
        for swap in batch.swaps:
            if swap.attributes is not None:
                self._dress(swap, swap.attributes)
        state.end()
        batch.placed = True

    def caught_up(self, slots: Sequence[tuple[int, bytes]]) -> None:
        """Nothing has to change hands for these: they lag no longer, after a crash neither. Raises `OSError`.

        Else a name would lag again, and an edit of it count as made from what was there before.
        """
        for start in range(0, len(slots), BATCH_MAX):
            some = slots[start : start + BATCH_MAX]
            self._state.begin(_SWAP_BYTES * len(some), grows=False, quiet=True)
            for slot in some:
                self._ledger.note_caught_up(*slot)
            self._state.end()

    def _swap(self, swap: Swap, now: int) -> None:
        state = self._state
        self._ledger.note_caught_up(swap.parent, swap.name)
        if swap.attributes is not None:
            return
        directory = state.inode(swap.parent)
        entry, cookie = state.place(swap.parent, swap.name)
        old = None if entry is None else state.inode(entry.ino)
        if swap.token is None:
            if entry is not None:
                state.drop_name(swap.parent, cookie)
        else:
            waiting = self._staged[swap.token]
            node = state.inode(waiting.ino)
            state.put_name(swap.parent, cookie, swap.name, node.ino, waiting.placed)
            if node is old:
                return
            self._named(node, directory)
        if old is not None:
            self._unnamed(old, directory, now)
        directory.ctime = now
        state.put_inode(directory)

    def _named(self, node: Inode, directory: Inode) -> None:
        self._replaced.discard(node.ino)
        if not node.nlink:
            node.parent = directory.ino
            self._state.run("DELETE FROM orphan WHERE ino=?", node.ino)
        if node.is_dir:
            node.nlink = 2
            directory.nlink += 1
        else:
            node.nlink += 1
        self._state.put_inode(node)

    def _unnamed(self, node: Inode, directory: Inode, now: int) -> None:
        if node.is_dir:
            directory.nlink -= 1
            node.nlink = 0
        else:
            node.nlink -= 1
            if node.nlink and node.parent == directory.ino:
                other = self._state.one("SELECT parent FROM dirent WHERE ino=? LIMIT 1", node.ino)
                node.parent = other or node.parent
        node.ctime = now
        self._state.put_inode(node)
        if not node.nlink:
            self._replaced.add(node.ino)
            self._state.put_orphan(node.ino)

    def _dress(self, swap: Swap, element: Directory) -> None:
        entry = self._state.entry(swap.parent, swap.name)
        if entry is not None:
            self._bringer.dress(self._state.inode(entry.ino), element)

    def done(self, batch: Batch) -> None:
        """The kernel knows of the batch, or it is given up: its tokens end, and what it replaced goes."""
        for swap in batch.swaps:
            if swap.token is not None:
                self.discard(swap.token)
        if batch.placed:
            for old, new in batch.inodes.values():
                if old and old != new and old not in self._uses:  # else it was moved: another name waits for it
                    self.leaving.add(old)
        self.sweep()
        if len(self._replaced) > BATCH_MAX:
            self._replaced = {ino for ino in self._replaced if self._state.find(ino) is not None}

    def replaced(self, ino: int) -> bool:
        """Whether a checkout put another inode in the place of this one: who opens it should look again."""
        return ino in self._replaced

    def leave(self, ino: int) -> None:
        """The inode has no name and goes, now or as soon as the disk has room for that."""
        self.leaving.add(ino)
        self.sweep()

    def sweep(self) -> None:
        """A few frames of what is going."""
        try:
            for _ in range(AT_ONCE):
                if not self.leaving.step():
                    break
        except OSError:
            self._resting = clock.steady() + _REST_NS  # there is no room even for that: it is tried again

    def due(self) -> Work | None:
        """Housekeeping: the next piece of a large directory that is going."""
        state = self._state
        if not self.leaving or state.read_only or state.failed or clock.steady() < self._resting:
            return None
        return _Sweep(self)

    # -- in place, where the kernel is told to forget what it knows

    def update(self, ino: int, element: Shown, below: Ref | None) -> None:
        """The inode now is what the element says, content and all (a directory's only if it is folded).

        Raises EBUSY when it is of another kind, or was changed here.
        """
        state, node = self._state, self._state.inode(ino)
        if self.obstacles.changed(ino) or not _same_kind(node, element):
            raise error(errno.EBUSY)
        if node.is_dir:
            self.folds.refold(ino, below)
        self._bringer.meet([element])
        state.begin(weigh(Incoming(b"", element)), quiet=True)
        if isinstance(element, File):
            before = node.size
            self.folds.clear(node)
            self._bringer.fold_file(node, element)
            state.bytes += node.size - before
        elif isinstance(element, Symlink):
            state.bytes += len(element.target) - node.size
            node.target, node.size = element.target, len(element.target)
        self._bringer.dress(node, element)
        if not node.is_dir:
            state.put_arrived(element.id, ino)
        state.end()


def _same_kind(node: Inode, element: Shown) -> bool:
    if isinstance(element, File):
        return not node.is_dir and not node.target
    return bool(node.target) if isinstance(element, Symlink) else node.is_dir


class _Sweep:
    """A few frames of removals, done in the tree's thread; it only waits its turn."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    def run(self) -> None:
        """Nothing to wait for."""

    def apply(self) -> Work | None:
        """A few frames."""
        self._arrivals.sweep()
        return None


__all__ = ["BATCH_MAX", "Arrivals", "Batch", "Staged", "Swap"]
