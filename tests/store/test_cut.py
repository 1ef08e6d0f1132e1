"""The edits of each cut make of the tree of the cut before exactly the working tree as it was at that instant.

Random changes, cuts, writes between cut and work, housekeeping and kills; the edits are applied by the real `Editor`.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.store.committing import Committing, working_tree
from tests.store.stores import DIRECTORY, FILE, StoreMaker, names_of, work_off
from tests.store.test_model import pattern
from vaultfs.sync.depth import allow_depth
from vaultfs.tree import ROOT
from vaultfs.tree.housekeeping import SyncWork
from vaultfs.tree.names import RENAME_EXCHANGE, RENAME_NOREPLACE

if TYPE_CHECKING:
    from vaultfs.tree.cut import Cut

allow_depth()  # before Hypothesis notes the interpreter's limit
NAMES = st.sampled_from([b"a", b"b", b"c", b"d", b"x.pid", b"\xff\xfe"])
WHICH = st.integers(0, 10_000)
SIZES = st.sampled_from([0, 3, 511, 512, 513, 4096, 65536, 65537, 140_000])
OFFSETS = st.sampled_from([0, 1, 500, 600, 4096, 65530, 65536, 131_072, 140_000])


class CutAgainstEditor(RuleBasedStateMachine):
    """`cut`: one under way, with the tree as it was then."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="vaultfs-cut-"))
        self.maker = StoreMaker(self.place)
        self.tree = self.maker.new()
        self.commits = Committing()
        self.cut: Cut | None = None
        self.expected: object = None
        self.work: object = None
        self.sealed = False
        self.open: list[int] = []

    # -- what there is

    def nodes(self, *, folders: bool = False) -> list[tuple[int, bytes, int]]:
        """All names: directory, name, inode."""
        out, todo = [], [ROOT]
        while todo:
            parent = todo.pop()
            for name, ino in sorted(names_of(self.tree, parent).items()):
                is_dir = self.tree.inode(ino).is_dir
                if is_dir:
                    todo.append(ino)
                if is_dir or not folders:
                    out.append((parent, name, ino))
        return out

    def pick(self, which: int) -> tuple[int, bytes, int] | None:
        found = self.nodes()
        return found[which % len(found)] if found else None

    def folder(self, which: int) -> int:
        found = [ROOT, *(ino for _, _, ino in self.nodes(folders=True))]
        return found[which % len(found)]

    def file(self, which: int) -> int:
        found = [ino for _, _, ino in self.nodes() if stat.S_ISREG(self.tree.inode(ino).mode)] + self.open
        return found[which % len(found)] if found else 0

    # -- changes

    @rule(where=WHICH, name=NAMES, size=SIZES, seed=st.integers(0, 99))
    def make(self, where: int, name: bytes, size: int, seed: int) -> None:
        try:
            node = self.tree.names.make(self.folder(where), name, FILE, 1, 2)
        except OSError:
            return
        self.tree.content.write(node.ino, 0, pattern(seed, size))

    @rule(where=WHICH, name=NAMES, kind=st.sampled_from([DIRECTORY, DIRECTORY, stat.S_IFIFO | 0o600, stat.S_IFLNK]))
    def make_other(self, where: int, name: bytes, kind: int) -> None:
        target = b"to/" + name if kind == stat.S_IFLNK else b""
        try:
            self.tree.names.make(self.folder(where), name, kind, 1, 2, target=target)
        except OSError:
            return

    @rule(which=WHICH, offset=OFFSETS, size=SIZES, seed=st.integers(0, 99))
    def write(self, which: int, offset: int, size: int, seed: int) -> None:
        if ino := self.file(which):
            self.tree.content.write(ino, offset, pattern(seed, size))

    @rule(which=WHICH, size=OFFSETS)
    def truncate(self, which: int, size: int) -> None:
        if ino := self.file(which):
            self.tree.attributes.set(ino, size=size)

    @rule(which=WHICH, mode=st.sampled_from([0o600, 0o755]), xattr=st.sampled_from([b"", b"user.a", b"user.b"]))
    def dress(self, which: int, mode: int, xattr: bytes) -> None:
        picked = self.pick(which)
        ino = ROOT if picked is None else picked[2]
        if not xattr:
            self.tree.attributes.set(ino, mode=mode)
        elif xattr in self.tree.xattrs.list(ino):
            self.tree.xattrs.remove(ino, xattr)
        else:
            self.tree.xattrs.set(ino, xattr, b"%d" % mode)

    @rule(which=WHICH, here=st.booleans())
    def scope(self, which: int, here: bool) -> None:
        picked = self.pick(which)
        if picked is not None and here:
            self.tree.xattrs.set(picked[2], b"user.vaultfs.scope", b"node")
        elif picked is not None:
            self.tree.xattrs.remove(picked[2], b"user.vaultfs.scope")

    @rule(which=WHICH, keep=st.booleans())
    def remove(self, which: int, keep: bool) -> None:
        picked = self.pick(which)
        if picked is None:
            return
        parent, name, ino = picked
        try:
            if self.tree.inode(ino).is_dir:
                self.tree.names.rmdir(parent, name)
            else:
                self.tree.names.unlink(parent, name)
        except OSError:
            return
        self.let_go(ino, keep=keep)

    def let_go(self, ino: int, *, keep: bool) -> None:
        node = self.tree.inode(ino)
        if node.nlink:
            return
        if keep and stat.S_ISREG(node.mode):
            self.open.append(ino)
        else:
            self.tree.forget(ino)

    @rule(which=WHICH)
    def remove_all(self, which: int) -> None:
        folder = self.folder(which)
        for name, ino in names_of(self.tree, folder).items():
            if not self.tree.inode(ino).is_dir:
                self.tree.names.unlink(folder, name)
                self.let_go(ino, keep=False)

    @rule(which=WHICH, where=WHICH, name=NAMES, flags=st.sampled_from([0, 0, RENAME_NOREPLACE]))
    def rename(self, which: int, where: int, name: bytes, flags: int) -> None:
        picked, folder = self.pick(which), self.folder(where)
        if picked is None:
            return
        before = names_of(self.tree, folder).get(name)
        try:
            self.tree.names.rename(picked[0], picked[1], folder, name, flags)
        except OSError:
            return
        if before is not None and self.tree.state.find(before) is not None:
            self.let_go(before, keep=False)

    @rule(which=WHICH, other=WHICH)
    def exchange(self, which: int, other: int) -> None:
        a, b = self.pick(which), self.pick(other)
        if a is None or b is None:
            return
        try:
            self.tree.names.rename(a[0], a[1], b[0], b[1], RENAME_EXCHANGE)
        except OSError:
            return

    @rule(which=WHICH, where=WHICH, name=NAMES)
    def link(self, which: int, where: int, name: bytes) -> None:
        if ino := self.file(which):
            try:
                self.tree.names.link(ino, self.folder(where), name)
            except OSError:
                return

    @precondition(lambda self: self.open)
    @rule()
    def close(self) -> None:
        ino = self.open.pop()
        if not self.tree.inode(ino).nlink:
            self.tree.forget(ino)

    # -- cuts

    @precondition(lambda self: self.cut is None)
    @rule()
    def take(self) -> None:
        self.cut = self.commits.cut(self.tree)
        self.expected = working_tree(self.tree)
        self.work, self.sealed = None, False

    @precondition(lambda self: self.cut is not None and not self.sealed)
    @rule()
    def seal(self) -> None:
        """One step of the work; other changes may come between two."""
        if self.work is None:
            self.work = self.cut.work()
        self.work.run()
        self.work = self.work.apply()
        self.sealed = self.work is None

    @precondition(lambda self: self.cut is not None)
    @rule()
    def finish(self) -> None:
        while not self.sealed:
            self.seal()
        state = self.commits.settle(self.tree, self.cut)
        self.cut = None
        assert self.commits.tree_of(state) == self.expected

    @precondition(lambda self: self.cut is not None)
    @rule()
    def fail(self) -> None:
        self.cut.failed()
        self.cut, self.work = None, None

    @precondition(lambda self: self.cut is None)
    @rule()
    def all_at_once(self) -> None:
        self.take()
        self.finish()
        cut = self.commits.cut(self.tree)
        assert cut.edits == []
        cut.done()

    # -- what else goes on

    @precondition(lambda self: self.cut is None or self.work is None)
    @rule(kind=st.sampled_from(["seal", "checkpoint", "collect"]))
    def keep_house(self, kind: str) -> None:
        keeper = self.tree.keeper
        if kind == "seal":
            work_off(keeper.seal(everything=True))
        elif kind == "checkpoint":
            work_off(SyncWork(keeper))
        else:
            work_off(keeper.collect())

    @rule()
    def killed(self) -> None:
        self.cut, self.work, self.open = None, None, []
        self.tree = self.maker.crash(self.tree)
        assert self.tree.health == []

    @precondition(lambda self: self.cut is None)
    @rule()
    def closed(self) -> None:
        store = self.tree.state.store
        self.tree.close()
        self.maker.trees.remove(self.tree)
        self.tree, self.open = self.maker.open(store), []

    def teardown(self) -> None:
        if self.cut is not None:
            self.finish()
        self.all_at_once()
        self.killed()
        self.all_at_once()
        self.maker.end()
        shutil.rmtree(self.place)


CutAgainstEditor.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestCutAgainstEditor = CutAgainstEditor.TestCase
