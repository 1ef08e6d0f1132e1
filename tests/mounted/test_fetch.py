"""Requests that meet what is not on this machine wait for it, hold nobody else up, and do not wait for ever."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.lacking import FETCH_SECONDS
from tests.support.served import Served, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READERS = 200
pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse"),
]


@pytest.fixture(scope="module")
def vault() -> Iterator[Served]:
    with served("tests.support.lacking:control") as running:
        yield running


def evict(path: object) -> None:
    """The kernel forgets the pages of a file (they are clean after the fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def hear_fetching(vault: Served, ino: int, times: int = 1) -> None:
    for _ in range(times):
        assert vault.hear() == {"fetching": ino}


def in_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Starts it; the result waits for its end."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function)
    pool.shutdown(wait=False)
    return lambda: future.result(30)


def test_a_read_waits_for_the_content(vault: Served) -> None:
    path = vault.mountpoint / "read"
    path.write_bytes(b"r" * 300_000)
    evict(path)
    ino = path.stat().st_ino
    vault.ask(miss=ino)
    result = in_thread(path.read_bytes)
    hear_fetching(vault, ino)
    assert vault.mountpoint.stat(), "others are answered meanwhile"
    vault.process.stdin.write(f'{{"come": {ino}}}\n')
    vault.process.stdin.flush()
    assert result() == b"r" * 300_000
    while "waiting" not in vault.hear():  # read-ahead asked for more than one piece at once
        pass


@pytest.mark.parametrize(
    "act",
    [
        os.listdir,
        lambda path: path.joinpath("f").exists(),
        lambda path: path.joinpath("new").write_bytes(b"n"),
        lambda path: path.joinpath("d").mkdir(),
        lambda path: path.joinpath("l").symlink_to("f"),
        lambda path: os.link(path.parent / "outside", path / "link"),
        lambda path: os.rename(path.parent / "outside", path / "came"),
    ],
    ids=["readdir", "lookup", "create", "mkdir", "symlink", "link", "rename"],
)
def test_a_directory_is_expanded_first(vault: Served, act: Callable[[Any], Any], request: Any) -> None:
    base = vault.mountpoint / f"expand-{request.node.callspec.id}"
    path = base / "dir"
    path.mkdir(parents=True)
    (base / "outside").write_bytes(b"")
    ino = path.stat().st_ino
    vault.ask(miss=ino)
    result = in_thread(lambda: act(path))
    hear_fetching(vault, ino)
    vault.ask(come=ino)
    result()


@pytest.mark.parametrize(
    "act",
    [
        lambda path: os.truncate(path, 10),
        lambda path: path.write_bytes(b"new"),
        lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)),
    ],
    ids=["truncate", "rewrite", "open-truncating"],
)
def test_changes_of_content_wait_too(vault: Served, act: Callable[[Any], Any], request: Any) -> None:
    path = vault.mountpoint / f"change-{request.node.callspec.id}"
    path.write_bytes(b"c" * 5000)
    ino = path.stat().st_ino
    vault.ask(miss=ino)
    result = in_thread(lambda: act(path))
    # The stand-in lacks the content for truncating, too, which the tree needs only to cut a block in two.
    hear_fetching(vault, ino)
    vault.ask(come=ino)
    result()
    assert path.stat().st_size in {0, 3, 10}


def test_what_does_not_come_in_time_is_an_error(vault: Served) -> None:
    path = vault.mountpoint / "never"
    path.mkdir()
    ino = path.stat().st_ino
    vault.ask(miss=ino)
    began = time.monotonic()
    with pytest.raises(OSError) as caught:  # noqa: PT011
        os.listdir(path)
    assert caught.value.errno == errno.EIO
    assert FETCH_SECONDS * 0.9 < time.monotonic() - began < FETCH_SECONDS * 6
    hear_fetching(vault, ino)
    assert vault.ask(come=ino) == {"waiting": 0}


def test_what_was_fetched_in_vain_is_an_error_too(vault: Served) -> None:
    path = vault.mountpoint / "vain"
    path.mkdir()
    ino = path.stat().st_ino
    vault.ask(miss=ino)
    vault.ask(vain=ino, come=ino)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        os.listdir(path)
    hear_fetching(vault, ino, 3)
    vault.ask()


def test_many_who_wait_stop_nobody(vault: Served) -> None:
    """READERS processes' worth of waiting reads; meanwhile names are looked up, and a write reaches the disk."""
    paths = [vault.mountpoint / f"slow-{number}" for number in range(READERS)]
    for path in paths:
        path.write_bytes(b"s" * 200_000)
    os.sync()
    for path in paths:
        evict(path)
        vault.ask(miss=path.stat().st_ino)
    threads = [threading.Thread(target=path.read_bytes, daemon=True) for path in paths]
    for thread in threads:
        thread.start()
    seen = set()
    while len(seen) < READERS:
        seen.add(vault.hear()["fetching"])
    code = (
        "import os, sys, time; took = []\n"
        "for n in range(21):\n"
        "    t = time.perf_counter()\n"
        "    f = open(sys.argv[1] + f'/quick-{n}', 'wb'); f.write(b'q' * 9000); f.flush(); os.fsync(f.fileno())\n"
        "    f.close(); os.unlink(f.name); took.append(time.perf_counter() - t)\n"
        "print(sorted(took)[10])\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(vault.mountpoint)], capture_output=True, text=True, timeout=90, check=True
    )
    assert float(out.stdout) < 0.5, "a file was made and synced in good time"
    for path in paths:
        vault.process.stdin.write(f'{{"come": {path.stat().st_ino}}}\n')
    vault.process.stdin.flush()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    answers = 0
    while answers < READERS:
        answers += "waiting" in vault.hear()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [("ls",), ("stat", "--"), ("touch",)], ids=["readdir", "lookup", "create"])
def test_who_is_killed_while_waiting_ends_soon(vault: Served, words: tuple[str, ...], number: int) -> None:
    path = vault.mountpoint / f"dead-{words[0]}-{number}"
    path.mkdir()
    ino = path.stat().st_ino
    vault.ask(miss=ino)
    program = subprocess.Popen(
        [*words, str(path if words[0] == "ls" else path / "f")],
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    hear_fetching(vault, ino)
    program.send_signal(number)
    assert program.wait(FETCH_SECONDS / 2) == -number
    assert vault.ask(come=ino) == {"waiting": 0}


def test_a_killed_reader_ends_at_once(vault: Served) -> None:
    path = vault.mountpoint / "killed"
    path.write_bytes(b"k" * 100_000)
    evict(path)
    ino = path.stat().st_ino
    vault.ask(miss=ino)
    reader = subprocess.Popen(["cat", str(path)], stdout=subprocess.DEVNULL)
    hear_fetching(vault, ino)
    reader.kill()
    assert reader.wait(FETCH_SECONDS / 2) == -9
    vault.ask(come=ino)
