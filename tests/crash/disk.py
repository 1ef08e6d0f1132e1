"""A disk in memory that forgets at a power cut what was not synced, as POSIX lets it.

It is stricter than ext4: fsync of a file makes its content durable, not its name; names become durable by fsync
of their directory. What was not synced is dropped at a cut, or kept in part: any subset of the writes to a file,
in sectors of 512 bytes, and any prefix of the changes of names (a rename is one change).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from pathlib import Path

ROOT = 1
SECTOR = 512
Change = tuple[int, bytes, int | None]  # directory, name, inode or None


@dataclass
class Node:
    """A file, directory or symlink: as programs see it now, and as the platter has it."""

    ino: int
    mode: int
    uid: int = 0
    gid: int = 0
    links: int = 0
    times: list[int] = field(default_factory=lambda: [time.time_ns()] * 3)
    target: bytes = b""
    data: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # write at, or truncate to
    names: dict[bytes, int] = field(default_factory=dict)
    durable_names: dict[bytes, int] = field(default_factory=dict)
    parent: int = ROOT


def apply(data: bytearray, offset: int, piece: bytes | None) -> None:
    """A write, or (None) a truncation to `offset`; gaps are zeros."""
    if piece is None:
        del data[offset:]
        data.extend(bytes(offset - len(data)))
        return
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(piece)] = piece


class Fault:
    """Makes the n-th change from now fail, and all that follow: a full disk, a broken one, one gone read-only."""

    def __init__(self, code: int = 0, after: int = 0) -> None:
        self.code = code
        self.left = after
        self.changes = 0
        self.hits = 0

    def change(self, *, grows: bool) -> None:
        """Count a change; raise if it is to fail. A full disk still removes and overwrites."""
        self.changes += 1
        if not self.code or (self.code == errno.ENOSPC and not grows):
            return
        self.left -= 1
        if self.left < 0:
            self.hits += 1
            raise OSError(self.code, os.strerror(self.code))


class Disk:
    """The whole of it; every method is one request of the kernel, and atomic."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {ROOT: Node(ROOT, stat.S_IFDIR | 0o755, os.getuid(), os.getgid(), 2)}
        self.next = ROOT
        self.groups: list[list[Change]] = []  # changes of names that are not durable, in their order
        self.fault = Fault()
        self.syncs = 0

    def node(self, ino: int) -> Node:
        """A node by its number."""
        return self.nodes[ino]

    def find(self, parent: int, name: bytes) -> Node:
        """A node by its name; ENOENT."""
        ino = self.nodes[parent].names.get(name)
        if ino is None:
            raise OSError(errno.ENOENT, "no such name")
        return self.nodes[ino]

    def _change(self, *changes: Change) -> None:
        for directory, name, ino in changes:
            names = self.nodes[directory].names
            if ino is None:
                names.pop(name, None)
            else:
                names[name] = ino
            self.nodes[directory].times[1:] = [time.time_ns()] * 2
        self.groups.append(list(changes))

    def make(self, parent: int, name: bytes, mode: int, uid: int, gid: int, target: bytes = b"") -> Node:
        """A new file, directory or symlink; EEXIST."""
        self.fault.change(grows=True)
        if name in self.nodes[parent].names:
            raise OSError(errno.EEXIST, "name is taken")
        self.next += 1
        links = 2 if stat.S_ISDIR(mode) else 1
        node = Node(self.next, mode, uid, gid, links, target=target, parent=parent)
        self.nodes[node.ino] = node
        self._change((parent, name, node.ino))
        return node

    def link(self, ino: int, parent: int, name: bytes) -> Node:
        """Another name for a file."""
        self.fault.change(grows=True)
        self.nodes[ino].links += 1
        self._change((parent, name, ino))
        return self.nodes[ino]

    def remove(self, parent: int, name: bytes, *, directory: bool) -> None:
        """Unlink or rmdir."""
        self.fault.change(grows=False)
        node = self.find(parent, name)
        if directory and node.names:
            raise OSError(errno.ENOTEMPTY, "not empty")
        node.links -= 2 if directory else 1
        self._change((parent, name, None))

    def rename(self, old: int, old_name: bytes, new: int, new_name: bytes) -> None:
        """Rename, replacing what is there."""
        self.fault.change(grows=False)
        node = self.find(old, old_name)
        replaced = self.nodes[new].names.get(new_name)
        if replaced is not None and replaced != node.ino:
            if self.nodes[replaced].names:
                raise OSError(errno.ENOTEMPTY, "not empty")
            self.nodes[replaced].links -= 1
        node.parent = new
        self._change((old, old_name, None), (new, new_name, node.ino))

    def write(self, ino: int, offset: int, data: bytes) -> int:
        """Write; a disk that has just become full takes half of it."""
        node = self.nodes[ino]
        grows = offset + len(data) > len(node.data)
        hits = self.fault.hits
        try:
            self.fault.change(grows=grows)
        except OSError as error:
            if error.errno != errno.ENOSPC or hits or len(data) < 2:
                raise
            data = data[: len(data) // 2]
        apply(node.data, offset, data)
        node.pending.append((offset, data))
        node.times[1:] = [time.time_ns()] * 2
        return len(data)

    def truncate(self, ino: int, size: int) -> None:
        """Cut or extend."""
        self.fault.change(grows=False)
        node = self.nodes[ino]
        apply(node.data, size, None)
        node.pending.append((size, None))
        node.times[1:] = [time.time_ns()] * 2

    def sync(self, ino: int) -> None:
        """Fsync or fdatasync of a file: its content and size are durable."""
        self.syncs += 1
        if self.fault.code != errno.ENOSPC:
            self.fault.change(grows=True)
        node = self.nodes[ino]
        for offset, data in node.pending:
            apply(node.durable, offset, data)
        node.pending.clear()

    def sync_names(self, ino: int) -> None:
        """Fsync of a directory: the changes of its names, with what a rename ties to them."""
        self.syncs += 1
        if self.fault.code != errno.ENOSPC:
            self.fault.change(grows=True)
        directories = {ino}
        keep: list[list[Change]] = []
        commit: list[list[Change]] = []
        for group in reversed(self.groups):
            touched = {directory for directory, _, _ in group}
            if touched & directories:
                directories |= touched
                commit.append(group)
            else:
                keep.append(group)
        for group in reversed(commit):
            self._commit(group)
        self.groups = keep[::-1]

    def _commit(self, group: list[Change]) -> None:
        for directory, name, ino in group:
            if ino is None:
                self.nodes[directory].durable_names.pop(name, None)
            else:
                self.nodes[directory].durable_names[name] = ino

    def cut(self, rng: random.Random, *, drop_all: bool) -> None:
        """Power fails: what is not durable is gone, or (not drop_all) a random part of it made it."""
        if not drop_all:
            for group in self.groups[: rng.randint(0, len(self.groups))]:
                self._commit(group)
        for node in self.nodes.values():
            if not drop_all:
                self._keep_some(node, rng)
            node.data, node.pending = bytearray(node.durable), []
            node.names = dict(node.durable_names)
        self.groups.clear()

    def _keep_some(self, node: Node, rng: random.Random) -> None:
        chance = rng.choice([0.1, 0.5, 0.9, 1.0])
        for offset, data in node.pending:
            if data is None:
                if rng.random() < chance:
                    apply(node.durable, offset, None)
                continue
            first = -offset % SECTOR or SECTOR  # a torn write breaks at the disk's sectors, not at its own start
            for start in [0, *range(first, len(data), SECTOR)]:
                end = first if start == 0 else start + SECTOR
                if rng.random() < chance:
                    apply(node.durable, offset + start, data[start:end])

    def save(self, directory: Path) -> None:
        """Write what is durable into a plain directory."""
        self._save(ROOT, directory, {})

    def _save(self, ino: int, directory: Path, seen: dict[int, Path]) -> None:
        for name, child in self.nodes[ino].durable_names.items():
            node, path = self.nodes[child], directory / os.fsdecode(name)
            if stat.S_ISDIR(node.mode):
                path.mkdir()
                self._save(child, path, seen)
            elif stat.S_ISLNK(node.mode):
                path.symlink_to(os.fsdecode(node.target))
                continue
            elif child in seen:
                path.hardlink_to(seen[child])
            else:
                path.write_bytes(node.durable)
                seen[child] = path
            path.chmod(stat.S_IMODE(node.mode))

    def load(self, directory: Path, ino: int = ROOT) -> None:
        """Take over a plain directory as durable."""
        for path in sorted(directory.iterdir()):
            found = path.lstat()
            target = os.fsencode(path.readlink()) if path.is_symlink() else b""
            node = self.make(ino, os.fsencode(path.name), found.st_mode, found.st_uid, found.st_gid, target)
            if path.is_dir() and not path.is_symlink():
                self.load(path, node.ino)
            elif path.is_file():
                node.data = bytearray(path.read_bytes())
                node.durable = bytearray(node.data)
        if ino == ROOT:
            for group in self.groups:
                self._commit(group)
            self.groups.clear()
            self.fault = Fault()
