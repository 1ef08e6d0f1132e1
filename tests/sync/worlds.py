"""Trees made by hand, commits of them, and their contents."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from blake3 import blake3
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.nodes import MemoryNodes
from tests.sync.pictures import DEVICES, KEY, directory, file
from vaultfs.format.node import Block, Dot, File, Group, Member, Symlink
from vaultfs.format.node_blocks import content_of
from vaultfs.sync.comparing import Change, diff
from vaultfs.sync.edits import Editor, empty_root
from vaultfs.sync.merge import State
from vaultfs.sync.restoring import Restored, restore
from vaultfs.sync.walking import Snapshot

if TYPE_CHECKING:
    from pathlib import Path as Place

    from vaultfs.format.node import Element

A, B = DEVICES[:2]


WHEN = 1_700_000_000_000_000_000


class Blobs:
    """Blocks in a dict, counted."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, bytes] = {}
        self.reads = 0

    def block(self, block_id: bytes, /) -> bytes:
        self.reads += 1
        return self.blocks[block_id]

    def coming(self, block_ids: list[bytes], /) -> None:
        assert len(block_ids) > 1

    def keep(self, data: bytes) -> bytes:
        name = blake3(data).digest()
        self.blocks[name] = data
        return name


class World:
    """One device making commits."""

    def __init__(self) -> None:
        self.nodes = MemoryNodes(KEY)
        self.blobs = Blobs()
        self.state = State(empty_root(self.nodes, directory(b"r" * 16)), {})
        self.number = 0

    def edit(self, device: bytes = A, state: State | None = None) -> Editor:
        self.number += 1
        return Editor(self.nodes, state or self.state, Dot(device, self.number), self.number)

    def commit(self, editor: Editor) -> bytes:
        self.state = editor.commit()
        return self.state.root

    def build(self, tree: dict[str, Element]) -> bytes:
        editor = self.edit()
        for path, element in sorted(tree.items()):
            editor.write(p(path), element)
        return self.commit(editor)

    def snapshot(self, root: bytes | None = None) -> Snapshot:
        return Snapshot(self.nodes, root or self.state.root)

    def long(self, name: str, blocks: dict[int, bytes], size: int) -> File:
        listed = [Block(number, self.blobs.keep(data), len(data)) for number, data in sorted(blocks.items())]
        return replace(file(ident(name), b"x"), size=size, content=content_of(self.nodes, listed))

    def restore(self, path: str, target: Place, root: bytes | None = None) -> Restored:
        return restore(self.snapshot(root), self.blobs, p(path), str(target))


def p(path: str) -> tuple[bytes, ...]:
    return tuple(os.fsencode(path).split(b"/")) if path else ()


def ident(name: str) -> bytes:
    return os.fsencode(name)[-16:].rjust(16, b".")


def f(name: str, data: bytes = b"", **more: Any) -> File:
    return replace(file(ident(name), data), **{"mtime": WHEN, **more})


def d(name: str, **more: Any) -> Any:
    return replace(directory(ident(name)), **{"mtime": WHEN, **more})


def link(name: str, target: bytes) -> Symlink:
    return Symlink(ident(name), Dot(A, 1), None, 0, 0o777, None, None, WHEN, (), target)


def database(name: str, data: bytes, wal: bytes) -> Group:
    members = (Member(b"", f(name, data)), Member(b"-wal", f(name + "-wal", wal)))
    return Group(ident(name), Dot(A, 1), None, 0, members)


def changes(world: World, a: bytes, b: bytes, below: str = "") -> list[str]:
    def said(change: Change) -> str:
        old = f"{os.fsdecode(b'/'.join(change.old))} -> " if change.old is not None else ""
        return f"{change.how} {old}{os.fsdecode(b'/'.join(change.path))}{'/' if change.directory else ''}"

    return [said(change) for change in diff(world.nodes, a, b, p(below))]


names = st.sampled_from([b"a", b"b", b"c d", b"\xff\xfe", b"-rf", b"x\ny", b"..."])


paths = st.lists(names, min_size=1, max_size=3).map(tuple)
