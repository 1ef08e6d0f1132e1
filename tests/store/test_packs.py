"""Pack files: a number in the database may come to mean another one; what fails leaves nothing behind."""

from __future__ import annotations

import errno
import os
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.store.elements import RemotePacks, a_file, named
from tests.store.stores import KEYS, StoreMaker, content, make_file, work_off
from tests.store.test_arrivals import bring, problems
from vaultfs.format.pack import HEADER_BYTES, PackCodec, PackDamagedError, block_id, parse_header
from vaultfs.tree import ROOT, packs
from vaultfs.tree.housekeeping import SyncWork
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.ledger import REMOTE
from vaultfs.tree.packs import PackFile, PackReader, PackWriter, path_of

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.tree import Tree

DATA, OTHER = b"one" * 1000, b"two" * 1000


def no_room(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("kept_open", [True, False])
def test_a_number_that_means_another_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, kept_open: bool) -> None:
    """Nothing that is known of the one counts for the other."""
    if not kept_open:
        monkeypatch.setattr(packs, "_OPEN_PACKS", 0)
    reader, identity = PackReader(tmp_path, KEYS), block_id(KEYS, DATA)
    old, new = PackWriter(tmp_path, KEYS, 7), PackWriter(tmp_path, KEYS, 7)
    place, other = old.add(identity, DATA), new.add(block_id(KEYS, OTHER), OTHER)
    assert reader.read(place, old.id) == DATA
    assert reader.read(other, new.id) == OTHER
    assert reader.read(place, old.id) == DATA
    liar = PackWriter(tmp_path, KEYS, 7)
    wrong = liar.add(identity, OTHER)
    with pytest.raises(PackDamagedError):
        reader.read(wrong, liar.id)


def checkpoint_on_a_full_disk(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tree.state, "commit", no_room)
        with pytest.raises(OSError, match="No space left"):
            work_off(SyncWork(tree.keeper))


def test_a_pack_that_a_full_disk_took_back_leaves_its_number_to_none(
    stores: StoreMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal knows nothing of packs on the remote, but readers and the cache do."""
    tree, remote = stores.new(), RemotePacks(tmp_path / "remote")
    data = os.urandom(100_000)
    bring(tree, named(b"f", a_file(remote.store(data), len(data))))
    work_off(SyncWork(tree.keeper))
    ino = tree.names.lookup(ROOT, b"f").ino
    with pytest.raises(NotHereError) as lack:
        content(tree, ino)
    remote.fetch(tree, lack.value)
    assert content(tree, ino) == data
    (pack_id,) = remote.packs
    number = tree.ledger.number_of(pack_id)
    checkpoint_on_a_full_disk(tree, monkeypatch)
    assert tree.ledger.number_of(pack_id) == 0
    mine = os.urandom(70_000)
    made = make_file(tree, b"mine", mine).ino
    assert tree.blocks.writer is not None
    assert tree.blocks.writer.number != number
    assert content(tree, made) == mine
    with pytest.raises(KeyError):
        tree.cache.put(number, 0, b"late")
    with pytest.raises(NotHereError) as lack:
        content(tree, ino)
    remote.fetch(tree, lack.value)
    assert content(tree, ino) == data
    assert tree.cache.bytes > 0
    assert problems(tree) == []
    assert tree.health == []


def test_the_cache_writes_the_header_of_the_pack_that_the_number_means(stores: StoreMaker) -> None:
    tree = stores.new()
    first, second = (tree.state.keys.object_id() for _ in range(2))
    number = tree.ledger.add_pack(first, REMOTE)
    for pack_id in (first, second):
        tree.ledger.rename_pack(number, pack_id)
        tree.cache.put(number, 5000, b"x")
        header = path_of(tree.blocks.directory, pack_id).read_bytes()[:HEADER_BYTES]
        assert parse_header(header)[1] == pack_id


def test_a_pack_that_finds_no_room_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", no_room)
    with pytest.raises(OSError, match="No space left"):
        PackWriter(tmp_path, KEYS, 1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_pack_that_cannot_be_read_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = PackWriter(tmp_path, KEYS, 1), PackReader(tmp_path, KEYS)
    place = writer.add(block_id(KEYS, DATA), DATA)

    def is_open() -> int:
        found = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        return found.count(str(writer.path.resolve()))

    before = is_open()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", no_room)
        with pytest.raises(OSError, match="No space left"):
            reader.read(place, writer.id)
    assert is_open() == before
    assert reader.read(place, writer.id) == DATA
    assert is_open() == before + 1


def test_who_reads_on_has_the_kernel_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def note(_: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        asked.append((offset, offset + length))

    monkeypatch.setattr(os, "posix_fadvise", note)
    path, size, step = tmp_path / "file", 16 << 20, 128 << 10
    content = os.urandom(size)
    path.write_bytes(content)
    file = PackFile(os.open(path, os.O_RDONLY), PackCodec(KEYS, KEYS.object_id()))
    for offset in (3 * step, step, 9 * step, 8 * step):
        assert file.read(offset, step) == content[offset : offset + step]
    assert asked == [], "here and there"
    for offset in range(9 * step, size, step):
        assert file.read(offset, step) == content[offset : offset + step]
        assert asked[-1][1] >= offset + 2 * step, "always some way before the reader"
    assert all(first[1] == second[0] for first, second in pairwise(asked)), "nothing is asked for twice"
    assert max(end - start for start, end in asked) <= 4 << 20
    assert len(asked) < 20
    asked.clear()
    file.read(0, step)
    file.read(5 * step, step)
    assert asked == []
    file.read(6 * step, step)
    assert asked[0] == (7 * step, 9 * step), "little at first"
