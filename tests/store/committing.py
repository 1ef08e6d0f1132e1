"""Cuts turned into commits of a real tree, and the working tree as it should then be in them."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, NamedTuple

from tests.store.stores import KEYS, names_of, work_off
from tests.support.nodes import MemoryNodes
from vaultfs.format.node import Blocks, Directory, Dot, File, Indirect, Inline, Symlink
from vaultfs.format.node_blocks import blocks_of, change_blocks, content_of
from vaultfs.format.node_trie import Trie
from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.sync.edits import Editor, empty_root
from vaultfs.sync.merge import State, load_commit
from vaultfs.tree import ROOT
from vaultfs.tree.cut import Moved, Removed
from vaultfs.tree.inode import Scope

if TYPE_CHECKING:
    from vaultfs.format.node import Content, Element
    from vaultfs.tree import Inode, Tree
    from vaultfs.tree.cut import Cut, Written

DEVICE = b"d" * 16
Path = tuple[bytes, ...]


class Seen(NamedTuple):
    """What is under a path. `same`: equal for hard links of one file, and only for them."""

    kind: int
    mode: int
    owner: tuple[int | None, int | None]
    xattrs: tuple[tuple[bytes, bytes], ...]
    data: bytes
    same: object


class Committing:
    """The commits of one tree; nodes in memory, the base in the tree's own ledger."""

    def __init__(self) -> None:
        self.nodes = MemoryNodes(KEYS.block_id)
        self.blocks: dict[bytes, bytes] = {}

    def base(self, tree: Tree) -> State | None:
        base = tree.ledger.base
        return None if base is None else State(base.root, dict(base.vector))

    def cut(self, tree: Tree) -> Cut:
        """A cut like the engine's."""
        return tree.cut(everything=tree.ledger.base is None)

    def finish(self, tree: Tree, cut: Cut) -> State:
        """All that follows the cut at once; returns the commit."""
        work_off(cut.work())
        return self.settle(tree, cut)

    def settle(self, tree: Tree, cut: Cut) -> State:
        """What follows the sealing."""
        state = self.edited(tree, cut)
        work_off(cut.add_nodes({}))
        self._fetch(tree, state)
        tree.ledger.set_base(state.root, state.vector)
        tree.ledger.queue(cut.counter, b"head", cut.packs, cut.time)
        cut.done()
        return state

    def edited(self, tree: Tree, cut: Cut) -> State:
        """The base with the cut's edits, each of which must be possible."""
        dot = Dot(DEVICE, cut.counter)
        base = self.base(tree)
        if base is None:
            top = Directory(bytes(16), dot, None, cut.time, 0o700, None, None, cut.time, ())
            base = State(empty_root(self.nodes, top), {})
        editor = Editor(self.nodes, base, dot, cut.time)
        for edit in cut.edits:
            if isinstance(edit, Removed):
                editor.delete(edit.path)
            elif isinstance(edit, Moved):
                editor.rename(edit.old, edit.new)
            elif not edit.path:
                element = self._element(editor, edit, cut, dot)
                assert isinstance(element, Directory)
                editor.set_root(element)
            else:
                assert (editor.look(edit.path) is None) or not edit.new or not stat.S_ISDIR(edit.inode.mode)
                editor.write(edit.path, self._element(editor, edit, cut, dot))
        return editor.commit()

    def _element(self, editor: Editor, edit: Written, cut: Cut, dot: Dot) -> Element:
        node = edit.inode
        assert node.counter == cut.counter
        mode = stat.S_IMODE(node.mode)
        common = (cut.file_id(node), dot, None, node.written, mode, node.uid, node.gid, node.mtime, edit.xattrs)
        if node.is_dir:
            return Directory(*common)
        if stat.S_ISLNK(node.mode):
            return Symlink(*common, node.target)
        content = cut.content(edit.ino)
        if isinstance(content, list):
            content = content_of(self.nodes, content)
        elif content is None or isinstance(content, dict):
            entry = editor.look(edit.path)
            assert not edit.new
            assert entry is not None
            (old,) = entry.elements
            assert isinstance(old, File)
            changes, content = content or {}, old.content
            if changes:
                start = Blocks(()) if isinstance(content, Inline) else content
                content = change_blocks(self.nodes, start, changes)
        return File(*common, node.size, content)

    def _fetch(self, tree: Tree, state: State) -> None:
        """Every block of the commit can be read from a pack of this machine."""
        for _, seen in self._walk(state):
            if isinstance(seen, File) and isinstance(seen.content, Blocks | Indirect):
                for block in blocks_of(self.nodes, seen.content):
                    if block.id not in self.blocks:
                        self.blocks[block.id] = read_block(tree, block.id)

    def _walk(self, state: State) -> list[tuple[Path, Element]]:
        commit = load_commit(self.nodes, state.root)
        trie = Trie(self.nodes)
        out: list[tuple[Path, Element]] = [((), commit.elements[0])]
        assert commit.conflicts is None
        todo = [((), commit.below)]
        while todo:
            path, ref = todo.pop()
            for entry in trie.entries(ref):
                (element,) = entry.elements
                out.append(((*path, entry.name), element))
                if entry.below is not None:
                    assert isinstance(element, Directory)
                    todo.append(((*path, entry.name), entry.below))
        return out

    def _bytes(self, size: int, content: Content) -> bytes:
        if isinstance(content, Inline):
            assert len(content.data) == size
            return content.data
        out = bytearray(size)
        for block in blocks_of(self.nodes, content):
            data = self.blocks[block.id][: block.valid]
            start = block.number * BLOCK_BYTES
            assert start + len(data) <= size
            out[start : start + len(data)] = data
        return bytes(out)

    def tree_of(self, state: State) -> dict[Path, Seen]:
        """What is in a commit."""
        out = {}
        for path, element in self._walk(state):
            data, kind = b"", stat.S_IFDIR
            if isinstance(element, File):
                data, kind = self._bytes(element.size, element.content), stat.S_IFREG
            elif isinstance(element, Symlink):
                data, kind = element.target, stat.S_IFLNK
            else:
                assert isinstance(element, Directory)
            same = None if kind == stat.S_IFDIR else (element.id, element.version)
            out[path] = Seen(kind, element.mode, (element.uid, element.gid), element.xattrs, data, same)
        return grouped(out)


def read_block(tree: Tree, identity: bytes) -> bytes:
    """A sealed block, by its id."""
    found = tree.state.all(
        "SELECT 0, b.size, b.blk, b.pack, b.number, b.id, b.offset, b.length, b.size, b.codec, p.id, p.state"
        " FROM block b JOIN pack p ON p.pack=b.pack WHERE b.id=?",
        identity,
    )
    from vaultfs.tree.blocks import Extent  # noqa: PLC0415

    assert found, "a block of the commit is in no pack"
    return tree.blocks.read(0, Extent(found[0]))


def grouped(tree: dict[Path, Seen]) -> dict[Path, Seen]:
    """`same` becomes the first path of each file."""
    first: dict[object, Path] = {}
    out = {}
    for path in sorted(tree):
        seen = tree[path]
        out[path] = seen._replace(same=None if seen.same is None else first.setdefault(seen.same, path))
    return out


def stays_here(name: bytes, node: Inode) -> bool:
    """The rules that the tests use, by other means than the tree's."""
    local = stat.S_ISFIFO(node.mode) or stat.S_ISSOCK(node.mode)
    return local or node.scope == Scope.NODE or (node.scope == Scope.INHERIT and name.endswith(b".pid"))


def working_tree(tree: Tree) -> dict[Path, Seen]:
    """What belongs to the vault of the working tree as it is now."""
    out: dict[Path, Seen] = {}

    def add(path: Path, node: Inode) -> None:
        data = b""
        if stat.S_ISREG(node.mode):
            data = tree.content.read(node.ino, 0, node.size)
        elif stat.S_ISLNK(node.mode):
            data = node.target
        names = [name for name in tree.xattrs.list(node.ino) if not name.startswith(b"user.vaultfs.")]
        xattrs = sorted((name, tree.xattrs.get(node.ino, name)) for name in names)
        same = None if node.is_dir else node.ino
        owner = node.uid, node.gid
        out[path] = Seen(stat.S_IFMT(node.mode), stat.S_IMODE(node.mode), owner, tuple(xattrs), data, same)
        if node.is_dir:
            for name, ino in names_of(tree, node.ino).items():
                child = tree.inode(ino)
                if not stays_here(name, child):
                    add((*path, name), child)

    add((), tree.inode(ROOT))
    return grouped(out)
