"""Is everything on the remote that the newest commits need? For `vaultfs check --remote`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import trio

from vaultfs.errors import RemoteDamagedError, RemoteObjectMissingError, VaultfsError
from vaultfs.format.node import File, Inline, NodeDamagedError
from vaultfs.format.node_blocks import blocks_of
from vaultfs.sync.catalog import pack_name
from vaultfs.sync.verify import verify
from vaultfs.sync.walking import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultfs.format.head import Head
    from vaultfs.format.node import Block
    from vaultfs.sync.archive import Archive
    from vaultfs.sync.conflicts import Path

AT_ONCE = 64


class Problem(NamedTuple):
    """What is wrong: a kind, the object or the commit, the path it serves ("" for none), and in what way."""

    kind: str
    object: str
    path: Path
    detail: str


class Extent(NamedTuple):
    """How much is to be read: `share` of the blocks, from 0 (only whether they are there) to 1."""

    share: float = 0.0
    seed: int = 0


async def audit(archive: Archive, extent: Extent, told: Callable[[int, int], None]) -> list[Problem]:
    """All problems of the newest commits of all devices. `told(bytes done, of total)` is called as it goes on."""
    heads = await archive.newest()
    for head in heads:
        await archive.use(head)
    problems, lost = await _objects(archive)
    seen: set[bytes] = set()
    done, total = 0, sum(head_size for head_size in await _sizes(archive, heads, problems))
    for head in heads:
        if head.root in seen:
            continue
        seen.add(head.root)
        done = await _tree(archive, head, extent, problems, lost, lambda count: told(count, total), done)
    nodes = any(problem.kind in {"node", "commit"} for problem in problems)
    gone = [Problem("pack", pack_name(pack), (), "the object is missing") for pack in lost if nodes or lost[pack]]
    return [*gone, *problems]


async def _objects(archive: Archive) -> tuple[list[Problem], dict[bytes, bool]]:
    """Packs that are named, which the listing has in another size, or lacks. A listing may be late: ask, too.

    Those that are lacking matter only if something of them is needed: `gc` removes what heads may still name.
    """
    listed = {entry.name: entry.size for entry in await archive.remote.list("packs")}
    problems, lost = [], {}
    await archive.catalog.settle()
    for pack in archive.catalog.packs.values():
        name = pack_name(pack.id)
        size = listed.get(name)
        if size is None:
            try:
                await archive.remote.get(name, pack.size - 1, 1)
            except RemoteObjectMissingError:
                lost[pack.id] = False
        elif size != pack.size:
            problems.append(Problem("pack", name, (), f"it has {size} bytes instead of {pack.size}"))
    return problems, lost


async def _sizes(archive: Archive, heads: list[Head], problems: list[Problem]) -> list[int]:
    def size(root: bytes) -> int:
        below = Snapshot(archive.nodes(), root).top.item.below
        return 0 if below is None else below.size

    out = []
    for root in {head.root for head in heads}:
        try:
            out.append(await trio.to_thread.run_sync(size, root, abandon_on_cancel=True))
        except (NodeDamagedError, RemoteDamagedError, RemoteObjectMissingError) as error:
            problems.append(Problem("commit", root.hex(), (), _said(error)))
    return out


async def _tree(
    archive: Archive,
    head: Head,
    extent: Extent,
    problems: list[Problem],
    lost: dict[bytes, bool],
    told: Callable[[int], None],
    done: int,
) -> int:
    """`lost`: packs that are missing; those that are needed are set to True."""
    name = archive.name_of(head)

    def work() -> int:
        count = done
        for path, detail in _nodes(archive, head.root):
            problems.append(Problem("node", name, path, detail))
        draw = random.Random(extent.seed)  # noqa: S311 - which blocks are looked at, is no secret
        try:
            for path, blocks in _contents(archive, head.root):
                chosen = [block for block in blocks if draw.random() < extent.share]
                for what in (_missing(archive, blocks, lost), _damaged(archive, chosen)):
                    problems.extend(Problem("block", what_object, path, detail) for what_object, detail in what)
                count += sum(block.valid for block in blocks)
                told(count)
        except (NodeDamagedError, RemoteDamagedError, RemoteObjectMissingError) as error:
            if not any(problem.object == name for problem in problems):
                problems.append(Problem("node", name, (), _said(error)))
        return count

    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


def _nodes(archive: Archive, root: bytes) -> Iterator[tuple[Path, str]]:
    try:
        for problem in verify(archive.nodes(), root):
            yield problem.path, problem.detail
    except (RemoteDamagedError, RemoteObjectMissingError) as error:
        yield (), _said(error)


def _contents(archive: Archive, root: bytes) -> Iterator[tuple[Path, list[Block]]]:
    """The blocks of all files, some at a time."""
    nodes = archive.nodes()
    snapshot = Snapshot(nodes, root)
    for found in snapshot.walk(snapshot.top):
        element = found.item.element
        if not isinstance(element, File) or isinstance(element.content, Inline):
            continue
        few: list[Block] = []
        for block in blocks_of(nodes, element.content):
            few.append(block)
            if len(few) == AT_ONCE:
                yield found.path, few
                few = []
        if few:
            yield found.path, few


def _missing(archive: Archive, blocks: list[Block], lost: dict[bytes, bool]) -> Iterator[tuple[str, str]]:
    """Blocks that no pack has."""
    found = trio.from_thread.run(archive.find_blocks, [block.id for block in blocks], frozenset(lost))
    for block in blocks:
        pack = found.get(block.id)
        if pack is None:
            yield f"block {block.number}", "it is in no pack that the commit names"
        elif pack in lost:
            lost[pack] = True
            yield f"block {block.number}", f"it is in {pack_name(pack)}, which is missing"


def _damaged(archive: Archive, blocks: list[Block]) -> Iterator[tuple[str, str]]:
    """Blocks that do not read: all at once, and one by one where something is wrong."""
    try:
        trio.from_thread.run(archive.contents, [block.id for block in blocks])
    except (RemoteDamagedError, RemoteObjectMissingError):
        for block in blocks:
            try:
                trio.from_thread.run(archive.contents, [block.id])
            except (RemoteDamagedError, RemoteObjectMissingError) as error:
                yield f"block {block.number}", _said(error)


def _said(error: Exception) -> str:
    return error.message if isinstance(error, VaultfsError) else str(error)
