"""What an edit and a new machine cost: requests, objects, bytes, processor. Counted where they arrive."""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.machines_mounted.conftest import join

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.machines_mounted.desk import Desk
    from tests.machines_mounted.store import Store

CALM = {"VAULTFS_COMMIT_AFTER": "0.3", "VAULTFS_COMMIT_EVERY": "1", "VAULTFS_POLL": "0.5", "VAULTFS_IDLE_POLL": "0.5"}


def fill(top: Path, files: int, total: int, folders: int) -> None:
    """So many files with so many bytes together, no two alike."""
    rng = random.Random(7)
    size = total // files
    block = rng.randbytes(size)
    for folder in range(folders):
        where = top / f"dir{folder}"
        where.mkdir(parents=True)
        for number in range(files // folders):
            with open(where / f"file{number}", "wb") as file:
                file.write(b"%d %d " % (folder, number) + block)


class Meter:
    """What appears on the remote between two looks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before = store.objects()

    def new(self) -> dict[str, int]:
        """Objects that were not there before, and their sizes."""
        now = self._store.objects()
        new = {name: size for name, size in now.items() if name not in self._before}
        self._before = now
        return new


def quiet(desk: Desk) -> None:
    """Until nothing waits and nothing is under way."""
    desk.sync()
    desk.until(lambda: not any(desk.now()["sync"]["pending"][what] for what in ("commits", "files", "bytes")))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_joining_a_vault_of_many_files(
    request: pytest.FixtureRequest, desk: Callable[..., Desk], capsys: pytest.CaptureFixture[str]
) -> None:
    large = request.config.getoption("--large")
    files, total = (100_000, 5 << 30) if large else (20_000, 200 << 20)
    a, b = desk("a", pace=CALM), desk("b", pace=CALM)
    a.make()
    top = a.mount()
    fill(top / "vault", files, total, files // 500)
    a.run("handoff", "--vault", "vault", "--timeout", "2000", seconds=2000)
    b.key.write_bytes(a.key.read_bytes())
    start = time.monotonic()
    b.mount()
    seconds = time.monotonic() - start
    requests = b.status()["sync"]["requests"]
    mounting = requests["gets"] + requests["puts"]  # lists are polls, more of them the busier this machine is
    data = b.path("vault/dir3/file7").read_bytes()
    after = b.status()["sync"]["requests"]
    first = after["gets"] - requests["gets"]  # polls meanwhile are lists
    assert data.startswith(b"3 7 ")
    with capsys.disabled():
        print(f"\n{files} files: joined in {seconds:.1f} s, {requests}; first file {first} requests, {after}")  # noqa: T201
    assert mounting <= 10, requests
    assert first <= 10, "4 on a quiet machine; the parts of a directory one after the other would be 36"
    assert len(os.listdir(b.path("vault"))) == files // 500


def asked(requests: dict[str, int]) -> int:
    """How many requests."""
    return sum(count for name, count in requests.items() if not name.startswith("bytes"))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_what_an_edit_costs(
    request: pytest.FixtureRequest, desk: Callable[..., Desk], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    large = request.config.getoption("--large")
    files, size = (100_000, 200 << 20) if large else (20_000, 50 << 20)
    a = desk("a", pace=CALM)
    a.make()
    top = a.mount()
    (top / "session.jsonl").write_bytes(random.Random(1).randbytes(5 << 20).hex().encode())
    (top / "many").mkdir()
    for number in range(files):
        (top / f"many/file{number}").touch()
    db = sqlite3.connect(top / "state.db", isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("create table t (id integer primary key, x)")
    rng = random.Random(2)
    while (top / "state.db").stat().st_size < size:
        db.execute("begin")
        db.executemany("insert into t (x) values (?)", [(rng.randbytes(2000),) for _ in range(2000)])
        db.execute("commit")
        db.execute("pragma wal_checkpoint(truncate)")
    a.run("handoff", "--vault", "vault", "--timeout", "1000", seconds=1000)
    meter = Meter(store)
    told: list[str] = []

    def measured(what: str, edit: Callable[[], Any]) -> tuple[int, int, float]:
        quiet(a)
        meter.new()
        before = a.cpu()
        edit()
        quiet(a)
        used = a.cpu() - before
        new = meter.new()
        told.append(f"{what}: {sum(new.values())} bytes in {len(new)} objects, {used * 1000:.0f} ms of processor")
        return sum(new.values()), len(new), used

    def append() -> None:
        with (top / "session.jsonl").open("ab") as file:
            file.write(b"x" * 299 + b"\n")

    idle = measured("nothing", lambda: None)
    appended = measured("a line of 300 bytes to 10 MB", append)
    changed = measured(f"one of {files} files", lambda: (top / f"many/file{files // 2}").write_text("changed"))
    row = measured(
        f"a transaction in a database of {size >> 20} MB",
        lambda: db.execute("update t set x = ? where id = 777", (rng.randbytes(2000),)),
    )
    again = measured("another", lambda: db.execute("insert into t (x) values (?)", (rng.randbytes(2000),)))
    db.close()
    with capsys.disabled():
        print("\n" + "\n".join(told))  # noqa: T201 - the figures
    assert idle[1] == 0, "who does nothing publishes nothing"
    assert appended[0] <= 40 << 10
    assert appended[1] == 2
    assert changed[0] <= 100 << 10
    assert changed[2] - idle[2] < (0.2 if large else 0.4), "mostly what the commands cost"
    assert max(row[0], again[0]) <= 300 << 10


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("live", [False, True], ids=["default", "live"])
@pytest.mark.parametrize("stays_open", [False, True], ids=["closed", "open"])
def test_how_soon_an_edit_is_there(
    request: pytest.FixtureRequest,
    desk: Callable[..., Desk],
    capsys: pytest.CaptureFixture[str],
    *,
    live: bool,
    stays_open: bool,
) -> None:
    tries = 30 if request.config.getoption("--large") else 8
    settings = {"live": "true"} if live else {}
    a, b = desk("a", pace={}, **settings), desk("b", pace={}, **settings)
    join(a, b)
    a.path("log").write_text("start\n")
    a.sync()
    b.until_reads("log", b"start\n")
    found = []
    rng = random.Random(3)
    file = a.path("log").open("a") if stays_open else None
    try:
        for number in range(tries):
            time.sleep(1 + rng.random())  # an agent thinks; polls are not in step with it
            line = f"line {number}\n"
            text = line.encode()
            if file is None:
                with a.path("log").open("a") as once:
                    once.write(line)
            else:
                file.write(line)
                file.flush()
            start = time.monotonic()
            b.until(lambda text=text: b.path("log").read_bytes().endswith(text))
            found.append(time.monotonic() - start)
    finally:
        if file is not None:
            file.close()
    middle = statistics.median(found)
    with capsys.disabled():
        how = f"{'live' if live else 'default'}, {'open' if stays_open else 'closed'}"
        print(f"\n{how}: median {middle:.2f} s, {min(found):.2f} to {max(found):.2f}")  # noqa: T201 - the figures
    assert middle < (0.8 if live else 2.5) * (1 if request.config.getoption("--large") else 2)
