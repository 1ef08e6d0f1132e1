"""Invariant 1: what fsync acknowledged survives a power cut, on a disk that keeps only what was synced."""

from __future__ import annotations

import os
import random

import pytest

from tests.crash.cuts import CutRounds, machine_on_a_lossy_disk

pytestmark = [pytest.mark.fuse, pytest.mark.slow]


@pytest.mark.timeout(300)
def test_invariant_1_nothing_acknowledged_is_lost_by_a_power_cut(request: pytest.FixtureRequest, seed: int) -> None:
    wanted = request.config.getoption("--cuts")
    wrong: list[str] = []
    with machine_on_a_lossy_disk() as (home, disk):
        rounds = CutRounds(home, disk, seed)
        while rounds.cuts < wanted and not wrong:
            wrong = rounds.round()
    assert not wrong, "\n".join(wrong)
    assert rounds.acknowledged > 20 * rounds.number, "the load did too little to prove anything"


def test_a_new_vault_survives_a_power_cut() -> None:
    """`init` and `umount` have returned: the vault is on the platter, header, device and all."""
    rng = random.Random(1)
    with machine_on_a_lossy_disk() as (home, disk):
        disk.cut(rng, drop_all=True)
        disk.detach()
        disk.start()
        home.mount()
        (home.mountpoint / "file").write_bytes(b"content")
        os.sync()
        home.umount()
        disk.cut(rng, drop_all=True)
        disk.detach()
        disk.start()
        home.mount()
        assert (home.mountpoint / "file").read_bytes() == b"content"
        home.umount()
        assert home.run("check", "--read-data", check=False).returncode == 0
