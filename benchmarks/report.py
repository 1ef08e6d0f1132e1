"""Medians, ratios and the Markdown table."""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

Rates = Mapping[str, Mapping[str, Sequence[float]]]  # target name -> workload name -> one rate per round


def medians(rates: Rates) -> dict[str, dict[str, float]]:
    """The median rate of each workload that a target finished at least once."""
    return {
        target: {name: statistics.median(runs) for name, runs in rows.items() if runs} for target, rows in rates.items()
    }


def means(middle: Mapping[str, Mapping[str, float]], base: str, names: Sequence[str]) -> dict[str, float | None]:
    """Geometric mean of the ratios to `base`; None for a target that lacks one of the workloads."""
    result: dict[str, float | None] = {}
    for target, rates in middle.items():
        ratios = [rates[name] / middle[base][name] for name in names if name in rates]
        result[target] = statistics.geometric_mean(ratios) if len(ratios) == len(names) and ratios else None
    return result


def table(rates: Rates, units: Mapping[str, str], unsafe: Sequence[str] = ()) -> str:
    """A Markdown table: rate and ratio to the first target; targets in `unsafe` carry a star."""
    middle = medians(rates)
    targets = list(rates)
    base = targets[0]
    names = [name for name in units if name in middle[base]]
    heads = [f"{target}*" if target in unsafe else target for target in targets]
    lines = [
        "| workload | unit | " + " | ".join(heads) + " |",
        "| --- | --- |" + " ---: |" * len(targets),
    ]
    for name in names:
        cells = [_cell(middle[target].get(name), middle[base][name], first=target == base) for target in targets]
        lines.append(f"| {name} | {units[name]} | " + " | ".join(cells) + " |")
    total = means(middle, base, names)
    cells = ["-" if total[target] is None else f"**{total[target]:.2f}**" for target in targets]
    lines.append("| **geometric mean** | of native | " + " | ".join(cells) + " |")
    if unsafe:
        lines += ["", "\\* does not honour fsync: its figures in rows with fsync are not comparable."]
    return "\n".join(lines)


def where() -> str:
    """The machine and the day, for the line above a table."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return f"{os.cpu_count()} cores, {memory} GiB, Linux {os.uname().release}, {datetime.now(UTC):%Y-%m-%d}"


def put(page: Path, mark: str, text: str) -> None:
    """Replaces what stands in `page` between the comments `mark` and `/mark`."""
    old = page.read_text()
    between = re.compile(f"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    new, count = between.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", old)
    if count != 1:
        raise ValueError(f"{page} has no place for {mark}")
    page.write_text(new)


def _cell(rate: float | None, base: float, *, first: bool) -> str:
    if rate is None:
        return "failed"
    shown = f"{rate:,.0f}" if rate >= 100 else f"{rate:.2f}" if rate < 10 else f"{rate:.1f}"
    return shown if first else f"{shown} ({rate / base:.2f})"
