"""Machines with wrong clocks, stale heads, renames, removals and units: all come to one tree, and nothing is lost.

Invariant 8 (design, section 2). A failure names its seed: `run(seed, careful=True)` looks after every step.
"""

from __future__ import annotations

import pytest

from tests.sync.history import run


@pytest.mark.parametrize("start", range(0, 800, 100))
@pytest.mark.parametrize("leaf", [300, 16 << 10], ids=["tries", "leaves"])
def test_histories(start: int, leaf: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaultfs.format.node_summary.LEAF_WEIGHT", leaf)
    for number in range(start, start + 50):
        run(number * 2 + (leaf == 300))


def test_looking_after_every_step() -> None:
    for number in range(30):
        run(10_000 + number, careful=True)


def test_a_held_file_is_written_whose_start_was_moved_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by a seed: what it was made from goes, wherever it stands by then."""
    monkeypatch.setattr("vaultfs.format.node_summary.LEAF_WEIGHT", 300)
    run(2124875977006)


def test_histories_of_this_run(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """New ones each time."""
    monkeypatch.setattr("vaultfs.format.node_summary.LEAF_WEIGHT", 300)
    for number in range(50):
        run(seed * 1000 + number)
