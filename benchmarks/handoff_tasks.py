"""What is measured of a pair of machines. Each function returns what goes into the JSON file."""

from __future__ import annotations

import filecmp
import os
import random
import shutil
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.handoff_agent import DATABASE, EDITED, EVENTS, LOG, line, make_database, state, writing
from benchmarks.handoff_pairs import VaultfsPair

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.handoff_pairs import Pair

LOOK_SECONDS = 0.02  # between two looks at the other side
HANDOFF_SECONDS, APPEND_SECONDS, EDIT_SECONDS, END_SECONDS = 120, 30, 60, 30
STATE_SECONDS = 90  # for a new state of the database; Syncthing as it comes takes a minute
STATES_SECONDS = 300  # for all of them
QUIET_SECONDS = 12  # nothing changed for so long: it has settled
DURING, LATER = 20, 50  # transactions a second
APPENDED = 300
UNFINISHED = (".syncthing.", "~syncthing~")  # what it is fetching

Facts = dict[str, Any]


def until(ready: Callable[[], bool], seconds: float) -> float | None:
    """Seconds until `ready`, looked at every 20 ms; None if it never was. What cannot be read is not ready."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        try:
            if ready():
                return time.monotonic() - start
        except OSError:
            pass
        time.sleep(LOOK_SECONDS)
    return None


def same(mine: Path, theirs: Path) -> bool:
    """Whether both have the same content; the size is looked at first."""
    return theirs.stat().st_size == mine.stat().st_size and filecmp.cmp(mine, theirs, shallow=False)


def quiet_copy(database: Path, into: Path) -> Path | None:
    """The database with its journals as they stand, if none of them changed while they were copied."""
    parts = [database.with_name(database.name + end) for end in ("", "-wal", "-journal")]

    def seen() -> list[object]:
        found: list[object] = []
        for part in parts:
            try:
                status = part.stat()
            except OSError:
                found.append(None)
            else:
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return found

    for _ in range(20):
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        before = seen()
        try:
            for part, fact in zip(parts, before, strict=True):
                if fact is not None:
                    shutil.copyfile(part, into / part.name)
        except OSError:
            continue
        if seen() == before:
            return into / database.name if before[0] is not None else None
        time.sleep(LOOK_SECONDS)
    return None


def hand_off(pair: Pair, source: Path) -> Facts:
    """A directory of 1,000 files appears on A, with a database that stays in use: when does B have all of it?"""
    before, start = pair.traffic(), time.monotonic()
    for entry in sorted(source.iterdir()):
        shutil.copytree(entry, pair.a / entry.name)
    written = time.monotonic() - start
    facts: Facts = {"written": written, "files": None, "database": None}
    with writing(pair.a / DATABASE, pair.home / "handoff.acks", DURING, "A") as writer:
        writer.wait_for(10)
        acknowledged = writer.acknowledged()[-1][0]
        missing = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
        missing = sorted((path for path in missing if path != Path(DATABASE)), reverse=True)

        def arrived() -> bool:
            while missing and same(source / missing[-1], pair.b / missing[-1]):
                missing.pop()
            return not missing

        if until(arrived, HANDOFF_SECONDS) is not None:
            facts["files"] = time.monotonic() - start
        used = pair.traffic() - before
        facts |= {"missing": len(missing), "up": used.up, "requests": used.requests}

        def whole() -> bool:
            copy = quiet_copy(pair.b / DATABASE, pair.home / "look")
            if copy is None:
                return False
            found = state(copy)
            return not found["fault"] and found["last"] >= acknowledged

        if until(whole, HANDOFF_SECONDS / 4) is not None:
            facts["database"] = time.monotonic() - start
    return facts


def verb(pair: Pair) -> Facts:
    """How long `vaultfs handoff` takes after one more edit: there is nothing like it to compare with."""
    if not isinstance(pair, VaultfsPair):
        return {}
    took = []
    for number in range(5):
        (pair.a / EDITED).write_text(f"before handing off, {number}\n")
        start = time.monotonic()
        pair.handoff()
        took.append(time.monotonic() - start)
    return {"seconds": statistics.median(took)}


def append(pair: Pair, tries: int) -> Facts:
    """A line is added to a transcript of 10 MB by a program that keeps it open. Counted until 3 s after it is there."""
    dice, facts = random.Random(1), {"seconds": [], "up": [], "requests": [], "after_close": None}
    mine, theirs = pair.a / LOG, pair.b / LOG
    with mine.open("ab", buffering=0) as file:
        for number in range(tries):
            time.sleep(3 + dice.random())
            before = pair.traffic()
            file.write(line(number, APPENDED, dice))
            size = os.fstat(file.fileno()).st_size
            took = until(lambda: theirs.stat().st_size == size and _tail(theirs) == _tail(mine), APPEND_SECONDS)  # noqa: B023
            facts["seconds"].append(took)
            if took is None:
                break
            time.sleep(3)
            used = pair.traffic() - before
            facts["up"].append(used.up)
            facts["requests"].append(used.requests)
    if facts["seconds"][-1] is None:
        facts["after_close"] = until(lambda: same(mine, theirs), APPEND_SECONDS)
        time.sleep(3)
        used = pair.traffic() - before
        facts["up"], facts["requests"] = [used.up], [used.requests]
    return facts


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-APPENDED, os.SEEK_END)
        return file.read()


def edits(pair: Pair, tries: int) -> Facts:
    """A small file is written anew, at any moment; until B reads it."""
    dice, took = random.Random(2), []
    for number in range(tries):
        time.sleep(0.5 + 2 * dice.random())
        text = f"edit {number} {dice.random()}\n" * 5
        (pair.a / EDITED).write_text(text)
        took.append(until(lambda: (pair.b / EDITED).read_text() == text, EDIT_SECONDS))  # noqa: B023 - at once
        if took[-1] is None:
            break
    return {"seconds": took}


def states(pair: Pair, tries: int) -> Facts:
    """A program on A works in a database without pause; each state that B shows is opened, if it holds still."""
    name = "live/state.db"
    facts: Facts = {"seen": 0, "intact": 0, "faults": [], "age": [], "end": ""}
    make_database(pair.a / name)
    seen, last, newest = "", EVENTS, time.monotonic()
    with writing(pair.a / name, pair.home / "states.acks", LATER, "A") as writer:
        end = newest + STATES_SECONDS
        while facts["seen"] < tries and time.monotonic() < min(end, newest + STATE_SECONDS):
            copy = quiet_copy(pair.b / name, pair.home / "look")
            now = time.time()
            if copy is None or (mark := _mark(copy)) == seen:
                time.sleep(LOOK_SECONDS)
                continue
            seen, newest = mark, time.monotonic()
            found = state(copy)
            if found["last"] == EVENTS:
                continue  # as it was made
            facts["seen"] += 1
            fault = found["fault"] or ("older than what was there before" if found["last"] < last else "")
            if fault:
                facts["faults"].append(fault)
                continue
            last = found["last"]
            facts["intact"] += 1
            later = [when for number, when in writer.acknowledged() if number > last]
            facts["age"].append(now - later[0] if later else 0.0)
        facts["writer_failed"] = writer.process.poll() is not None
    facts["end"] = _end(pair, name, writer.acknowledged()[-1][0])
    return facts


def _mark(copy: Path) -> str:
    parts = sorted(copy.parent.iterdir())
    return repr([(part.name, part.stat().st_size, hash(part.read_bytes())) for part in parts])


def _end(pair: Pair, name: str, acknowledged: int) -> dict[str, str]:
    """What both sides have once the program has ended: all of it, or what is wrong."""

    def verdict(root: Path) -> str:
        copy = quiet_copy(root / name, pair.home / "look")
        if copy is None:
            return "not there"
        found = state(copy)
        lacking = acknowledged - found["last"]
        return found["fault"] or ("" if lacking <= 0 else f"{lacking} acknowledged transactions are missing")

    until(lambda: not verdict(pair.b), END_SECONDS)
    return {"a": verdict(pair.a), "b": verdict(pair.b)}


def both(pair: Pair) -> Facts:
    """Both write to the same file and the same database while they do not see each other. What is left of each?"""
    note, name = "both/note.md", "both/state.db"
    make_database(pair.a / name)
    (pair.a / note).write_text("before\n")
    until(lambda: same(pair.a / note, pair.b / note) and same(pair.a / name, pair.b / name), EDIT_SECONDS)
    time.sleep(3)
    pair.part()
    try:
        (pair.a / note).write_text("A wrote this\n")
        (pair.b / note).write_text("B wrote this, too\n")
        acks = [pair.home / "both.a.acks", pair.home / "both.b.acks"]
        with writing(pair.a / name, acks[0], LATER, "A") as one, writing(pair.b / name, acks[1], LATER, "B") as other:
            one.wait_for(50)
            other.wait_for(50)
            pair.join()
            met = _meet(pair)
            time.sleep(5)
    finally:
        pair.join()
    settle(pair)
    totals = {"A": len(one.acknowledged()), "B": len(other.acknowledged())}
    facts: Facts = {"acknowledged": totals, "met": met, "in_place": {}, "same": {}, "kept": {}, "names": {}}
    roots = [pair.a / "both", pair.b / "both"]
    texts, rows = [], []
    aside = pair.set_aside(pair.home / "aside")
    for root in [*roots, *aside]:
        here_texts, here_rows = _contents(root, pair.home / "look")
        texts.append(here_texts)
        rows.append(here_rows)
    for side, root, here_texts, here_rows in zip("ab", roots, texts, rows, strict=False):
        facts["names"][side] = sorted(path.name for path in root.iterdir())
        facts["in_place"][side] = {
            "note": here_texts.get("note.md", "gone").strip(),
            "database": here_rows.get("state.db", {"fault": "gone"}),
        }
    facts["aside"] = [[*map(str, found)] for found in (*texts[2:], *rows[2:]) if found]
    for mark, total in totals.items():
        facts["kept"][f"note {mark}"] = any(f"{mark} wrote" in text for found in texts for text in found.values())
        whole = [found["rows"].get(mark, 0) for here in rows for found in here.values() if not found["fault"]]
        facts["kept"][f"database {mark}"] = f"{min(max(whole, default=0), total)} of {total}"
    facts["same"] = facts["in_place"]["a"] == facts["in_place"]["b"]
    facts["lone"] = sorted({lone for root in roots for lone in _lone(root)})
    return facts


def _meet(pair: Pair) -> bool:
    """Until a new file of each is with the other."""
    for mine in (pair.a, pair.b):
        (mine / f"met-{mine.parent.name}").write_text("here")
    return until((pair.b / "met-a").exists, EDIT_SECONDS) is not None and (
        until((pair.a / "met-b").exists, EDIT_SECONDS) is not None
    )


def _contents(root: Path, scratch: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Texts and databases in a directory, whatever they are called now."""
    texts, rows = {}, {}
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.name.endswith(("-shm", "-wal", "-journal")) or path.name.startswith(UNFINISHED):
            continue
        if ".md" in path.name or "note" in path.name:
            texts[path.name] = path.read_text()
        elif (copy := quiet_copy(path, scratch)) is not None:
            found = state(copy)
            rows[path.name] = {"fault": found["fault"], "rows": found["rows"]}
    return texts, rows


def _lone(root: Path) -> list[str]:
    """Journals without their database, which SQLite would take for another's or not find."""
    names = {path.name for path in root.iterdir() if not path.name.startswith(UNFINISHED)}
    return [name for name in names if "-wal" in name and name.replace("-wal", "") not in names]


def settle(pair: Pair, seconds: float = 90) -> None:
    """Until nothing has changed for a while on either side, and the program says that nothing waits."""
    start = quiet = time.monotonic()
    before: object = None
    while time.monotonic() - start < seconds and time.monotonic() - quiet < QUIET_SECONDS:
        now = [_listing(pair.a / "both"), _listing(pair.b / "both")]
        if now != before or pair.busy():
            before, quiet = now, time.monotonic()
        time.sleep(0.5)


def _listing(root: Path) -> list[tuple[str, int, int]]:
    found = []
    for base, _, names in os.walk(root):
        for name in names:
            try:
                status = os.stat(os.path.join(base, name))
            except OSError:
                continue
            found.append((name, status.st_size, status.st_mtime_ns))
    return sorted(found)
