"""The tree against a dictionary: random changes, housekeeping half-way between them, kills and clean closes.

Invariant 1 (every change that was answered survives SIGKILL) and invariant 5 (never old data, never zeros).
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule

from tests.store.stores import DIRECTORY, StoreMaker, content, make_file, names_of, work_off
from vaultfs.tree import ROOT
from vaultfs.tree.check import check_tree
from vaultfs.tree.housekeeping import SyncWork

NAMES = st.sampled_from([b"a", b"b", b"c", b"\xff\xfe", "ü".encode(), b"x" * 255])
OFFSETS = st.integers(0, 40) | st.sampled_from([4095, 4096, 4097, 65535, 65536, 65537, 131072, 200000])
SIZES = st.sampled_from([1, 100, 4095, 4096, 4097, 8192, 65536, 65537, 131072, 200000])


def pattern(seed: int, size: int) -> bytes:
    """Bytes that tell where they come from; every third seed gives bytes that compress to nothing."""
    if seed % 3 == 0:
        return bytes([seed % 255 + 1]) * size
    unit = b"".join((seed * 7919 + i).to_bytes(4, "little") for i in range(257))
    return (unit * (size // len(unit) + 1))[:size]


class TreeAgainstDictionary(RuleBasedStateMachine):
    """Files by number with their expected bytes, and what each directory should list."""

    files = Bundle("files")
    directories = Bundle("directories")

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="vaultfs-model-"))
        self.maker = StoreMaker(self.base)
        self.tree = self.maker.new()
        self.contents: dict[int, bytearray] = {}
        self.listings: dict[int, dict[bytes, int]] = {ROOT: {}}
        self.xattrs: dict[tuple[int, bytes], bytes] = {}
        self.work = None

    @rule(target=directories)
    def root(self) -> int:
        return ROOT

    @rule(target=files, parent=directories, name=NAMES, seed=st.integers(0, 99), size=st.sampled_from([0, 10, 70000]))
    def new_file(self, parent: int, name: bytes, seed: int, size: int) -> object:
        if parent not in self.listings or name in self.listings[parent]:
            return multiple()
        data = pattern(seed, size)
        node = make_file(self.tree, name, data, parent)
        self.listings[parent][name] = node.ino
        self.contents[node.ino] = bytearray(data)
        return node.ino

    @rule(target=directories, parent=directories, name=NAMES)
    def new_directory(self, parent: int, name: bytes) -> object:
        if parent not in self.listings or name in self.listings[parent]:
            return multiple()
        ino = self.tree.names.make(parent, name, DIRECTORY, 0, 0).ino
        self.listings[parent][name] = ino
        self.listings[ino] = {}
        return ino

    @rule(file=files, offset=OFFSETS, size=SIZES, seed=st.integers(0, 99))
    def write(self, file: int, offset: int, size: int, seed: int) -> None:
        if file not in self.contents:
            return
        data = pattern(seed, size)
        assert self.tree.content.write(file, offset, data) == size
        expected = self.contents[file]
        expected.extend(bytes(max(0, offset - len(expected))))
        expected[offset : offset + size] = data

    @rule(file=files, size=OFFSETS)
    def truncate(self, file: int, size: int) -> None:
        if file not in self.contents:
            return
        self.tree.attributes.set(file, size=size)
        expected = self.contents[file]
        del expected[size:]
        expected.extend(bytes(size - len(expected)))

    @rule(file=files, offset=OFFSETS, size=SIZES)
    def read(self, file: int, offset: int, size: int) -> None:
        if file in self.contents:
            assert self.tree.content.read(file, offset, size) == self.contents[file][offset : offset + size]

    @rule(file=files, name=st.sampled_from([b"user.a", b"user.b"]), value=st.binary(max_size=100))
    def set_xattr(self, file: int, name: bytes, value: bytes) -> None:
        if file in self.contents:
            self.tree.xattrs.set(file, name, value)
            self.xattrs[file, name] = value

    @rule(parent=directories, name=NAMES)
    def remove(self, parent: int, name: bytes) -> None:
        ino = self.listings.get(parent, {}).get(name)
        if ino is None or self.listings.get(ino):
            return
        if ino in self.listings:
            self.tree.names.rmdir(parent, name)
            del self.listings[ino]
        else:
            self.tree.names.unlink(parent, name)
        del self.listings[parent][name]
        self._let_go(ino)

    def _let_go(self, ino: int) -> None:
        """What the kernel does when nobody uses the inode: forget it; gone if that was its last name."""
        if all(ino not in entries.values() for entries in self.listings.values()):
            self.tree.forget(ino)
            self.contents.pop(ino, None)
            self.xattrs = {key: value for key, value in self.xattrs.items() if key[0] != ino}

    @rule(old=directories, name=NAMES, new=directories, new_name=NAMES)
    def rename_file(self, old: int, name: bytes, new: int, new_name: bytes) -> None:
        ino = self.listings.get(old, {}).get(name)
        replaced = self.listings.get(new, {}).get(new_name)
        if ino not in self.contents or new not in self.listings or replaced in self.listings or replaced == ino:
            return
        self.tree.names.rename(old, name, new, new_name)
        del self.listings[old][name]
        self.listings[new][new_name] = ino
        if replaced is not None:
            self._let_go(replaced)

    @rule(file=files, parent=directories, name=NAMES)
    def link(self, file: int, parent: int, name: bytes) -> None:
        if file in self.contents and parent in self.listings and name not in self.listings[parent]:
            self.tree.names.link(file, parent, name)
            self.listings[parent][name] = file

    # -- housekeeping: planned, run and applied with other changes in between

    @precondition(lambda self: self.work is None)
    @rule(kind=st.sampled_from(["seal", "checkpoint", "collect"]))
    def plan(self, kind: str) -> None:
        keeper = self.tree.keeper
        if kind == "seal":
            self.work = keeper.seal(everything=True)
        elif kind == "checkpoint":
            self.work = SyncWork(keeper)
        else:
            self.work = keeper.collect()
        if self.work is not None:
            self.work.run()

    @precondition(lambda self: self.work is not None)
    @rule()
    def apply(self) -> None:
        self.work = self.work.apply()
        if self.work is not None:
            self.work.run()

    # -- the end of a run

    @rule()
    def killed(self) -> None:
        self.work = None
        self.tree = self.maker.crash(self.tree)
        assert self.tree.health == []

    @rule()
    def closed(self) -> None:
        while self.work is not None:
            self.apply()
        store = self.tree.state.store
        self.tree.close()
        self.maker.trees.remove(self.tree)
        self.tree = self.maker.open(store)
        assert self.tree.startup.clean
        assert self.tree.startup.records == 0

    @invariant()
    def listings_agree(self) -> None:
        for ino, expected in self.listings.items():
            assert names_of(self.tree, ino) == expected
        assert self.tree.state.files == len(self.contents)
        assert self.tree.state.directories == len(self.listings)
        assert self.tree.state.bytes == sum(map(len, self.contents.values()))

    def teardown(self) -> None:
        while self.work is not None:
            self.apply()
        self.tree = self.maker.crash(self.tree)
        for ino, expected in self.contents.items():
            assert content(self.tree, ino) == expected
        for (ino, name), value in self.xattrs.items():
            assert self.tree.xattrs.get(ino, name) == value
        self.tree.flush()
        work_off(self.tree.keeper.collect())
        assert [problem for problem in check_tree(self.tree, read_data=True) if problem] == []
        for ino, expected in self.contents.items():
            assert content(self.tree, ino) == expected
        self.maker.end()
        shutil.rmtree(self.base)


TreeAgainstDictionary.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestTreeAgainstDictionary = TreeAgainstDictionary.TestCase
