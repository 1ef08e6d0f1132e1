"""A mirror with holes, whatever is done to it, is like one without."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.elements import RemotePacks, a_file, indirect, named
from tests.store.stores import StoreMaker, content, work_off
from tests.store.test_arrivals import bring, problems
from vaultfs.format.pack import BLOCK_BYTES
from vaultfs.tree import ROOT
from vaultfs.tree.housekeeping import SyncWork
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.ledger import REMOTE
from vaultfs.tree.packs import path_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vaultfs.format.node import Blocks
    from vaultfs.tree import Tree


@pytest.fixture
def remote(tmp_path: Path) -> RemotePacks:
    return RemotePacks(tmp_path / "remote")


SHAPE = st.lists(st.integers(0, 40 * BLOCK_BYTES), min_size=2, max_size=2)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(513, 40 * BLOCK_BYTES),
    holes=st.frozensets(st.integers(0, 39), max_size=8),
    steps=st.lists(
        st.tuples(st.sampled_from(["read", "write", "cut", "evict", "seal", "damage", "crash"]), SHAPE), max_size=12
    ),
    seed=st.integers(0, 255),
    long=st.booleans(),
)
def test_random_work_on_a_holed_mirror_equals_the_original(
    tmp_path_factory: pytest.TempPathFactory,
    size: int,
    holes: frozenset[int],
    steps: list[tuple[str, list[int]]],
    seed: int,
    long: bool,
) -> None:
    base = tmp_path_factory.mktemp("holed")
    stores, remote = StoreMaker(base), RemotePacks(base / "remote")
    try:
        tree = stores.new()
        pattern = bytes((seed + position * 7 + position // 251) % 256 for position in range(4096))
        model = bytearray((pattern * (size // 4096 + 1))[:size])
        for idx in holes:
            model[idx * BLOCK_BYTES : (idx + 1) * BLOCK_BYTES] = bytes(
                len(model[idx * BLOCK_BYTES : (idx + 1) * BLOCK_BYTES])
            )
        listed = remote.store(bytes(model), holes=holes, padding=seed % 3)
        shape = indirect(listed) if long or len(listed.blocks) > 16 else listed
        bring(tree, named(b"f", a_file(shape, size)))
        ino = tree.names.lookup(ROOT, b"f").ino
        for what, (a, b) in steps:
            tree = _step(stores, tree, remote, listed, ino, model, what, min(a, b), max(a, b))
        assert _patient(tree, remote, listed, lambda: content(tree, ino)) == model
        assert problems(tree) == []
        assert tree.inode(ino).size == len(model)
        assert tree.health == []
    finally:
        stores.end()


def _patient(tree: Tree, remote: RemotePacks, listed: Blocks, call: Callable[[], object]) -> object:
    for _ in range(6):
        try:
            return call()
        except NotHereError as lack:
            if lack.content:
                tree.arrivals.unfold(lack.content, listed.blocks)
            remote.fetch(tree, lack)
    raise AssertionError


def _step(  # one kind of step after the other
    stores: StoreMaker,
    tree: Tree,
    remote: RemotePacks,
    listed: Blocks,
    ino: int,
    model: bytearray,
    what: str,
    low: int,
    high: int,
) -> Tree:
    if what == "read":
        got = _patient(tree, remote, listed, lambda: tree.content.read(ino, low, high - low))
        assert got == model[low:high]
    elif what == "write":
        data = os.urandom(min(high - low, 200_000))
        _patient(tree, remote, listed, lambda: tree.content.write(ino, low, data))
        if data:
            model.extend(bytes(max(low - len(model), 0)))
            model[low : low + len(data)] = data
    elif what == "cut":
        _patient(tree, remote, listed, lambda: tree.attributes.set(ino, size=low))
        model.extend(bytes(max(low - len(model), 0)))
        del model[low:]
    elif what == "evict":
        tree.cache.evict(0)
    elif what == "seal":
        work_off(tree.keeper.seal(everything=True))
        work_off(SyncWork(tree.keeper))
        work_off(tree.keeper.collect())
    elif what == "damage":
        for (pack_id,) in tree.state.all("SELECT id FROM pack WHERE state=?", REMOTE):
            path = path_of(tree.blocks.directory, pack_id)
            if path.exists() and path.stat().st_size > low:
                with path.open("r+b") as mirror:
                    mirror.seek(low)
                    mirror.write(os.urandom(min(high - low, 1000)))
    else:
        return stores.crash(tree)
    return tree
