"""The tables of `benchmarks/handoff`."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benchmarks.memory_use import table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Facts = dict[str, Any]
MISSING = "-"
APPENDED = "300 bytes added to 10 MB, file still open, s"
LOAD = "other work on the machine: its load before the first row"


def page(targets: Mapping[str, Facts], total: int) -> str:
    """Markdown: figures with their ratio to the first target, what became of databases, what each target is."""
    about = "\n".join(f"- **{name}**: {facts['version']}, {facts['about']}." for name, facts in _measured(targets))
    absent = [name for name, facts in targets.items() if facts.get("missing")]
    machine = next((facts["measured"] for _, facts in _measured(targets)), "")
    parts = [
        f"1,000 files, {total / 1e6:.0f} MB. {machine}. In brackets: times the figure of the first column.",
        _figures(targets),
        _databases(targets),
        _conflicts(targets),
        about,
    ]
    if absent:
        parts.append(f"Not installed, not measured: {', '.join(absent)}.")
    return "\n\n".join(parts)


def _measured(targets: Mapping[str, Facts]) -> list[tuple[str, Facts]]:
    return [(name, facts) for name, facts in targets.items() if "version" in facts]


def _figures(targets: Mapping[str, Facts]) -> str:
    rows: list[tuple[str, Callable[[Facts], float | None], str]] = [
        ("1,000 files are on the other side, s", lambda f: f["handoff"]["files"], "{:.1f}"),
        ("…and the database in use, s", lambda f: f["handoff"]["database"], "{:.1f}"),
        ("bytes up, MB", lambda f: f["handoff"]["up"] / 1e6, "{:.1f}"),
        ("requests", lambda f: f["handoff"]["requests"] or None, "{:,.0f}"),
        ("`vaultfs handoff` after an edit, s", lambda f: f["verb"]["seconds"], "{:.2f}"),
        (APPENDED, lambda f: _middle(f["append"]["seconds"]), "{:.2f}"),
        ("bytes up, KB", lambda f: _middle(f["append"]["up"]) / 1e3, "{:,.1f}"),  # type: ignore[operator]
        ("requests, until 3 s later", lambda f: _middle(f["append"]["requests"]) or None, "{:,.0f}"),
        ("small edits, median, s", lambda f: _middle(f["edits"]["seconds"]), "{:.2f}"),
        ("90 of 100, s", lambda f: _tenth(f["edits"]["seconds"]), "{:.2f}"),
        ("the slowest, s", lambda f: max(f["edits"]["seconds"]), "{:.2f}"),
        (LOAD, lambda f: f["handoff"]["load"], "{:.0f}"),
    ]
    lines = []
    for title, figure, shape in rows:
        values = [_value(figure, facts) for facts in targets.values()]
        cells = [_cell(value, values[0], shape, alone=not n or title == LOAD) for n, value in enumerate(values)]
        if title == APPENDED:
            cells = [_append(cell, facts) for cell, facts in zip(cells, targets.values(), strict=True)]
        lines.append([title, *cells])
    return table(["", *targets], lines)


def _value(figure: Callable[[Facts], float | None], facts: Facts) -> float | None:
    try:
        return figure(facts)
    except (KeyError, TypeError, statistics.StatisticsError):
        return None


def _cell(value: float | None, base: float | None, shape: str, *, alone: bool) -> str:
    if value is None:
        return MISSING
    ratio = "" if alone or not base else f" ({value / base:.1f})"
    return shape.format(value) + ratio


def _append(cell: str, facts: Facts) -> str:
    closed = facts.get("append", {}).get("after_close")
    return cell if cell != MISSING or closed is None else f"never; {closed:.1f} after the close"


def _middle(values: Sequence[float | None]) -> float | None:
    return None if None in values else statistics.median(v for v in values if v is not None)


def _tenth(values: Sequence[float | None]) -> float | None:
    return None if None in values else statistics.quantiles([v for v in values if v is not None], n=10)[-1]


def _databases(targets: Mapping[str, Facts]) -> str:
    lines = []
    for name, facts in targets.items():
        found = facts.get("states", {})
        if "seen" not in found:
            lines.append([name, found.get("failed", MISSING)[:80], MISSING, MISSING, MISSING])
            continue
        age = f"{statistics.median(found['age']):.1f}" if found["age"] else MISSING
        faults = "; ".join(sorted(set(found["faults"]))) or ("none" if found["seen"] else MISSING)
        end = "; ".join(f"{side.upper()}: {what}" for side, what in found["end"].items() if what) or "whole on both"
        intact = f"{found['intact']} of {found['seen']}" if found["seen"] else "none came"
        lines.append([name, intact, age, faults, end])
    heads = ["a database in use", "intact states", "their age, s", "what was wrong", "when the program has ended"]
    return table(heads, lines)


def _conflicts(targets: Mapping[str, Facts]) -> str:
    lines = []
    for name, facts in targets.items():
        found = facts.get("both", {})
        if "kept" not in found:
            lines.append([name, found.get("failed", MISSING)[:80], MISSING, MISSING])
            continue
        kept = found["kept"]
        note = " and ".join(mark for mark in "AB" if kept[f"note {mark}"]) or "neither"
        database = ", ".join(f"{mark} {kept[f'database {mark}']}" for mark in "AB")
        faults = sorted({place["database"]["fault"] for place in found["in_place"].values()} - {""})
        left = [*(["the machines differ"] if not found["same"] else []), *faults]
        left += [f"a lone {lone}" for lone in found["lone"]]
        left += [f"{mark}'s text is gone" for mark in "AB" if not kept[f"note {mark}"]]
        left += [f"acknowledged transactions of {mark} are gone" for mark in "AB" if _gone(kept[f"database {mark}"])]
        lines.append([name, note, database, "; ".join(left) or "nothing"])
    heads = ["both wrote", "kept of the file", "kept of the database, transactions", "what is wrong afterwards"]
    return table(heads, lines)


def _gone(kept: str) -> bool:
    """Whether "17 of 20" says that some are missing."""
    some, all_of_them = kept.split(" of ")
    return int(some) < int(all_of_them)
