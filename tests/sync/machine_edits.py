"""A machine whose edits become commits, without a store."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from tests.sync.pictures import DEVICES, check
from vaultfs.format.node import Dot, File, Group, Inline, Unit
from vaultfs.format.node_trie import Trie
from vaultfs.sync.commit import Committing
from vaultfs.sync.conflicts import conflicts
from vaultfs.sync.elements import in_place
from vaultfs.sync.merge import State, load_commit
from vaultfs.sync.seen import encode_seen
from vaultfs.sync.units import Known
from vaultfs.tree.edit import Written
from vaultfs.tree.inode import Inode

if TYPE_CHECKING:
    from tests.support.nodes import MemoryNodes
    from vaultfs.format.node import Element
    from vaultfs.sync.conflicts import Path
    from vaultfs.tree.edit import Edit

A, B, *_ = DEVICES


def path(text: str) -> Path:
    return tuple(text.encode().split(b"/"))


class Machine:
    """One machine's commits. Contents by inode number, which are the same on all machines here."""

    def __init__(self, nodes: MemoryNodes, device: bytes) -> None:
        self.nodes = nodes
        self.device = device
        self.contents: dict[int, bytes] = {}
        self.numbers: dict[str, int] = {}
        self.seen: dict[bytes, bytes | None] = {}

    def content(self, ino: int) -> Inline:
        return Inline(self.contents[ino])

    def start(self, ino: int) -> bytes:
        return self.contents[ino][:16]

    def file_id(self, inode: Inode) -> bytes:
        return self.device[:1] + inode.ino.to_bytes(15, "little")

    def ino(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers) + 2)

    def file(self, name: str, data: bytes, *, time: int = 1) -> Written:
        ino = self.ino(name)
        self.contents[ino] = data
        return self.written(name, stat.S_IFREG | 0o644, size=len(data), time=time)

    def directory(self, name: str, *, time: int = 1) -> Written:
        return self.written(name, stat.S_IFDIR | 0o755, time=time)

    def link(self, name: str, target: bytes) -> Written:
        return self.written(name, stat.S_IFLNK | 0o777, target=target)

    def written(self, name: str, mode: int, *, size: int = 0, time: int = 1, target: bytes = b"") -> Written:
        ino = self.ino(name)
        inode = Inode(ino, mode, 1, 0, 0, 0, size, time, time, time, 1, 1, 1, time, target=target)
        return Written(path(name), ino, inode, (), new=True, slot=(0, name.encode()))

    def commit(self, base: State, *edits: Edit, held: dict[str, Element | None] | None = None, now: int = 1) -> State:
        dot = Dot(self.device, base.vector.get(self.device, 0) + 1)
        records = {
            path(name): None if element is None else encode_seen(element) for name, element in (held or {}).items()
        }
        slots = {name: (0, b"/".join(name)) for name in records}
        lag = {slots[name]: record for name, record in records.items()}
        making = Committing(self.nodes, base, dot, now, self, owner=(0, 0), classify=Known(), held=slots, lag=lag)
        state = making.run(edits)
        self.seen = {b"/".join(name): making.seen[slot] for name, slot in slots.items() if slot in making.seen}
        check(self.nodes, state)
        return state

    def element(self, state: State, name: str) -> Element | None:
        trie = Trie(self.nodes)
        below, element = load_commit(self.nodes, state.root).below, None
        for part in path(name):
            entry = trie.lookup(below, part)
            if entry is None:
                return None
            element = in_place(entry)
            below = element.below if isinstance(element, Unit) else entry.below
        return element

    def members(self, state: State, name: str) -> dict[bytes, bytes]:
        group = self.element(state, name)
        assert isinstance(group, Group), group
        return {member.suffix: member.file.content.data for member in group.members}

    def read(self, state: State, name: str) -> bytes | None:
        element = self.element(state, name)
        return element.content.data if isinstance(element, File) else None

    def kept(self, state: State) -> list[tuple[Path, Element]]:
        return [(conflict.path, conflict.element) for conflict in conflicts(self.nodes, state.root)]


Start = tuple[Machine, Machine, State]
