"""The arithmetic of benchmarks/more, and its options: what its tables say must be what was measured."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.fsbench import chosen
from benchmarks.more_base import pieces, shown
from benchmarks.more_bench import PARTS
from benchmarks.more_day import slope
from benchmarks.more_latency import percentile
from benchmarks.more_processes import end, processes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(50, 50), (90, 90), (99, 99), (100, 100), (0.1, 1)],
)
def test_a_percentile_is_a_figure_that_was_measured(percent: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_a_percentile_of_few_is_the_next_larger_one() -> None:
    assert [percentile([30, 10, 20], percent) for percent in (33, 34, 50, 99)] == [10, 20, 20, 30]


def test_slope_is_the_growth_of_one_round() -> None:
    assert slope([5, 8, 11, 14]) == pytest.approx(3)
    assert slope([100, 130, 100, 130, 100]) == pytest.approx(0)


def test_figures_have_the_digits_that_mean_something() -> None:
    assert [shown(figure) for figure in (12345.6, 12.34, 1.234, None)] == ["12,346", "12.3", "1.23", "-"]


def test_pieces_are_the_same_each_time_and_never_alike() -> None:
    first = [bytes(piece) for piece in pieces(4, 1)]
    assert first == [bytes(piece) for piece in pieces(4, 1)]
    assert len(set(first)) == 4


def test_parts_are_chosen_by_name() -> None:
    assert chosen("day,cpu", list(PARTS), "part") == ["cpu", "day"]
    with pytest.raises(SystemExit, match="no such part: days"):
        chosen("days", list(PARTS), "part")


def test_processes_are_found_by_their_directory_and_ended(tmp_path: Path) -> None:
    # Its child does not name the directory and is found all the same.
    program = (
        "import subprocess, sys; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "mnt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            found = processes(tmp_path)
            assert set(found) == {process.pid, child}
            assert os.getpid() not in found
        finally:
            end_both(tmp_path, process)
    assert processes(tmp_path) == {}


def end_both(home: Path, process: subprocess.Popen[str]) -> None:
    """One that has ended has no command any more, so that our not waiting for it is no matter."""
    end(home)
    process.wait(10)
