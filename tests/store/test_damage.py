"""Invariant 5: a damaged store is found, named, and never served as if it were whole.

One bit is flipped, or a file cut short or removed, anywhere in a store with sealed blocks, dirty pages and an
unfinished transaction. Then every file reads as it was written or gives an error, and something names the damage.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.store.stores import StoreMaker, content, make_file, work_off
from vaultfs.errors import VaultfsError
from vaultfs.tree import ROOT
from vaultfs.tree.check import check_tree
from vaultfs.tree.housekeeping import SyncWork

if TYPE_CHECKING:
    from pathlib import Path

FLIPS = 150


@pytest.fixture
def crashed(stores: StoreMaker) -> tuple[Path, dict[bytes, bytes]]:
    """A store killed in the middle of its work, and what its files contain; all of it had been fsynced."""
    rnd = random.Random(7)
    tree = stores.new()
    files: dict[bytes, bytes] = {}
    for number in range(30):
        name = b"sealed%d" % number
        files[name] = rnd.randbytes(rnd.choice([10, 5000, 70000, 200000]))
        make_file(tree, name, files[name])
    work_off(tree.keeper.seal(everything=True))
    work_off(SyncWork(tree.keeper))
    for number in range(30):
        name = b"dirty%d" % number
        files[name] = rnd.randbytes(rnd.choice([10, 5000, 9000]))
        make_file(tree, name, files[name])
        if number == 15:
            work_off(SyncWork(tree.keeper))
    _fsync(tree)
    # The frame after an fsync tells that what is before it was on disk.
    make_file(tree, b"last", b"last")
    files[b"last"] = b"last"
    _fsync(tree)
    tree.attributes.set(ROOT, mode=0o755)
    store = stores.killed(tree)
    return store, files


def _fsync(tree: object) -> None:
    ticket = tree.sync()
    ticket.run()
    ticket.done()


def verify(stores: StoreMaker, store: Path, files: dict[bytes, bytes]) -> tuple[int, list[str]]:
    """How many files could not be had, and what was said about it; fails if anything is served wrong."""
    try:
        tree = stores.open(store)
    except VaultfsError as problem:
        return len(files), [problem.message]
    said = list(tree.startup.notes)
    missing = 0
    for name, expected in files.items():
        try:
            node = tree.names.lookup(ROOT, name)
            got = content(tree, node.ino)
        except OSError as problem:
            if problem.errno not in (errno.EIO, errno.ENOENT):
                raise
            missing += 1
            continue
        if got != expected:
            # Only damage in the journal may show an earlier state, and then the health says so.
            assert any("journal" in line for line in tree.health), f"{name!r} is served wrong and nobody says so"
            missing += 1
    said += tree.health
    try:
        said += [f"{problem.kind} {problem.object}" for problem in check_tree(tree, read_data=True) if problem]
    except OSError as problem:
        said.append(str(problem))
    stores.abandon(tree)
    return missing, said


def test_an_undamaged_store_is_whole(stores: StoreMaker, crashed: tuple[Path, dict[bytes, bytes]]) -> None:
    store, files = crashed
    assert verify(stores, store, files) == (0, [])


@pytest.mark.parametrize("where", ["packs", "journal", "meta.db", "meta.db-wal"])
def test_a_flipped_bit(stores: StoreMaker, crashed: tuple[Path, dict[bytes, bytes]], where: str) -> None:
    store, files = crashed
    rnd = random.Random(where)
    target = store / where
    paths = sorted(path for path in target.rglob("*") if path.is_file()) if target.is_dir() else [target]
    unnoticed = []
    for attempt in range(FLIPS // 4):
        copy = store.with_name(f"flip-{where}-{attempt}")
        shutil.copytree(store, copy)
        path = copy / rnd.choice(paths).relative_to(store)
        used = len(path.read_bytes().rstrip(b"\0"))
        if not used:
            shutil.rmtree(copy)
            continue
        offset, bit = rnd.randrange(used), rnd.randrange(8)
        with path.open("r+b") as file:
            byte = os.pread(file.fileno(), 1, offset)[0]
            os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), offset)
        missing, said = verify(stores, copy, files)
        if missing and not said:
            unnoticed.append((path.name, offset, missing))
        shutil.rmtree(copy, ignore_errors=True)
    assert unnoticed == []


@pytest.mark.parametrize("how", ["cut", "removed"])
def test_a_file_cut_short_or_removed(stores: StoreMaker, crashed: tuple[Path, dict[bytes, bytes]], how: str) -> None:
    store, files = crashed
    unnoticed = []
    for number, path in enumerate(sorted(path for path in store.rglob("*") if path.is_file())):
        if path.name.endswith("-shm"):
            continue
        copy = store.with_name(f"{how}-{number}")
        shutil.copytree(store, copy)
        target = copy / path.relative_to(store)
        if how == "cut":
            os.truncate(target, len(target.read_bytes().rstrip(b"\0")) // 2)
        else:
            target.unlink()
        missing, said = verify(stores, copy, files)
        if missing and not said:
            unnoticed.append((str(path.relative_to(store)), missing))
        shutil.rmtree(copy, ignore_errors=True)
    assert unnoticed == []


def test_damage_in_one_pack_leaves_the_rest_readable(
    stores: StoreMaker, crashed: tuple[Path, dict[bytes, bytes]]
) -> None:
    store, files = crashed
    packs = [path for path in (store / "packs").rglob("*") if path.is_file()]
    for path in packs:
        data = bytearray(path.read_bytes())
        data[5000] ^= 1
        path.write_bytes(data)
    missing, said = verify(stores, store, files)
    assert missing == len(packs)
    assert any("sealed" in line and "damaged" in line for line in said)


def test_what_fsync_confirmed_is_never_shown_in_an_older_state(stores: StoreMaker) -> None:
    """Nothing was written after the last fsync; still its confirmation is known, so a bad block is damage."""
    rnd = random.Random(3)
    tree = stores.new()
    node = make_file(tree, b"f", rnd.randbytes(131072))
    _fsync(tree)
    tree.content.write(node.ino, 0, rnd.randbytes(131072))
    _fsync(tree)
    assert tree.sync() is None
    store = stores.killed(tree)
    (pack,) = [path for path in (store / "packs").rglob("*") if path.is_file()]
    data = bytearray(pack.read_bytes())
    data[-100] ^= 1
    pack.write_bytes(data)
    tree = stores.open(store)
    assert tree.startup.notes == []
    assert len(tree.content.read(node.ino, 0, 65536)) == 65536
    with pytest.raises(OSError, match="Input/output error"):
        tree.content.read(node.ino, 65536, 65536)
    assert any("damaged" in line for line in tree.health)
