"""What is on the remote is fetched when it is missing, and only then; what is not is never lost to make room."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.store.elements import RemotePacks, a_file, named
from tests.store.holed import read
from tests.store.stores import StoreMaker, content, make_file, work_off
from tests.store.test_arrivals import bring, problems
from vaultfs.format.pack import BLOCK_BYTES, PackCodec, node_id, node_key
from vaultfs.tree import ROOT, cache
from vaultfs.tree.check import check_tree
from vaultfs.tree.housekeeping import SyncWork
from vaultfs.tree.incoming import NotHereError
from vaultfs.tree.ledger import FINISHED, PUBLISHED, REMOTE
from vaultfs.tree.nodes import NodesWork
from vaultfs.tree.packs import path_of
from vaultfs.tree.state import LOW_SPACE

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.tree import Tree


@pytest.fixture
def remote(tmp_path: Path) -> RemotePacks:
    return RemotePacks(tmp_path / "remote")


def remote_file(tree: Tree, remote: RemotePacks, data: bytes, name: bytes = b"f", **shape: int) -> int:
    bring(tree, named(name, a_file(remote.store(data, **shape), len(data))))
    return tree.names.lookup(ROOT, name).ino


def full_blocks(count: int) -> bytes:
    """Random blocks that do not end in zeros, which the sealed form of a block in a commit leaves away."""
    return b"".join(os.urandom(BLOCK_BYTES - 1) + b"." for _ in range(count))


def test_a_read_names_all_blocks_it_lacks_and_then_has_them(stores: StoreMaker, remote: RemotePacks) -> None:
    tree, data = stores.new(), os.urandom(5 * BLOCK_BYTES - 100)
    ino = remote_file(tree, remote, data)
    with pytest.raises(NotHereError) as lack:
        tree.content.read(ino, BLOCK_BYTES, 2 * BLOCK_BYTES)
    assert len(lack.value.blocks) == 2
    remote.fetch(tree, lack.value)
    assert tree.content.read(ino, BLOCK_BYTES, 2 * BLOCK_BYTES) == data[BLOCK_BYTES : 3 * BLOCK_BYTES]
    with pytest.raises(NotHereError) as lack:
        tree.content.read(ino, 0, len(data))
    assert len(lack.value.blocks) == 3
    remote.fetch(tree, lack.value)
    assert content(tree, ino) == data
    assert tree.health == []
    assert problems(tree) == []


def test_who_reads_from_front_to_back_gets_the_next_mebibyte_at_once(stores: StoreMaker, remote: RemotePacks) -> None:
    tree, data = stores.new(), os.urandom(40 * BLOCK_BYTES)
    ino = remote_file(tree, remote, data[: 16 * BLOCK_BYTES])
    requests = 0
    for idx in range(16):
        try:
            got = tree.content.read(ino, idx * BLOCK_BYTES, BLOCK_BYTES)
        except NotHereError as lack:
            requests += 1
            remote.fetch(tree, lack)
            got = tree.content.read(ino, idx * BLOCK_BYTES, BLOCK_BYTES)
        assert got == data[idx * BLOCK_BYTES :][:BLOCK_BYTES]
    assert requests == 1
    assert len(remote.fetched) == 16


def test_who_reads_here_and_there_gets_no_more_than_that(stores: StoreMaker, remote: RemotePacks) -> None:
    tree, data = stores.new(), os.urandom(16 * BLOCK_BYTES)
    ino = remote_file(tree, remote, data)
    for idx in (9, 3, 12):
        assert read(tree, remote, ino, idx * BLOCK_BYTES, 10) == data[idx * BLOCK_BYTES :][:10]
    assert len(remote.fetched) == 3


def test_what_the_cache_holds_survives_and_is_evicted_oldest_first(stores: StoreMaker, remote: RemotePacks) -> None:
    tree = stores.new()
    files = {}
    for number in range(4):
        data = os.urandom(3 * BLOCK_BYTES)
        files[remote_file(tree, remote, data, b"%d" % number)] = data
    for ino, data in files.items():
        assert read(tree, remote, ino, 0, 1 << 20) == data
    used = tree.cache.bytes
    assert 12 * BLOCK_BYTES <= used < 14 * BLOCK_BYTES
    work_off(SyncWork(tree.keeper))
    tree = stores.crash(tree)
    assert 12 * BLOCK_BYTES <= tree.cache.bytes < 14 * BLOCK_BYTES
    first, second, *rest = files
    for ino in (*rest, second, first):
        assert content(tree, ino) == files[ino]
    assert tree.cache.evict(used) == 0
    assert tree.cache.evict(used // 2) > 0
    assert tree.cache.bytes <= used // 2
    assert content(tree, first) == files[first]
    assert content(tree, second) == files[second]
    for ino in rest:
        with pytest.raises(NotHereError):
            content(tree, ino)
        assert read(tree, remote, ino, 0, 1 << 20) == files[ino]
    assert problems(tree) == []


def test_the_cache_keeps_to_its_limit_and_gives_way_to_a_full_disk(
    stores: StoreMaker, remote: RemotePacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = stores.new()
    data = [os.urandom(4 * BLOCK_BYTES) for _ in range(8)]
    inos = [remote_file(tree, remote, one, b"%d" % number) for number, one in enumerate(data)]
    tree.cache.limit = 20 * BLOCK_BYTES
    for ino, one in zip(inos, data, strict=True):
        assert read(tree, remote, ino, 0, 1 << 20) == one
        assert tree.cache.bytes <= 20 * BLOCK_BYTES
    assert tree.cache.bytes >= 12 * BLOCK_BYTES
    assert content(tree, inos[-1]) == data[-1]
    tree.cache.limit = BLOCK_BYTES  # less than one file: what is being read stays all the same
    assert read(tree, remote, inos[0], 0, 1 << 20) == data[0]
    tree.cache.limit = None
    for ino, one in zip(inos, data, strict=True):
        assert read(tree, remote, ino, 0, 1 << 20) == one
    used = tree.cache.bytes
    monkeypatch.setattr(tree.state, "disk_full", lambda: True)
    tree.cache.put(1, 0, tree.cache._codec(1).header())
    assert tree.cache.bytes <= used // 2
    assert tree.cache.evict(0) > 0


def test_the_cache_makes_room_on_a_full_disk_by_itself(
    stores: StoreMaker, remote: RemotePacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only as much as the disk lacks: perhaps the remote is away."""
    tree = stores.new()
    for number in range(6):
        read(tree, remote, remote_file(tree, remote, os.urandom(16 * BLOCK_BYTES), b"%d" % number), 0, 16 * BLOCK_BYTES)
    before = tree.cache.bytes
    monkeypatch.setattr(cache, "_MORE", 2 * BLOCK_BYTES)
    monkeypatch.setattr(tree.state, "room", lambda: LOW_SPACE - BLOCK_BYTES)
    tree.tick()
    assert 3 * BLOCK_BYTES <= before - tree.cache.bytes < 20 * BLOCK_BYTES
    left = tree.cache.bytes
    tree.tick()
    assert tree.cache.bytes == left, "not at each turn"


def published(tree: Tree, data: bytes, name: bytes = b"mine") -> tuple[int, int]:
    """A file whose blocks are in a pack written here that is on the remote by now."""
    ino = make_file(tree, name, data).ino
    writer = tree.blocks.writer
    assert writer is not None
    tree.state.begin()
    tree.blocks.finish(writer)
    tree.state.end()
    tree.blocks.writer = None
    work_off(SyncWork(tree.keeper))
    tree.ledger.queue(1, b"head", [writer.number], 1)
    return ino, writer.number


def test_only_what_was_published_is_evicted(stores: StoreMaker, remote: RemotePacks) -> None:
    tree, data = stores.new(), os.urandom(4 * BLOCK_BYTES)
    ino, pack = published(tree, data)
    pack_id = tree.ledger.pack_of(pack).id
    remote.packs[pack_id] = path_of(tree.blocks.directory, pack_id).read_bytes()
    assert tree.cache.evict(0) == 0
    assert tree.ledger.pack_of(pack).state == FINISHED
    tree.ledger.set_pack_state(pack, PUBLISHED)
    tree.cache.stored(pack)
    assert tree.cache.evict(0) == 0, "its head is not on the remote yet"
    tree.ledger.published(1)
    assert tree.cache.evict(0) == 0, "a crash would take that back"
    work_off(SyncWork(tree.keeper))
    assert tree.cache.evict(0) > 4 * BLOCK_BYTES
    assert tree.ledger.pack_of(pack).state == REMOTE
    assert not path_of(tree.blocks.directory, pack_id).exists()
    assert read(tree, remote, ino, 0, 1 << 20) == data
    assert problems(tree) == []


def test_what_only_counts_as_published_is_never_evicted(stores: StoreMaker) -> None:
    tree, data = stores.new(), os.urandom(4 * BLOCK_BYTES)
    ino, pack = published(tree, data)
    assert tree.cache.bytes == 0
    tree.ledger.withdraw(1)
    tree.cache.stored(pack)
    assert tree.cache.evict(0) == 0
    assert content(tree, ino) == data


def test_what_was_published_is_not_evicted_while_a_crash_could_take_that_back(
    stores: StoreMaker, remote: RemotePacks
) -> None:
    tree, data = stores.new(), os.urandom(2 * BLOCK_BYTES)
    ino, pack = published(tree, data)
    work_off(SyncWork(tree.keeper))
    pack_id = tree.ledger.pack_of(pack).id
    remote.packs[pack_id] = path_of(tree.blocks.directory, pack_id).read_bytes()
    tree.ledger.published(1)
    first = SyncWork(tree.keeper)
    first.run()
    second = first.apply()
    assert second is not None
    assert tree.cache.evict(0) == 0, "committed, but not yet on disk"
    crashed = stores.open(stores.killed(tree))
    assert content(crashed, ino) == data
    work_off(second)
    assert tree.cache.evict(0) > 2 * BLOCK_BYTES
    tree = stores.crash(tree)
    assert tree.ledger.outbox() == []
    assert read(tree, remote, ino, 0, 1 << 20) == data


def test_a_crash_after_an_eviction_only_means_to_fetch_again(stores: StoreMaker, remote: RemotePacks) -> None:
    tree, data = stores.new(), os.urandom(2 * BLOCK_BYTES)
    ino, pack = published(tree, data)
    pack_id = tree.ledger.pack_of(pack).id
    remote.packs[pack_id] = path_of(tree.blocks.directory, pack_id).read_bytes()
    tree.ledger.published(1)
    work_off(SyncWork(tree.keeper))
    tree.cache.evict(0)
    tree = stores.crash(tree)
    assert tree.ledger.pack_of(pack).state == PUBLISHED
    assert problems(tree) == []
    assert read(tree, remote, ino, 0, 1 << 20) == data
    assert tree.health == []


@pytest.mark.parametrize("state", [FINISHED, PUBLISHED, REMOTE])
def test_damage_is_an_error_where_there_is_no_other_copy(stores: StoreMaker, remote: RemotePacks, state: int) -> None:
    tree, data = stores.new(), os.urandom(2 * BLOCK_BYTES)
    ino, pack = published(tree, data)
    path = path_of(tree.blocks.directory, tree.ledger.pack_of(pack).id)
    whole = path.read_bytes()
    remote.packs[tree.ledger.pack_of(pack).id] = whole
    tree.ledger.set_pack_state(pack, state)
    path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    if state == FINISHED:
        with pytest.raises(OSError, match="Input/output") as damage:
            content(tree, ino)
        assert damage.value.errno == errno.EIO
    else:
        with pytest.raises(NotHereError) as lack:
            content(tree, ino)
        assert len(lack.value.blocks) == 1
        remote.fetch(tree, lack.value)
        assert content(tree, ino) == data
        assert path.read_bytes() == whole
    assert len(tree.health) == (state != REMOTE)


def test_wrong_bytes_do_not_get_into_the_cache(stores: StoreMaker, remote: RemotePacks) -> None:
    tree, data = stores.new(), os.urandom(BLOCK_BYTES)
    ino = remote_file(tree, remote, data)
    with pytest.raises(NotHereError) as lack:
        content(tree, ino)
    remote.catalogue(tree)
    place = tree.ledger.place_of_block(lack.value.blocks[0])
    assert place is not None
    entry = place.entry
    sealed = remote.packs[tree.ledger.pack_of(place.pack).id][entry.offset : entry.offset + entry.length]
    for wrong in (sealed[:-1], bytes(len(sealed)), sealed[:-1] + bytes([sealed[-1] ^ 1])):
        tree.cache.put(place.pack, entry.offset, wrong)  # unchecked: whoever reads finds out
        assert tree.cache.read(place) is None
        with pytest.raises(NotHereError):
            content(tree, ino)
    tree.cache.put(place.pack, entry.offset, sealed)
    assert tree.cache.read(place) == data
    assert content(tree, ino) == data


def test_a_damaged_node_in_a_pack_of_ours_is_found(stores: StoreMaker) -> None:
    tree = stores.new()
    node = os.urandom(3000)
    work = NodesWork(tree.state, tree.blocks, tree.ledger, {node_id(node_key(tree.state.keys), node): node})
    work_off(work)
    assert [problem for problem in check_tree(tree, read_data=True) if problem] == []
    path = path_of(tree.blocks.directory, tree.ledger.pack_of(work.pack).id)
    whole = path.read_bytes()
    path.write_bytes(whole[:99] + bytes([whole[99] ^ 1]) + whole[100:])
    found = [problem for problem in check_tree(tree, read_data=True) if problem]
    assert [(problem.kind, problem.path) for problem in found] == [("node", "(directories)")]
    path.unlink()
    tree.blocks.reader.drop(work.pack)
    assert [problem.kind for problem in problems(tree)] == ["pack"]  # type: ignore[attr-defined]


def test_a_damaged_mirror_is_mended_by_fetching(stores: StoreMaker, remote: RemotePacks) -> None:
    tree, data = stores.new(), os.urandom(2 * BLOCK_BYTES)
    ino = remote_file(tree, remote, data)
    assert read(tree, remote, ino, 0, 1 << 20) == data
    tree.close()
    (mirror,) = tree.blocks.directory.glob("*/*")
    mirror.write_bytes(bytes(24) + mirror.read_bytes()[24:1000])
    stores.trees.remove(tree)
    tree = stores.open(tree.state.store)
    assert problems(tree) == []
    assert read(tree, remote, ino, 0, 1 << 20) == data


def test_what_is_written_is_here_even_if_the_remote_has_it_too(stores: StoreMaker, remote: RemotePacks) -> None:
    tree, data = stores.new(), full_blocks(4)
    ino = remote_file(tree, remote, data)
    with pytest.raises(NotHereError):
        content(tree, ino)
    copy = make_file(tree, b"copy", data).ino
    assert content(tree, copy) == data
    assert content(tree, ino) == data, "the same blocks, now here"
    assert remote.fetched == []
    tree = stores.crash(tree)
    assert content(tree, copy) == data


def test_a_cached_block_is_not_stored_again(stores: StoreMaker, remote: RemotePacks) -> None:
    tree, data = stores.new(), full_blocks(4)
    ino = remote_file(tree, remote, data)
    assert read(tree, remote, ino, 0, 1 << 20) == data
    make_file(tree, b"copy", data)
    assert tree.blocks.writer is None


def test_a_part_of_a_block_that_is_not_here_is_sealed_when_it_came(stores: StoreMaker, remote: RemotePacks) -> None:
    tree, data = stores.new(), os.urandom(2 * BLOCK_BYTES)
    ino = remote_file(tree, remote, data)
    tree.content.write(ino, 8192, b"x" * 4096)
    tree.content.write(ino, BLOCK_BYTES, b"y" * BLOCK_BYTES)
    expected = data[:8192] + b"x" * 4096 + data[12288:BLOCK_BYTES] + b"y" * BLOCK_BYTES
    assert remote.fetched == []
    assert tree.content.read(ino, 8192, 4096) == b"x" * 4096
    work_off(tree.keeper.seal(everything=True))
    assert len(tree.blocks.wanted) == 1
    assert tree.keeper.seal(everything=True) is None, "it would not get any further"
    tree.flush()
    tree = stores.crash(tree)
    assert len(tree.state.pages[ino]) == 1
    work_off(tree.keeper.seal(everything=True))
    remote.fetch(tree, NotHereError(blocks=tuple(tree.blocks.wanted)))
    work_off(tree.keeper.seal(everything=True))
    assert ino not in tree.state.pages
    assert content(tree, ino) == expected
    assert len(remote.fetched) == 1


def test_pages_that_cover_a_block_need_nothing_of_it(stores: StoreMaker, remote: RemotePacks) -> None:
    tree = stores.new()
    ino = remote_file(tree, remote, os.urandom(10_000))
    for page in range(3):
        tree.content.write(ino, page * 4096, b"%d" % page * 4096)
    work_off(tree.keeper.seal(everything=True))
    assert ino not in tree.state.pages
    assert content(tree, ino) == b"0" * 4096 + b"1" * 4096 + b"2" * 4096
    assert remote.fetched == []


def test_collecting_leaves_what_waits_what_is_remote_and_what_holds_nodes(
    stores: StoreMaker, remote: RemotePacks
) -> None:
    tree = stores.new()
    packs = {}
    for name in (b"waits", b"pinned", b"nodes", b"remote", b"dead"):
        ino, packs[name] = published(tree, os.urandom(3 * BLOCK_BYTES), name)
        tree.ledger.published(1)
        tree.ledger.set_pack_state(packs[name], FINISHED)
        tree.names.unlink(ROOT, name)
        tree.forget(ino)
    tree.ledger.queue(2, b"", [packs[b"waits"]], 2)
    tree.blocks.pinned.add(packs[b"pinned"])
    tree.state.run("INSERT INTO node VALUES(?,?,0,0,0,0,0)", bytes(32), packs[b"nodes"])
    tree.ledger.set_pack_state(packs[b"remote"], PUBLISHED)
    cached = remote_file(tree, remote, os.urandom(BLOCK_BYTES), b"cached")
    read(tree, remote, cached, 0, 10)
    work_off(SyncWork(tree.keeper))
    work_off(tree.keeper.collect())
    left = {number for (number,) in tree.state.all("SELECT pack FROM pack WHERE state<3")}
    assert left == {packs[name] for name in (b"waits", b"pinned", b"nodes", b"remote")}
    assert len(list(tree.blocks.directory.glob("*/*"))) == 5
    tree.ledger.drop_nodes(packs[b"nodes"])
    tree.blocks.pinned.clear()
    work_off(SyncWork(tree.keeper))
    work_off(tree.keeper.collect())
    assert len(list(tree.blocks.directory.glob("*/*"))) == 3
    assert len(tree.content.read(cached, 0, 10)) == 10
    assert problems(tree) == []


def resealed(remote: RemotePacks, tree: Tree, pack_id: bytes) -> bytes:
    """The pack as somebody makes it who has its key, like a machine that was removed: other bytes, same places."""
    codec, data = PackCodec(tree.state.keys, pack_id), bytearray(remote.packs[pack_id])
    for number, entry in enumerate(codec.read_footer(bytes(data))):
        sealed, _ = codec.seal(number, entry.kind, os.urandom(entry.size))
        data[entry.offset : entry.offset + entry.length] = sealed
    return bytes(data)


def test_what_opens_but_is_not_what_its_id_says_is_never_read_nor_taken_for_it(
    stores: StoreMaker, remote: RemotePacks
) -> None:
    tree, data = stores.new(), full_blocks(3)
    ino = remote_file(tree, remote, data)
    (pack_id,) = remote.packs
    right, remote.packs[pack_id] = remote.packs[pack_id], resealed(remote, tree, pack_id)
    for _ in range(2):
        with pytest.raises(NotHereError) as lack:
            content(tree, ino)
        remote.fetch(tree, lack.value)
    copy = make_file(tree, b"copy", data).ino
    assert content(tree, copy) == data, "what is written anew is not taken for what claims to be the same"
    remote.packs[pack_id] = right
    assert read(tree, remote, ino, 0, 1 << 20) == data
    assert problems(tree) == []


def test_what_was_read_is_looked_at_again_when_the_file_was_written_to(stores: StoreMaker, remote: RemotePacks) -> None:
    tree, data = stores.new(), full_blocks(3)
    ino = remote_file(tree, remote, data)
    assert read(tree, remote, ino, 0, 1 << 20) == data
    (pack_id,) = remote.packs
    tree.cache.put(tree.ledger.number_of(pack_id), 0, resealed(remote, tree, pack_id))
    with pytest.raises(NotHereError):
        content(tree, ino)
