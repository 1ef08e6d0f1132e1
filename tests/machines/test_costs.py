"""What things cost: requests and bytes are counted, CPU is measured with much room."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.machines.computer import FILE, Computer
from tests.remote.memory import MemoryBackend
from vaultfs.sync.units import SQLITE_MAGIC

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.trio

NAMES = 20_000
DATABASE = 50 << 20
KIB = 1 << 10


async def spent(computer: Computer, backend: MemoryBackend) -> tuple[int, int, float]:
    """Commit and publish: requests that write, bytes that came to the store, CPU seconds."""
    before, puts, cpu = set(backend.objects or {}), computer.remote.requests.puts, time.process_time()
    assert await computer.commit()
    await computer.publish()
    new = sum(len(data) for name, data in (backend.objects or {}).items() if name not in before)
    return computer.remote.requests.puts - puts, new, time.process_time() - cpu


async def test_one_change_among_many_files(tmp_path: Path) -> None:
    backend = MemoryBackend()
    a = Computer(tmp_path, "a", backend)
    await a.begin()
    await a.mkdir("d")
    directory = await a.find("d")
    for number in range(NAMES):
        node = a.tree.names.make(directory, b"file%06d" % number, FILE, 1000, 1000)
        a.tree.content.write(node.ino, 0, b"content %d" % number)
    await spent(a, backend)
    for number in (7, 4711):
        await a.write(f"d/file{number:06}", b"changed")
        puts, size, cpu = await spent(a, backend)
        assert puts == 2
        assert size <= 100 * KIB
        assert cpu < 0.2
    await a.write("elsewhere", b"new")
    assert (await spent(a, backend))[1] <= 20 * KIB

    b = Computer(tmp_path, "b", backend)
    await b.begin()
    requests = b.remote.requests
    assert requests.gets + requests.lists <= 8, "and two for the header"
    assert await b.read("elsewhere") == b"new"
    assert requests.gets + requests.lists <= 10, "a file at the top needs nothing of the large directory"
    assert await b.read("d/file004711") == b"changed"
    assert requests.gets + requests.lists <= 40
    for computer in (a, b):
        computer.close()


async def test_a_transaction_in_a_large_database(tmp_path: Path) -> None:
    backend = MemoryBackend()
    a, b = Computer(tmp_path, "a", backend), Computer(tmp_path, "b", backend)
    await a.begin()
    await a.write("s.db", SQLITE_MAGIC)
    for offset in range(1 << 20, DATABASE, 1 << 20):
        await a.patch("s.db", offset, os.urandom(1 << 20))
    await spent(a, backend)
    await b.begin()
    assert len(await b.read("s.db")) == DATABASE
    await b.follow()
    before = b.remote.requests.bytes_down
    for page in (1, 3000, 9000):
        await a.patch("s.db", page * 4096, os.urandom(4096))
    await a.write("s.db-wal", os.urandom(3 * 4120 + 32))
    puts, size, _ = await spent(a, backend)
    assert puts == 2
    assert size <= 300 * KIB
    await b.follow()
    assert await b.read("s.db") == await a.read("s.db")
    assert b.remote.requests.bytes_down - before <= 3 * size, "what did not change is not fetched again"
    for computer in (a, b):
        computer.close()
