"""Processors are kept awake while requests come quickly, and no longer."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest
import trio

from tests.mounted.conftest import mounted
from tests.support.lane import SECONDS, kernel
from tests.support.lane import record as request
from vaultfs.fuse.fast import quick_wakes
from vaultfs.fuse.fast.quick_wakes import ANY_US, BURST, DEVICE, SHALLOW_US, VIRTUAL_US, QuickWakes
from vaultfs.fuse.fast.wire import Op

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.lane import Kernel

GETATTR = request(Op.GETATTR, 1, bytes(16))
MAY_OPEN = os.access(DEVICE, os.W_OK)


def said(device: Path) -> list[int]:
    """What was asked for, in order, in µs."""
    return [us for (us,) in struct.iter_unpack("=i", device.read_bytes())]


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A file that keeps what is written."""
    path = tmp_path / "cpu_dma_latency"
    path.touch()
    return path


async def quiet(device: Path) -> None:
    """Until processors may sleep again."""
    with trio.fail_after(SECONDS):
        while said(device)[-1:] != [ANY_US]:  # noqa: ASYNC110 - a file tells nobody
            await trio.sleep(0.005)


async def work(asked: Kernel) -> None:
    """A burst: all lie ready, so each is quick after the one before it."""
    for unique in range(100):
        await asked.send(request(Op.GETATTR, 1, bytes(16), unique=unique + 2))
    for unique in range(100):
        assert (await asked.hear(unique + 2))[0] == 0


@pytest.mark.trio
async def test_they_are_asked_for_once_a_burst(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_wakes, "QUIET_NS", 300_000_000)
    async with kernel(QuickWakes(str(device))) as asked:
        for burst in range(1, 4):
            await work(asked)
            await quiet(device)
            assert said(device) == [said(device)[0], ANY_US] * burst
    assert said(device)[0] in {VIRTUAL_US, SHALLOW_US}


@pytest.mark.trio
async def test_a_few_requests_ask_for_nothing(device: Path) -> None:
    async with kernel(QuickWakes(str(device))) as asked:
        for _ in range(3):
            await trio.sleep(0.02)  # a program that thinks: nothing is waited for here
            for _ in range(BURST - 1):
                assert (await asked.ask(GETATTR))[0] == 0
    assert said(device) == []


@pytest.mark.parametrize(
    ("driver", "us"), [("haltpoll\n", VIRTUAL_US), ("intel_idle\n", SHALLOW_US), (None, SHALLOW_US)]
)
def test_how_light_a_sleep_depends_on_the_machine(
    device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str | None, us: int
) -> None:
    monkeypatch.setattr(quick_wakes, "DRIVER", tmp_path / "driver")
    if driver is not None:
        (tmp_path / "driver").write_text(driver)
    wakes = QuickWakes(str(device))
    wakes.ask()
    wakes.close()
    assert said(device) == [us]


@pytest.mark.trio
@pytest.mark.parametrize("place", ["/nowhere/there", "/dev/full"])
async def test_where_they_cannot_be_had_work_goes_on(place: str) -> None:
    wakes = QuickWakes(place)
    async with kernel(wakes) as asked:
        for _ in range(3):
            await work(asked)
    assert not wakes.available
    assert place in wakes.lack


def test_switched_off(device: Path) -> None:
    wakes = QuickWakes(str(device), wanted=False)
    assert (wakes.available, wakes.lack) == (False, "switched off")
    wakes.close()


@pytest.mark.skipif(not MAY_OPEN, reason="only root may ask for it")
def test_linux_takes_it() -> None:
    number = os.open(DEVICE, os.O_RDWR)
    try:
        wakes = QuickWakes()
        wakes.ask()
        (us,) = struct.unpack("=i", os.read(number, 4))
        wakes.close()
    finally:
        os.close(number)
    assert us <= SHALLOW_US, "the least that anybody asked for counts"


@pytest.mark.fuse
@pytest.mark.skipif(os.environ.get("VAULTFS_LANE") == "pyfuse3", reason="a part of the fast lane")
@pytest.mark.parametrize("wanted", ["true", "false"])
def test_a_mount_says_whether(wanted: str) -> None:
    with mounted(environment={"VAULTFS_QUICK_WAKES": wanted}) as machine:
        here = QuickWakes(wanted=wanted == "true")
        assert machine.status()["fuse"]["quick_wakes"] == (here.lack or "yes")
        here.close()
