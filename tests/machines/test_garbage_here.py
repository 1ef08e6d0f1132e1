"""What of its own a machine lets go: nodes that came to be in no commit, and heads of which only half was stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.test_garbage import collect
from vaultfs.format.head import head_name
from vaultfs.format.pack import node_id as id_of
from vaultfs.format.pack import node_key
from vaultfs.sync.garbage_here import let_go
from vaultfs.tree.packs import path_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.machines.computer import Computer
    from tests.remote.memory import MemoryBackend
    from vaultfs.tree.ledger import Outgoing

pytestmark = pytest.mark.trio
NODES = [b"made by an attempt that came too late", b"so was this"]


async def merged_in_vain(computer: Callable[[str], Computer]) -> tuple[Computer, int, Path]:
    """A machine, the number of its pack with these nodes, and the pack's file."""
    a = computer("a")
    await a.begin()
    await a.write("x", b"x")
    await a.sync()
    nodes = a.engine.commits.nodes()
    for node in NODES:
        nodes.put(node)
    (pack,) = await a.engine.commits.adopt(nodes)
    await a.engine.commits.checkpoint()
    return a, pack, path_of(a.tree.blocks.directory, a.tree.ledger.pack_of(pack).id)


async def test_what_no_commit_has_goes(computer: Callable[[str], Computer]) -> None:
    a, _, file = await merged_in_vain(computer)
    await a.housekeep()
    assert file.exists(), "housekeeping cannot know"
    await collect(a, dry_run=True)
    await a.housekeep()
    assert file.exists()
    await collect(a)
    await a.housekeep()
    assert not file.exists()
    await a.write("y", b"y")
    await a.sync()
    assert await a.listing() == {"x": b"x", "y": b"y"}


async def test_what_is_needed_or_waits_or_may_be_the_next_bases_stays(computer: Callable[[str], Computer]) -> None:
    a, pack, _ = await merged_in_vain(computer)
    base, commits, key = a.tree.ledger.base, a.engine.commits, node_key(a.keys)
    assert base is not None
    assert await let_go(a.tree, commits, {base.root, id_of(key, NODES[1])}) == 0
    assert await let_go(a.tree, commits, set()) == 0, "the base is another one than was looked at"
    a.tree.blocks.pinned.add(pack)
    assert await let_go(a.tree, commits, {base.root}) == 0
    a.tree.blocks.pinned.discard(pack)
    a.tree.ledger.queue(99, b"", [pack], 1)
    assert await let_go(a.tree, commits, {base.root}) == 0
    a.tree.ledger.withdraw(99)
    assert await let_go(a.tree, commits, {base.root}) == 1


async def one_waits(computer: Callable[[str], Computer]) -> tuple[Computer, str, Outgoing]:
    """A machine with one commit that waits to be published, and the name of its head."""
    a = computer("a")
    await a.begin()
    await a.sync()
    await a.write("x", b"1")
    await a.commit()
    (waiting,) = a.tree.ledger.outbox()
    return a, head_name(a.engine.ports.identity.id, waiting.number), waiting


async def test_half_a_head_of_ours_does_not_stop_gc_for_ever(
    computer: Callable[[str], Computer], backend: MemoryBackend
) -> None:
    """Its upload was cut short, and a newer one was stored instead: nobody would have removed it, either."""
    a, name, waiting = await one_waits(computer)
    await a.remote.put(name, waiting.head[: len(waiting.head) // 2])
    await a.write("x", b"2")
    await a.commit()
    await a.engine.publish()
    assert (await collect(a)).heads
    assert name not in (backend.objects or {})


async def test_a_head_whose_answer_was_lost_is_one_of_ours(
    computer: Callable[[str], Computer], backend: MemoryBackend
) -> None:
    a, name, waiting = await one_waits(computer)
    await a.remote.put(name, waiting.head)
    await a.write("x", b"2")
    await a.commit()
    await a.engine.publish()
    assert name in (backend.objects or {})
    assert waiting.number in [head.number for head in a.engine.publisher._published()]
