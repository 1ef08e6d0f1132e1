"""The contract in vaultfs/remote/base.py, sentence by sentence, against every kind of store."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import TYPE_CHECKING

import pytest
import trio

from vaultfs.errors import RemoteGoneError, RemoteObjectMissingError, UsageError
from vaultfs.remote import Entry, Requests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.remote.conftest import Place
    from vaultfs.remote import Remote

pytestmark = pytest.mark.trio
PACK = "packs/ab/" + "0123456789abcdef" * 4
DATA = bytes(range(256)) * 1000


async def test_what_is_put_can_be_got_whole_and_by_range(place: Place, tmp_path: Path) -> None:
    async with place.open() as remote:
        await remote.put("vault.1", b"header")
        (tmp_path / "a pack").write_bytes(DATA)
        await remote.put(PACK, tmp_path / "a pack")
        assert await remote.get("vault.1") == b"header"
        assert await remote.get(PACK) == DATA
        assert await remote.get(PACK, 1000, 77) == DATA[1000:1077]
        assert await remote.get(PACK, 255_990) == DATA[255_990:]
        assert await remote.get(PACK, 0, 1) == DATA[:1]
        assert await remote.get(PACK, 5, 0) == b""


async def test_a_range_is_cut_off_where_the_object_ends_and_put_again_changes_nothing(place: Place) -> None:
    async with place.open() as remote:
        await remote.put(PACK, DATA)
        assert await remote.get(PACK, len(DATA) - 3, 100) == DATA[-3:]
        assert await remote.get(PACK, len(DATA), 100) == b""
        assert await remote.get(PACK, len(DATA) + 5000, 100) == b""
        assert await remote.get(PACK, len(DATA) + 5000) == b""
        await remote.put(PACK, DATA)
        assert await remote.get(PACK) == DATA
        assert {*await remote.list("packs")} == {Entry(PACK, len(DATA))}
        await remote.put("heads/aa/1", b"")
        assert await remote.get("heads/aa/1") == b""
        assert await remote.get("heads/aa/1", 0, 10) == b""
        assert await remote.list("heads") == [Entry("heads/aa/1", 0)]


async def test_list_is_of_a_directory_at_any_depth(place: Place) -> None:
    names = {"vault.1", "vault.2", "heads/aa/1", "heads/aa/10", "heads/ab/2", "headsup/1", PACK}
    async with place.open() as remote:
        for name in names:
            await remote.put(name, name.encode())
        assert {*await remote.list()} == {Entry(name, len(name)) for name in names}
        assert {name for name, _ in await remote.list("heads")} == {"heads/aa/1", "heads/aa/10", "heads/ab/2"}
        assert {name for name, _ in await remote.list("heads/aa")} == {"heads/aa/1", "heads/aa/10"}
        assert await remote.list("packs/zz") == []


async def test_delete_is_idempotent_and_what_is_missing_is_no_trouble(place: Place) -> None:
    async with place.open() as remote:
        await remote.put(PACK, DATA)
        await remote.put("heads/aa/1", b"head")
        await remote.delete(PACK)
        await remote.delete(PACK)
        await remote.delete("packs/zz/00")
        assert await remote.list() == [Entry("heads/aa/1", 4)]
        for missing in (PACK, "heads/aa/2", "nothing/at/all"):
            with pytest.raises(RemoteObjectMissingError, match=missing):
                await remote.get(missing, 3, 5)
        assert remote.trouble is None, "the store works, and has answered"


async def test_a_place_that_is_not_there_is_no_empty_vault(place: Place) -> None:
    async with place.open(create=False) as remote:
        for prefix in ("", "heads"):
            with pytest.raises(RemoteGoneError):
                await remote.list(prefix)
        with pytest.raises(RemoteGoneError):
            await remote.put("heads/aa/1", b"head")
        if place.backing:
            assert not place.backing.exists(), "only create makes the place"
        await remote.create()
        await remote.create()
        assert await remote.list("heads") == []
        assert await remote.list() == []
        await remote.put("heads/aa/1", b"head")


async def test_names_are_checked_before_anything_is_asked(fake_place: Place) -> None:
    async with fake_place.open() as remote:
        bad = ["", "/a", "a/", "a//b", "A", "a b", "../a", "a/../b", ".a", "a.b", "a.1.2", "ä", "a\n", "a" * 201]
        for name in bad:
            with pytest.raises(UsageError):
                await remote.put(name, b"")
            with pytest.raises(UsageError):
                await remote.get(name)
            with pytest.raises(UsageError):
                await remote.delete(name)
        with pytest.raises(UsageError):
            await remote.list("heads/")
        with pytest.raises(UsageError):
            await remote.get("a", -1)
        assert remote.requests == Requests()


async def test_what_others_left_in_the_place_is_not_listed(real_place: Place) -> None:
    async with real_place.open() as remote:
        await remote.put("heads/aa/1", b"head")
        assert real_place.backing
        for stranger in ("heads/aa/2.0a1b2c3d.partial", "heads/aa/.3.0a1b2c3d.partial", "README.md", "heads/A"):
            (real_place.backing / stranger).write_bytes(b"not ours")
        assert await _settled(remote, "", 1) == {Entry("heads/aa/1", 4)}


async def test_many_calls_at_once(place: Place) -> None:
    contents = {f"packs/{number:02x}/{number:04x}": os.urandom(5000 + number) for number in range(20)}
    async with place.open() as remote:
        async with trio.open_nursery() as nursery:
            for name, data in contents.items():
                nursery.start_soon(remote.put, name, data)
        assert {*await remote.list("packs")} == {Entry(name, len(data)) for name, data in contents.items()}
        got: dict[str, bytes] = {}

        async def fetch(name: str) -> None:
            got[name] = await remote.get(name)

        async with trio.open_nursery() as nursery:
            for name in contents:
                nursery.start_soon(fetch, name)
        assert got == contents


@pytest.mark.parametrize("kind", ["directory", "s3", "fake"])
async def test_requests_and_bytes_are_counted(kind: str, place_of: Callable[[str], Place], tmp_path: Path) -> None:
    (tmp_path / "pack").write_bytes(DATA)
    async with place_of(kind).open() as remote:
        start = dataclasses.replace(remote.requests)
        await remote.put(PACK, tmp_path / "pack")
        await remote.put("heads/aa/1", b"head")
        assert remote.requests - start == Requests(puts=2, bytes_up=len(DATA) + 4)
        await remote.list("heads")
        await remote.get(PACK, 10, 20)
        await remote.delete(PACK)
        assert remote.requests - start == Requests(2, 1, 1, 1, len(DATA) + 4, 20)


async def test_two_thousand_objects_are_all_listed(real_place: Place) -> None:
    names = {f"heads/{number % 7:02x}/{number}" for number in range(2000)}
    async with real_place.open() as remote:
        assert real_place.backing
        for name in names:
            path = real_place.backing / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        assert await _settled(remote, "heads", 2000) == {Entry(name, 1) for name in names}
        assert len(await remote.list("heads/03")) == len([name for name in names if name.startswith("heads/03/")])


async def _settled(remote: Remote, prefix: str, count: int) -> set[Entry]:
    """The listing, as soon as a server that keeps directories for a moment has seen what was put in behind its back."""
    entries: set[Entry] = set()
    with trio.move_on_after(10):
        while len(entries) != count:
            entries = {*await remote.list(prefix)}
    return entries


@pytest.mark.parametrize("kind", ["directory", "rclone-local", "s3"])
async def test_a_large_object_by_ranges(kind: str, place_of: Callable[[str], Place], tmp_path: Path) -> None:
    mebibyte = 1 << 20
    with (tmp_path / "large").open("wb") as file:
        for number in range(64):
            file.write(hashlib.sha256(bytes([number])).digest() * (mebibyte // 32))
    async with place_of(kind).open() as remote:
        await remote.put(PACK, tmp_path / "large")
        for number in (0, 1, 31, 63):
            data = await remote.get(PACK, number * mebibyte + 32, 65536)
            assert data == hashlib.sha256(bytes([number])).digest() * 2048
        across = await remote.get(PACK, 7 * mebibyte - 32, 64)
        assert across == hashlib.sha256(b"\6").digest() + hashlib.sha256(b"\7").digest()
        whole = await remote.get(PACK)
        assert hashlib.sha256(whole).digest() == hashlib.sha256((tmp_path / "large").read_bytes()).digest()


@pytest.mark.parametrize("kind", ["directory", "rclone-local"])
async def test_a_file_whose_path_no_json_can_hold(kind: str, place_of: Callable[[str], Place], tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9 \xe2\x90\x80") / "pack: [1]"
    odd.parent.mkdir()
    odd.write_bytes(DATA)
    async with place_of(kind).open() as remote:
        await remote.put(PACK, odd)
        assert await remote.get(PACK) == DATA
