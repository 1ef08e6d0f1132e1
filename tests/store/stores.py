"""Making, crashing and reading stores without a mount."""

from __future__ import annotations

import shutil
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from vaultfs.crypto.keys import VaultKeys
from vaultfs.tree import ROOT, Device, Tree, create_store, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.tree import Inode
    from vaultfs.tree.housekeeping import Work

KEYS = VaultKeys(bytes(range(32)), bytes(range(16)))
DEVICE = Device(b"device-for-tests", "test-box")
FILE = stat.S_IFREG | 0o644
DIRECTORY = stat.S_IFDIR | 0o755


class StoreMaker:
    """Stores below one directory, closed at the end."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.trees: list[Tree] = []
        self.count = 0

    def new(self) -> Tree:
        self.count += 1
        store = self.base / f"store{self.count}"
        create_store(store, KEYS, DEVICE, uid=1000, gid=1000)
        return self.open(store)

    def open(self, store: Path, *, read_only: bool = False) -> Tree:
        tree = open_store(store, KEYS, DEVICE, read_only=read_only)
        self.trees.append(tree)
        return tree

    def killed(self, tree: Tree) -> Path:
        """A copy of the store as SIGKILL would leave it; `tree` is not touched."""
        self.count += 1
        copy = self.base / f"store{self.count}"
        shutil.copytree(tree.state.store, copy)
        return copy

    def crash(self, tree: Tree) -> Tree:
        """The tree as it is after SIGKILL and a new start."""
        copy = self.killed(tree)
        self.abandon(tree)
        return self.open(copy)

    def abandon(self, tree: Tree) -> None:
        """Closes the files and writes nothing."""
        with suppress(ValueError):
            self.trees.remove(tree)
        tree.state.journal.close()
        tree.state.db.close()
        shutil.rmtree(tree.state.store)

    def end(self) -> None:
        for tree in list(self.trees):
            self.abandon(tree)


def make_file(tree: Tree, name: bytes, content: bytes = b"", parent: int = ROOT) -> Inode:
    node = tree.names.make(parent, name, FILE, 1000, 1000)
    if content:
        tree.content.write(node.ino, 0, content)
    return node


def content(tree: Tree, ino: int) -> bytes:
    return tree.content.read(ino, 0, tree.inode(ino).size)


def names_of(tree: Tree, ino: int = ROOT) -> dict[bytes, int]:
    """The whole listing, page after page."""
    found, cookie = {}, 0
    while page := tree.names.listing(ino, cookie):
        for entry in page:
            found[entry.name] = entry.inode.ino
            cookie = entry.cookie
    del found[b"."], found[b".."]
    return found


def work_off(work: Work | None) -> None:
    """Runs a piece of housekeeping and what follows from it."""
    while work is not None:
        work.run()
        work = work.apply()
