"""A disk that is full, broken or gone read-only at the n-th write: said, survived, and nothing acknowledged is lost."""

from __future__ import annotations

import errno
import os
import time

import pytest

from tests.crash.claims import events
from tests.crash.cuts import machine_on_a_lossy_disk
from tests.crash.load import Load
from tests.support.driver import find_key

pytestmark = [pytest.mark.fuse, pytest.mark.slow]
WORKERS = ("saver", "appender", "wal")
CASES = [(errno.ENOSPC, n) for n in (0, 1, 3, 10, 60)] + [(errno.EIO, 0), (errno.EIO, 25), (errno.EROFS, 7)]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("code", "after"), CASES, ids=[f"{errno.errorcode[c]}-{n}" for c, n in CASES])
def test_a_disk_that_fails(code: int, after: int) -> None:
    with machine_on_a_lossy_disk() as (home, disk):
        root = home.mount()
        (root / "before").write_bytes(b"written before" * 1000)
        fd = os.open(root / "before", os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        load = Load(root / "load", home.home / "logs", code + after, WORKERS)
        load.directory.mkdir()
        load.start()
        load.wait_for_acknowledgements()
        at = time.monotonic()
        disk.fault(code, after)
        deadline = at + 3
        while time.monotonic() < deadline:
            if all(events(load.logs / name)[-1]["event"] == "error" for name in WORKERS):
                break
            time.sleep(0.05)
        # the mount still answers, and what was there can be read
        assert (root / "before").read_bytes() == b"written before" * 1000
        assert "load" in os.listdir(root)
        status = home.status()
        wrong = load.crashed(at=at, seconds=0.5) if load_ended(load) else load.stop(at=at)
        hits = disk.heal()["hits"]
        errors = {name: events(load.logs / name)[-1].get("text", "") for name in WORKERS}
        if code != errno.ENOSPC:
            assert hits, "the fault was never met"
            assert find_key(status["health"], "ok") is False, f"not said: {status['health']}"
        if hits:
            assert any(errors.values()), "the disk refused, and no program was told"
        done = home.run("umount", str(home.mountpoint), check=False)
        assert "Traceback" not in done.stderr
        home.abandon()
        home.mount()
        assert (root / "before").read_bytes() == b"written before" * 1000
        wrong += load.verify()
        assert not wrong, "\n".join(wrong)
        assert find_key(home.status()["health"], "ok") is True
        (root / "after").write_bytes(b"works again")
        home.umount()


def load_ended(load: Load) -> bool:
    """Whether every worker has said goodbye."""
    return all(events(load.logs / name)[-1]["event"] == "error" for name in load.names)


@pytest.mark.timeout(120)
def test_space_comes_back_without_a_remount() -> None:
    """A full disk is no reason to start again: with room, writing goes on."""
    with machine_on_a_lossy_disk() as (home, disk):
        root = home.mount()
        (root / "f").write_bytes(b"x" * 100_000)
        disk.fault(errno.ENOSPC, 0)
        refused = None
        try:
            for number in range(400):  # what fits into room that vaultfs has already taken may still be accepted
                with (root / f"g{number}").open("wb") as file:
                    file.write(os.urandom(200_000))
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            refused = error.errno
        assert refused == errno.ENOSPC
        assert (root / "f").read_bytes() == b"x" * 100_000
        assert find_key(home.status()["health"], "ok") is False
        disk.heal()
        deadline = time.monotonic() + 90
        while True:
            try:
                with (root / "again").open("wb") as file:
                    file.write(b"works")
                    file.flush()
                    os.fsync(file.fileno())
                break
            except OSError:
                assert time.monotonic() < deadline, "the disk has room again, the vault does not take it"
                time.sleep(0.2)
        home.umount()
        home.mount()
        assert (root / "again").read_bytes() == b"works"
        home.umount()
