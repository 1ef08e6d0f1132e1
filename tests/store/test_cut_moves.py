"""Directories and files that are moved about between two cuts, in any way at all."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.committing import Committing, working_tree
from tests.store.stores import DIRECTORY, StoreMaker, make_file, names_of
from vaultfs.sync.depth import allow_depth
from vaultfs.tree import ROOT
from vaultfs.tree.names import RENAME_EXCHANGE

allow_depth()  # before Hypothesis notes the interpreter's limit
WHICH = st.integers(0, 30)
MOVES = st.tuples(
    WHICH, WHICH, st.sampled_from([b"a", b"b", b"c", b"new"]), st.sampled_from(["move", "swap", "remake"])
)


@settings(max_examples=60, deadline=None)
@given(moves=st.lists(MOVES, min_size=2, max_size=10))
def test_any_moves(moves: list[tuple[int, int, bytes, str]]) -> None:
    with tempfile.TemporaryDirectory(prefix="vaultfs-moves-") as place:
        maker, commits = StoreMaker(Path(place)), Committing()
        tree = maker.new()
        folders = [ROOT]
        for number in range(8):
            parent = folders[number // 2]
            folders.append(tree.names.make(parent, b"ab"[number % 2 :][:1], DIRECTORY, 0, 0).ino)
            make_file(tree, b"c", b"%d" % number, folders[-1])
        commits.finish(tree, commits.cut(tree))
        for which, where, name, how in moves:
            found = [(parent, one, ino) for parent in folders for one, ino in sorted(names_of(tree, parent).items())]
            parent, old, ino = found[which % len(found)]
            other = found[where % len(found)]
            with contextlib.suppress(OSError):
                if how == "swap":
                    tree.names.rename(parent, old, other[0], other[1], RENAME_EXCHANGE)
                elif how == "move":
                    tree.names.rename(parent, old, folders[where % len(folders)], name)
                elif tree.inode(ino).is_dir:
                    # Another directory takes its place and all that is in it.
                    fresh = tree.names.make(ROOT, b"fresh", DIRECTORY, 0, 0).ino
                    for child in names_of(tree, ino):
                        tree.names.rename(ino, child, fresh, child)
                    tree.names.rename(ROOT, b"fresh", parent, old)
                    folders[folders.index(ino)] = fresh
            folders = [one for one in folders if tree.inode(one).nlink]
        cut, expected = commits.cut(tree), working_tree(tree)
        assert commits.tree_of(commits.finish(tree, cut)) == expected
        maker.end()
