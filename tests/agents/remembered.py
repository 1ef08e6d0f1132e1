"""What an agent's state directory remembers, asked of its databases and transcripts and not of the agent."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from tests.agents.programs import node, shelf
from vaultfs.tree.scope import rules_of

if TYPE_CHECKING:
    from collections.abc import Callable

_MARK = re.compile(r"\bMARK-(\w+)")
_MAGIC = b"SQLite format 3\0"
_PGLITE = """
import {{ PGlite }} from "{pglite}";
import {{ vector }} from "{pglite_vector}";
const db = new PGlite({{ dataDir: process.argv[1], extensions: {{ vector }} }});
const found = await db.query("select content::text as text from memories");
for (const row of found.rows) console.log(row.text);
await db.close();
"""


def databases(top: Path) -> list[Path]:
    """Every SQLite database below."""
    found = []
    for directory, _, names in os.walk(top):
        for name in names:
            path = top / directory / name
            if path.is_file() and not path.is_symlink() and not name.endswith(("-wal", "-shm", "-journal")):
                with path.open("rb") as file:
                    if file.read(len(_MAGIC)) == _MAGIC:
                        found.append(path)
    return found


def texts(database: Path) -> tuple[list[str], str]:
    """All text of a database, and what is wrong with it (empty: nothing)."""
    said: list[str] = []
    with closing(apsw.Connection(str(database))) as db:
        try:
            wrong = [str(row[0]) for row in db.execute("pragma integrity_check") if row[0] != "ok"]
            tables = [str(row[0]) for row in db.execute("select name from sqlite_master where type = 'table'")]
        except apsw.Error as error:
            return said, str(error)
        for table in tables:
            try:
                rows = list(db.execute(f'select * from "{table}"'))  # noqa: S608 - its own name
            except apsw.SQLError:
                continue  # a virtual table of an extension that is not here
            said += [plain(value) for row in rows for value in row]
    # An index of an extension that is not here cannot be checked.
    return said, "; ".join(line for line in wrong if "no such module" not in line and "unable to validate" not in line)


def plain(value: object) -> str:
    """A column's value as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def remembered(state: Path, scratch: Path) -> tuple[set[str], list[str]]:
    """The marks in an agent's state, and what is wrong with its databases. Works on a copy in `scratch`."""
    copy(state, scratch)
    marks: set[str] = set()
    wrong: list[str] = []
    for database in databases(scratch):
        said, problem = texts(database)
        marks.update(mark for text in said for mark in _MARK.findall(text))
        wrong += [f"{database.relative_to(scratch)}: {problem}"] if problem else []
    for directory, _, names in os.walk(scratch):
        for name in names:
            path = scratch / directory / name
            # A link may lead out of what was copied: to skills, memory and character, which hold no turns.
            if (name.partition(".jsonl")[1] or name.endswith((".json", ".md"))) and path.is_file():
                marks.update(_MARK.findall(path.read_bytes().decode(errors="replace")))
        if "PG_VERSION" in names and os.path.isdir(scratch / directory / "global"):
            text, problem = postgres(scratch / directory)
            marks.update(_MARK.findall(text))
            wrong += [problem] if problem else []
    return marks, wrong


def copy(state: Path, scratch: Path) -> None:
    """A directory, without what stays on its machine, or a database with what belongs to it."""
    shutil.rmtree(scratch, ignore_errors=True)
    if state.is_dir():
        shutil.copytree(state, scratch, symlinks=True, ignore=staying(state.parent))
        return
    scratch.mkdir()
    for end in ("", "-wal", "-journal"):
        if (part := state.with_name(state.name + end)).exists():
            shutil.copy(part, scratch / part.name)


def staying(vault: Path) -> Callable[[str, list[str]], list[str]]:
    """Which names are this machine's alone: what stands there (logs, above all) says nothing of what came along."""
    ignore = vault / ".vaultignore"
    rules = rules_of(ignore.read_bytes() if ignore.exists() else b"")

    def stays(path: Path) -> bool:
        below = tuple(map(os.fsencode, path.relative_to(vault).parts))
        if rules.stays(below, folder=path.is_dir() and not path.is_symlink()):
            return True
        try:
            return os.getxattr(path, "user.vaultfs.scope", follow_symlinks=False) == b"node"
        except OSError:
            return path.name.endswith(("-shm", ".sock"))  # not in a mount

    return lambda directory, names: [name for name in names if stays(Path(directory, name))]


def postgres(directory: Path) -> tuple[str, str]:
    """What ElizaOS stored in its database, and what is wrong with it."""
    (directory / "postmaster.pid").unlink(missing_ok=True)
    dist = shelf() / "eliza/node_modules/@electric-sql/pglite/dist"
    script = _PGLITE.format(pglite=dist / "index.js", pglite_vector=dist / "vector/index.js")
    done = subprocess.run(
        [node(), "--input-type=module", "-e", script, directory], check=False, capture_output=True, text=True
    )
    return done.stdout, done.stderr[-500:] if done.returncode else ""
