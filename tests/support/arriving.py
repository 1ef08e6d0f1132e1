"""Beside a mount: puts what a test describes in place, as a checkout does."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

from tests.support.beside import DEVICE
from tests.support.talk import questions, say
from vaultfs.format.node import Directory, Dot, File, Inline, Symlink
from vaultfs.fuse.presenting import Presenter
from vaultfs.tree.arrivals import Swap
from vaultfs.tree.incoming import Incoming

if TYPE_CHECKING:
    from vaultfs.fuse.operations import Operations
    from vaultfs.tree import Tree
    from vaultfs.tree.arrivals import Batch

OTHER = b"o" * 16
MTIME = 1_700_000_000_123_456_789


class Arriving:
    """Makes batches from descriptions: {"path", "kind", "content" | "size" and "byte", "mode", "whole"}."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.count = 0

    def _inode(self, path: list[str]) -> int:
        ino = 1
        for name in path:
            ino = self.tree.names.lookup(ino, name.encode()).ino
        return ino

    def element(self, said: dict[str, Any]) -> File | Directory | Symlink:
        self.count += 1
        which = said.get("same", self.count)
        common: dict[str, Any] = {
            "id": which.to_bytes(16, "big"),
            "version": Dot(OTHER, which),
            "placed": None,
            "time": MTIME + which,
            "mode": said.get("mode", 0o644),
            "uid": None,
            "gid": None,
            "mtime": MTIME,
            "xattrs": (),
        }
        if said["kind"] == "directory":
            return Directory(**common | {"mode": said.get("mode", 0o755)})
        if said["kind"] == "link":
            return Symlink(**common, target=said["target"].encode())
        content = said.get("content", "").encode()
        return File(**common, size=len(content), content=Inline(content))

    def swap(self, said: dict[str, Any]) -> Swap:
        *above, name = said["path"].split("/")
        parent, encoded = self._inode(above), name.encode()
        whole = said.get("whole", False)
        if said["kind"] == "gone":
            return Swap(parent, encoded, whole=whole)
        element = self.element(said)
        if said.get("in_place"):
            assert isinstance(element, Directory)
            return Swap(parent, encoded, attributes=element)
        staged = self.tree.arrivals.stage(Incoming(encoded, element))
        if "size" in said:
            # Longer than what stands in an element; nothing is recorded as an edit in a vault without a base.
            self.tree.content.write(staged.ino, 0, said["byte"].encode() * said["size"])
        return Swap(parent, encoded, staged.token, whole=whole)

    def batch(self, said: list[dict[str, Any]]) -> Batch:
        return self.tree.arrivals.prepare([self.swap(each) for each in said])


async def control(tree: Tree, operations: Operations, place: str, words: list[str]) -> None:
    """{"batches": [[description...]...]} or {"writer": path}."""
    del words
    arriving, presenter = Arriving(tree), Presenter(operations, place)
    async for question in questions():
        if "batches" in question:
            batches = [arriving.batch(each) for each in question["batches"]]
            why = [[tree.arrivals.busy(swap) for swap in batch.swaps] for batch in batches]
            began = time.perf_counter()
            placed = await presenter.present_all(batches)
            seconds = time.perf_counter() - began
            assert not operations.underway
            assert not tree.arrivals.tokens()
            parents = [batch.swaps[0].parent for batch in batches]
            say(
                parents=parents,
                why=why,
                placed=placed,
                seconds=seconds,
                inos=[list(batch.inodes.values()) for batch in batches],
            )
        elif "versions" in question:
            said = question["said"]
            for number in range(question["versions"]):
                batch = arriving.batch([said | {"byte": chr(ord("0") + number % 75)}])
                assert await presenter.present(batch)
            say(done=True)
        elif "track" in question:
            if not tree.changes.enabled:
                tree.start_tracking()
            say(names=sorted(name.decode() for _, name in tree.changes.names), inodes=sorted(tree.changes.inodes))
        elif "ino" in question:
            node = tree.inode(question["ino"])
            say(device=base64.b16encode(tree.device(node.writer).id).decode(), counter=node.counter, mtime=node.mtime)
        else:
            say(device=base64.b16encode(DEVICE.id).decode())
