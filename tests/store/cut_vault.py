"""A store whose cuts a test plays through, and a short form of what is in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store.committing import Committing, working_tree
from tests.store.stores import DIRECTORY, make_file
from tests.store.test_changes import ino_of
from vaultfs.tree.cut import Moved, Removed

if TYPE_CHECKING:
    from tests.store.stores import StoreMaker
    from vaultfs.tree import Tree
    from vaultfs.tree.cut import Cut

SCOPE = b"user.vaultfs.scope"


class Vault:
    """A tree, its commits, and short ways to change it. Paths are given as b"a/b"."""

    def __init__(self, stores: StoreMaker) -> None:
        self.tree: Tree = stores.new()
        self.commits = Committing()

    def ino(self, path: bytes) -> int:
        return ino_of(self.tree, *[part for part in path.split(b"/") if part])

    def at(self, path: bytes) -> tuple[int, bytes]:
        above, _, name = path.rpartition(b"/")
        return self.ino(above), name

    def mkdir(self, *paths: bytes) -> None:
        for path in paths:
            self.tree.names.make(*self.at(path), DIRECTORY, 0, 0)

    def write(self, path: bytes, data: bytes) -> int:
        parent, name = self.at(path)
        return make_file(self.tree, name, data, parent).ino

    def move(self, old: bytes, new: bytes, flags: int = 0) -> None:
        self.tree.names.rename(*self.at(old), *self.at(new), flags)

    def unlink(self, path: bytes) -> None:
        ino = self.ino(path)
        self.tree.names.unlink(*self.at(path))
        self.tree.forget(ino)

    def rmdir(self, path: bytes) -> None:
        ino = self.ino(path)
        self.tree.names.rmdir(*self.at(path))
        self.tree.forget(ino)

    def scope(self, path: bytes, value: bytes) -> None:
        if value:
            self.tree.xattrs.set(self.ino(path), SCOPE, value)
        else:
            self.tree.xattrs.remove(self.ino(path), SCOPE)

    def commit(self) -> list[tuple[object, ...]]:
        """A commit, which holds just what the working tree holds; its edits in short."""
        cut = self.commits.cut(self.tree)
        expected = working_tree(self.tree)
        state = self.commits.finish(self.tree, cut)
        assert self.commits.tree_of(state) == expected
        return short(cut)

    def edits(self) -> list[tuple[object, ...]]:
        """A commit whose tree is not compared."""
        cut = self.tree.cut(everything=self.tree.ledger.base is None)
        self.commits.finish(self.tree, cut)
        return short(cut)

    def lag(self, path: bytes, seen: bytes | None = b"older") -> None:
        parent, name = self.at(path)
        self.tree.ledger.set_lag(parent, name, seen)


def short(cut: Cut) -> list[tuple[object, ...]]:
    out: list[tuple[object, ...]] = []
    for edit in cut.edits:
        if isinstance(edit, Moved):
            out.append(("moved", b"/".join(edit.old), b"/".join(edit.new)))
        elif isinstance(edit, Removed):
            out.append(("removed", b"/".join(edit.path)))
        else:
            out.append(("new" if edit.new else "written", b"/".join(edit.path)))
    return out
