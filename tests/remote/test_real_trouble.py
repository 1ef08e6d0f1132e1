"""Real stores in real trouble: refused, unreachable, cut off, full, read-only, and back again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.remote.proxy import line_to
from tests.remote.servers import KINDS
from vaultfs.errors import (
    RemoteFullError,
    RemoteGoneError,
    RemoteNotConfiguredError,
    RemotePermissionError,
    RemoteSignInError,
    RemoteUnavailableError,
    UsageError,
)
from vaultfs.remote import Limits, open_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.remote.conftest import Place, ServerOf

pytestmark = pytest.mark.trio
PACK = "packs/ab/cd"
SMALL_PACK = bytes(16 << 10)
SHORT = Limits(call=1.5, attempt=1)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wrong_password_is_a_matter_of_sign_in(
    kind: str, server_of: ServerOf, rclone: Path, runtime: Path
) -> None:
    spec = server_of(kind).spec("vault", password="not-the-password")  # noqa: S106
    async with open_remote(spec, runtime, program=rclone) as remote:
        for call in (remote.list, remote.create):
            with pytest.raises(RemoteSignInError) as caught:
                await call()
            assert "not-the-password" not in caught.value.message
            assert spec.rpartition("=")[2].partition(":")[0] not in caught.value.message
        assert remote.requests.lists == 1, "no second try"


async def test_a_key_that_is_put_right_works_without_a_new_start(
    server_of: ServerOf, rclone: Path, runtime: Path
) -> None:
    server = server_of("s3")
    wrong = server.named("shelf", password="not-the-password")  # noqa: S106
    right = server.named("shelf")
    configure(wrong)
    async with open_remote("shelf:right", runtime, program=rclone) as remote:
        assert remote.label == "shelf:right"
        with pytest.raises(RemoteSignInError):
            await remote.create()
        configure(right)
        await remote.create()
        await remote.put("heads/aa/1", b"head")
        configure(wrong)
        assert await remote.get("heads/aa/1") == b"head", "what works is not set up anew"
    configure("")


def configure(text: str) -> None:
    """rclone's configuration, as `rclone config` would write it."""
    file = Path(os.environ["RCLONE_CONFIG"])
    before = file.stat().st_mtime_ns
    file.write_text(text)
    os.utime(file, ns=(before + 2_000_000_000, before + 2_000_000_000))  # rclone looks at the time, in coarse steps


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_is_not_there(kind: str, server_of: ServerOf, rclone: Path, runtime: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening: refuses
        spec = server_of(kind).spec("vault", port=taken.getsockname()[1])
        async with open_remote(spec, runtime, program=rclone, limits=SHORT) as remote:
            start = trio.current_time()
            with pytest.raises(RemoteUnavailableError, match=r"refused|no answer"):
                await remote.list("heads")
            assert trio.current_time() - start < 4


async def test_a_line_that_is_cut_and_heals(server_of: ServerOf, rclone: Path, runtime: Path) -> None:
    server = server_of("s3")
    data = os.urandom(8 << 20)
    async with line_to(server.port) as line:
        spec = server.spec("cut", port=line.port)
        async with open_remote(spec, runtime, program=rclone, limits=Limits(call=30)) as remote:
            await remote.create()
            await remote.put("heads/aa/1", b"head")
            await remote.limit_bandwidth(4 << 20)

            async def cut_in_the_middle() -> None:
                before = line.bytes_up
                while line.bytes_up < before + (1 << 20):
                    await line.moved()
                line.cut()
                await remote.limit_bandwidth(None)
                while remote.trouble is None:
                    await line.moved()
                assert isinstance(remote.trouble, RemoteUnavailableError)
                line.heal()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cut_in_the_middle)
                await remote.put(PACK, data)
            assert await remote.get(PACK) == data
            assert remote.trouble is None


async def test_what_a_store_is_asked_for_a_commit_and_a_poll(server_of: ServerOf, rclone: Path, runtime: Path) -> None:
    """Counted on the line to a real S3 server: what the bill says, not what we say."""
    server = server_of("s3")
    async with line_to(server.port) as line:
        spec = server.spec("counted", port=line.port)
        async with open_remote(spec, runtime, program=rclone) as remote:
            await remote.create()
            await remote.list("heads")
            line.requests.clear()
            before = dataclasses.replace(remote.requests)
            await remote.put(PACK, os.urandom(100_000))
            await remote.put("heads/aa/1", b"head")
            assert [method for method, _ in line.requests] == ["PUT", "PUT"], "nothing but the writes"
            assert (remote.requests - before).puts == 2
            line.requests.clear()
            await remote.list("heads")
            assert [method for method, _ in line.requests] == ["GET"], "one list, whatever is below"
            line.requests.clear()
            await remote.get(PACK, 500, 100)
            assert [method for method, _ in line.requests] == ["HEAD", "GET"]


class Disk:
    """A small disk of its own, mounted where a store keeps its objects."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self._place = place
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True)

    def writable(self, yes: bool) -> None:
        subprocess.run(["mount", "-o", f"remount,{'rw' if yes else 'ro'}", self._place], check=True)

    def fill(self) -> None:
        with contextlib.suppress(OSError), (self._place / "FILLER").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        (self._place / "FILLER").unlink()

    def end(self) -> None:
        subprocess.run(["umount", "--lazy", self._place], check=True)


@pytest.fixture
def disk_below() -> Iterator[Callable[[Place], Disk]]:
    disks: list[Disk] = []

    def make(place: Place) -> Disk:
        assert place.backing
        disks.append(Disk(place.backing))
        return disks[-1]

    yield make
    for disk in disks:
        disk.end()


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("kind", ["directory", "rclone-local", "sftp"])
async def test_a_disk_that_is_full_and_then_read_only(
    kind: str, place_of: Callable[[str], Place], disk_below: Callable[[Place], Disk]
) -> None:
    # One packet of SFTP: rclone's server loses its way where several wait for a disk that is full.
    place = place_of(kind)
    disk = disk_below(place)
    async with place.open() as remote:
        await remote.put("heads/aa/1", b"head")
        disk.fill()
        with pytest.raises(RemoteFullError):
            await remote.put(PACK, SMALL_PACK)
        assert isinstance(remote.trouble, RemoteFullError)
        assert await remote.get("heads/aa/1") == b"head"
        disk.empty()
        await remote.put(PACK, SMALL_PACK)
        disk.writable(False)
        with pytest.raises(RemotePermissionError):
            await remote.put("heads/aa/2", b"head")
        with pytest.raises(RemotePermissionError):
            await remote.delete("heads/aa/1")
        assert await remote.get(PACK, 0, 3) == bytes(3)
        disk.writable(True)
        await remote.delete(PACK)
        await remote.put("heads/aa/2", b"head")
        assert {name for name, _ in await remote.list()} == {"heads/aa/1", "heads/aa/2"}
        assert remote.trouble is None


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("kind", ["s3", "webdav"])
async def test_a_full_server_that_has_no_word_for_it(
    kind: str, place_of: Callable[[str], Place], disk_below: Callable[[Place], Disk]
) -> None:
    """rclone's own S3 and WebDAV servers try on by themselves: what remains for us is that time is over."""
    place = place_of(kind)
    disk = disk_below(place)
    async with place.open() as remote:
        await remote.put("heads/aa/1", b"head")
        disk.fill()
        with pytest.raises((RemoteUnavailableError, RemoteFullError)) as caught:
            await remote.put(PACK, bytes(1 << 20), within=1.5)
        assert remote.trouble is caught.value


async def test_a_disk_that_is_taken_away_is_no_empty_vault(place_of: Callable[[str], Place]) -> None:
    place = place_of("directory")
    async with place.open() as remote:
        await remote.put("heads/aa/1", b"head")
        assert place.backing
        place.backing.rename(place.backing.with_name("elsewhere"))
        for call in (
            lambda: remote.list("heads"),
            lambda: remote.get("heads/aa/1"),
            lambda: remote.put("heads/aa/2", b"head"),
            lambda: remote.delete("heads/aa/1"),
        ):
            with pytest.raises(RemoteGoneError):
                await call()
        assert not place.backing.exists()
        place.backing.with_name("elsewhere").rename(place.backing)
        assert await remote.get("heads/aa/1") == b"head"


async def test_a_directory_put_that_fails_leaves_nothing(
    place_of: Callable[[str], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of("directory")
    async with place.open() as remote:

        def failing(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(RemoteFullError):
            await remote.put("vault.1", b"header")
        monkeypatch.undo()
        assert place.backing
        assert list(place.backing.iterdir()) == []


async def test_remotes_that_rclone_does_not_know(rclone: Path, runtime: Path) -> None:
    for spec in ("nosuchremote:path", ":nosuchbackend:path"):
        async with open_remote(spec, runtime, program=rclone) as remote:
            with pytest.raises(RemoteNotConfiguredError):
                await remote.list()
    for spec in ("not a remote", "", ":local:/with]bracket"):
        with pytest.raises(UsageError):
            async with open_remote(spec, runtime, program=rclone):
                pass
