"""Beside a mount: has the kernel hand over, and takes a picture of files as the tree has them at one instant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from tests.support.talk import questions, say
from vaultfs.fuse.handover import handover

if TYPE_CHECKING:
    from vaultfs.fuse.operations import Operations
    from vaultfs.tree import Tree

WRITERS = 3


def _whole(tree: Tree, parent: int, name: bytes) -> bytes | None:
    try:
        node = tree.names.lookup(parent, name)
    except FileNotFoundError:
        return None
    return tree.content.read(node.ino, 0, node.size)


def _is_there(tree: Tree, ino: int) -> bool:
    try:
        tree.inode(ino)
    except FileNotFoundError:
        return False
    return True


def _acknowledged(path: Path) -> list[int]:
    data = path.read_bytes()
    return [int.from_bytes(data[8 * at : 8 * at + 8], "little") for at in range(WRITERS)]


async def control(tree: Tree, operations: Operations, place: str, words: list[str]) -> None:
    """Answers {"cut": directory} with what was acknowledged before, and puts the databases of the tree there."""
    del words
    async for question in questions():
        if "writers" in question:
            say(writers=len(tree.handles.writers()), used=[tree.handles.is_used(ino) for ino in question["writers"]])
        elif "gone" in question:
            await trio.sleep(question["wait"])  # the kernel says in its own time that it let go
            say(gone=not _is_there(tree, question["gone"]))
        elif "content" in question:
            found = [tree.content.read(ino, 0, 1 << 20) for ino in question["content"]]
            await handover(operations, place)
            after = [tree.content.read(ino, 0, 1 << 20) for ino in question["content"]]
            say(before=[len(data) for data in found], after=[data.decode() for data in after])
        else:
            target = Path(question["cut"])
            before = _acknowledged(Path(question["acknowledged"]))
            if question.get("hand_over", True):
                await handover(operations, place)
            # No await from here on: one instant.
            pictures = {
                name: data
                for number in range(WRITERS)
                for name in (f"{number}.db", f"{number}.db-wal")
                if (data := _whole(tree, 1, os.fsencode(name))) is not None
            }
            for name, data in pictures.items():
                await trio.Path(target / name).write_bytes(data)
            say(before=before)
