"""What lost its last name by a checkout, or with the directory that it was in, until nobody needs it any more.

A directory goes with all that is in it, a piece at a time: what stands on top is an orphan from the start, so that a
crash leaves nothing that the next start would not find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultfs.tree.inode import Inode
    from vaultfs.tree.state import State

_FRAME_NAMES = 64
AT_ONCE = 8  # frames


class Leaving:
    """Removes inodes without a name, and what is in them. `in_use(ino)`: someone still knows the inode."""

    def __init__(self, state: State, in_use: Callable[[int], bool] = lambda _: False) -> None:
        self._state = state
        self._in_use = in_use
        self._stack: list[int] = []

    def add(self, ino: int) -> None:
        """This inode is to go."""
        self._stack.append(ino)

    def __bool__(self) -> bool:
        return bool(self._stack)

    def holds(self, ino: int) -> bool:
        """Whether there still is something in a directory that is going: it must not go before that."""
        return self._state.one("SELECT 1 FROM dirent WHERE parent=? LIMIT 1", ino) is not None

    def step(self) -> bool:
        """Removes a few dozen; False when nothing is left. Raises `OSError`, after which it can be tried again."""
        if not self._stack:
            return False
        ino = self._stack[-1]
        node = self._state.find(ino)
        if node is None or node.nlink:
            self._stack.pop()
        elif not (node.is_dir and self._empty_some(ino)):
            # What is in use goes when the kernel lets go of it (`Tree.forget`), or with the next start.
            if not self._in_use(ino):
                self._state.begin(grows=False, quiet=True)  # on a full disk it may fail: then nothing is forgotten
                self._state.drop_inode(node)
                self._state.end()
            self._stack.pop()
        return bool(self._stack)

    def finish(self) -> None:
        """Removes all."""
        while self.step():
            pass

    def empty(self, ino: int) -> None:
        """Removes what is in a directory; the directory stays."""
        while self._empty_some(ino):
            pass
        self.finish()

    def _empty_some(self, ino: int) -> bool:
        """Takes names out of a directory; False if there are none."""
        state = self._state
        rows = state.all("SELECT cookie, ino FROM dirent WHERE parent=? LIMIT ?", ino, _FRAME_NAMES)
        if not rows:
            return False
        state.begin(grows=False, quiet=True)
        for cookie, child in rows:
            state.drop_name(ino, cookie)
            node = state.find(child)
            if node is not None:
                self._let_go(node)
        state.end()
        return True

    def _let_go(self, node: Inode) -> None:
        state = self._state
        node.nlink = 0 if node.is_dir else node.nlink - 1
        if node.nlink:
            state.put_inode(node)
        elif node.is_dir or self._in_use(node.ino):
            state.put_inode(node)
            state.put_orphan(node.ino)
            self._stack.append(node.ino)
        else:
            state.drop_inode(node)
