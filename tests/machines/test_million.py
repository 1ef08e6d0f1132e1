"""A vault of a million files: what one change costs, and how soon another machine has it."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

import pytest

from tests.machines.computer import FILE, Computer
from tests.machines.test_costs import KIB, spent
from tests.remote.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.trio, pytest.mark.long]

DIRECTORIES = FILES = 1000


@pytest.mark.timeout(3000)
async def test_one_change_in_a_million(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backend, told = MemoryBackend(), []
    a = Computer(tmp_path, "a", backend)
    await a.begin()
    start = time.process_time()
    for number in range(DIRECTORIES):
        await a.mkdir(f"d{number}")
        directory = await a.find(f"d{number}")
        for name in range(FILES):
            a.tree.names.make(directory, b"file%06d" % name, FILE, 1000, 1000)
    made = time.process_time() - start
    first = await spent(a, backend)
    told.append(f"made in {made:.0f} s; first commit: {first[1] >> 20} MiB, {first[2]:.0f} s of processor")
    for number in (7, 471, 900):
        await a.write(f"d{number}/file{number:06}", b"changed")
        puts, size, cpu = await spent(a, backend)
        told.append(f"one of a million: {size} bytes in {puts} objects, {cpu * 1000:.0f} ms of processor")
        assert puts == 2
        assert size <= 100 * KIB
        assert cpu < 0.2
    b = Computer(tmp_path, "b", backend)
    start = time.process_time()
    await b.begin()
    requests = b.remote.requests
    told.append(f"joined: {requests}, {(time.process_time() - start) * 1000:.0f} ms of processor")
    assert requests.gets + requests.lists <= 8
    assert await b.read("d471/file000471") == b"changed"
    told.append(f"first file: {requests}; memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
    assert requests.gets + requests.lists <= 20
    with capsys.disabled():
        print("\n" + "\n".join(told))  # noqa: T201 - the figures
    for computer in (a, b):
        computer.close()
