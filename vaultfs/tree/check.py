"""Verifying a store: every statement of the database against the others, every block against its seal."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from vaultfs.crypto.sealing import OpenFailedError
from vaultfs.errors import NewerFormatError
from vaultfs.format.pack import HEADER_BYTES, VERSION, Entry, Kind, PackCodec, PackDamagedError, parse_header
from vaultfs.tree import database
from vaultfs.tree import inode as inodes
from vaultfs.tree.inode import ROOT, Flag, Inode
from vaultfs.tree.packs import PUBLISHED, REMOTE, PackReader, Placed, path_of
from vaultfs.tree.whereabouts import shown_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.tree.state import Device
    from vaultfs.tree.tree import Tree

_BLOCKS = """
SELECT b.number, b.id, b.offset, b.length, b.size, b.codec, b.blk,
       EXISTS(SELECT 1 FROM extent e WHERE e.blk=b.blk) FROM block b WHERE b.pack=? ORDER BY b.offset
"""
_TREE = "(directories)"
_LOST = "SELECT DISTINCT e.ino FROM extent e LEFT JOIN block b ON b.blk=e.blk WHERE b.blk IS NULL"
_NODES = "SELECT number, id, offset, length, size, codec FROM node WHERE pack=?"


class Problem(NamedTuple):
    """Something that is not as it should be: what kind, in which object, whose path it serves, and how."""

    kind: str
    object: str
    path: str
    detail: str


def check_tree(tree: Tree, *, read_data: bool = False) -> Iterator[Problem | None]:
    """Yields what is wrong with an open store; with `read_data` every block is opened too.

    For the tree's thread. Yields None after each pack, so that the caller can answer requests in between.
    """
    for note in tree.health:
        yield Problem("health", "store", "", note)
    yield from _readable(_database(tree), "the database")
    yield from _readable(_names(tree), "names")
    yield from _readable(_extents(tree), "extents")
    yield from _readable(_packs(tree, read_data=read_data), "packs")
    yield from _readable(_pages(tree), "pages")


def _readable(problems: Iterator[Problem | None], what: str) -> Iterator[Problem | None]:
    """`problems`, and one more if the database itself gets in the way."""
    try:
        yield from problems
    except (apsw.Error, OSError) as problem:
        yield Problem("database", database.NAME, "", f"{what} cannot be read: {problem}")


def _database(tree: Tree) -> Iterator[Problem]:
    for (line,) in tree.state.db.execute("PRAGMA integrity_check").fetchall():
        if line != "ok":
            yield Problem("database", database.NAME, "", str(line))


def _names(tree: Tree) -> Iterator[Problem]:
    """Every name has its inode, every inode its names, every count is right."""
    state = tree.state
    links: dict[int, int] = {}
    subdirectories: dict[int, int] = {}
    names: list[Any] = state.db.execute("SELECT parent, name, ino FROM dirent").fetchall()
    folds = {ino for (ino,) in state.all("SELECT ino FROM folded")}
    for parent, name, ino in names:
        node = state.find(ino)
        links[ino] = links.get(ino, 0) + 1
        if node is None:
            shown = name.decode(errors="backslashreplace")
            yield Problem("name", database.NAME, f"{shown_path(state, parent)}/{shown}", "the name has no file")
        elif node.is_dir:
            subdirectories[parent] = subdirectories.get(parent, 0) + 1
    for node in _inodes(tree):
        right = subdirectories.get(node.ino, 0) + 2 if node.is_dir else links.get(node.ino, 0)
        folded = bool(node.flags & Flag.FOLDED)
        if folded != (node.ino in folds):
            detail = "nobody knows what is in it" if folded else "it is noted as never looked into, and was"
            yield Problem("inode", database.NAME, shown_path(state, node.ino), detail)
        if folded and node.is_dir:
            right = node.nlink
        if node.nlink and node.nlink != right:
            detail = f"it has {right} links and says {node.nlink}"
            yield Problem("inode", database.NAME, shown_path(state, node.ino), detail)
        elif node.nlink and node.ino != ROOT and node.ino not in links:
            yield Problem("inode", database.NAME, "", f"file {node.ino} has no name")


def _inodes(tree: Tree) -> Iterator[Inode]:
    seen = set(tree.state.dirty)
    yield from list(tree.state.dirty.values())
    rows: list[Any] = tree.state.db.execute("SELECT ino, rec FROM inode").fetchall()
    for ino, record in rows:
        if ino not in seen:
            yield inodes.decode(record)


def _extents(tree: Tree) -> Iterator[Problem]:
    """Every block of a file is known."""
    lost: list[Any] = tree.state.db.execute(_LOST).fetchall()
    for (ino,) in lost:
        yield Problem("file", database.NAME, shown_path(tree.state, ino), "nobody knows what one of its blocks is")


def _packs(tree: Tree, *, read_data: bool) -> Iterator[Problem | None]:
    """Every pack is there with its right size; with `read_data` every entry opens, and the pack's own index.

    Of packs on the remote there may be anything here, and none of it is used unless it opens.
    """
    state, directory = tree.state, tree.blocks.directory
    reader = PackReader(directory, state.keys)
    packs: list[Any] = state.db.execute("SELECT pack, id, state FROM pack WHERE state<?", (REMOTE,)).fetchall()
    for pack, pack_id, finished in packs:
        path = path_of(directory, pack_id)
        if finished == PUBLISHED and not path.exists():
            continue  # a crash came while it was being evicted
        blocks: list[Any] = state.db.execute(_BLOCKS, (pack,)).fetchall()
        nodes: list[Any] = state.db.execute(_NODES, (pack,)).fetchall()
        live = [block for block in blocks if block[7]]
        name = f"packs/{pack_id.hex()}"
        fault = _fault_of(path, max((line[2] + line[3] for line in (*live, *nodes)), default=0))
        if fault and (live or nodes):
            for where in _served(tree, [block[6] for block in live]) or [_TREE]:
                yield Problem("pack", name, where, fault)
        yield None
        if fault or not read_data:
            continue
        if finished and not _index_whole(path, PackCodec(state.keys, pack_id)):
            yield Problem("pack", name, "", "the pack's index is damaged; the blocks are checked one by one")
        for kind, lines in ((Kind.BLOCK, blocks), (Kind.NODE, nodes)):
            yield from _entries(tree, reader, (pack, pack_id), kind, lines)


def _entries(
    tree: Tree, reader: PackReader, pack: tuple[int, bytes], kind: Kind, lines: list[Any]
) -> Iterator[Problem]:
    """Every block, or node, of a pack opens."""
    for number, identity, offset, length, size, codec, *block in lines:
        place = Placed(pack[0], number, Entry(kind, identity, offset, length, size, codec))
        try:
            reader.read(place, pack[1])
        except (PackDamagedError, OSError) as problem:
            what = kind.name.lower()
            detail = f"the {what} is damaged" if isinstance(problem, PackDamagedError) else str(problem)
            unused = ["(no file)"] if block else [_TREE]
            for where in (_served(tree, block[:1]) if block and block[1] else []) or unused:
                yield Problem(what, f"packs/{pack[1].hex()}", where, detail)


def _index_whole(path: Path, codec: PackCodec) -> bool:
    """Whether header, footer, padding and trailer are to the byte what `codec` writes."""
    data = path.read_bytes()
    try:
        entries = codec.read_footer(data)
    except PackDamagedError:
        return False
    end = max((entry.offset + entry.length for entry in entries), default=HEADER_BYTES)
    return data.startswith(codec.header()) and data[end:] == codec.finish(end, entries)


def _fault_of(path: Path, end: int) -> str:
    """What is wrong with a pack file whose last live block ends at `end`; empty when nothing is."""
    try:
        with path.open("rb") as file:
            version, _ = parse_header(file.read(64))
        if version > VERSION:
            raise NewerFormatError(what=f"the pack {path.name}", found=version, known=VERSION)
        if path.stat().st_size < end:
            return "the pack is cut short"
    except FileNotFoundError:
        return "the pack is missing"
    except PackDamagedError:
        return "the pack's header is damaged"
    except OSError as problem:
        return f"the pack cannot be read: {problem.strerror}"
    return ""


def _served(tree: Tree, blocks: list[int]) -> list[str]:
    """The paths that these blocks are part of."""
    found: dict[int, None] = {}
    for blk in blocks:
        for (ino,) in tree.state.all("SELECT DISTINCT ino FROM extent WHERE blk=?", blk):
            found[ino] = None
    return [shown_path(tree.state, ino) for ino in found]


def _pages(tree: Tree) -> Iterator[Problem]:
    """Every page that is still taken from the journal opens."""
    for ino, pages in list(tree.state.pages.items()):
        node = tree.state.find(ino)
        if node is None or not stat.S_ISREG(node.mode):
            continue
        for run in set(pages.values()):
            try:
                run.read()
            except (OpenFailedError, OSError):
                name = run.segment.slot.path.name
                yield Problem("journal", name, shown_path(tree.state, ino), f"page {run.page} is damaged")


def check(store: Path, keys: VaultKeys, device: Device, *, read_data: bool) -> Iterator[Problem]:
    """The same for a store that nobody has open; nothing is changed."""
    from vaultfs.tree.opening import open_store  # noqa: PLC0415  # opening needs the tree, which knows check

    tree = open_store(store, keys, device, read_only=True)
    try:
        yield from (problem for problem in check_tree(tree, read_data=read_data) if problem is not None)
    finally:
        tree.close()
