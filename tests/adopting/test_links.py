"""Skills, memory and character of all agents: moved together, no name overwritten, linked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from vaultfs.agents.links import follow
from vaultfs.agents.profiles import Link, Profile

if TYPE_CHECKING:
    from pathlib import Path

LINKS = (
    Link("skills", "skills"),
    Link("memory/AGENTS.md", "AGENTS.md", "file"),
    Link("character/SOUL.md", "workspace/SOUL.md", "here"),
)


def agent(name: str) -> Profile:
    return Profile(name=name, title=name, env="X", directory="~/.x", links=LINKS)


def skill(top: Path, name: str, text: str) -> Path:
    path = top / name / "SKILL.md"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """A vault with two agents in it."""
    top = tmp_path / "vault"
    for name in ("one", "two"):
        (top / name / "workspace").mkdir(parents=True)
    return top


def test_skills_of_two_agents_become_one_directory(vault: Path, tmp_path: Path) -> None:
    skill(vault / "one/skills", "same", "equal")
    skill(vault / "one/skills", "other", "of one")
    skill(vault / "one/skills", "shelf/nested", "of one")
    (vault / "one/skills/.usage.json").write_text("1")
    skill(vault / "two/skills", "same", "equal")
    skill(vault / "two/skills", "other", "of two")
    skill(vault / "two/skills", "shelf/more", "of two")
    (vault / "two/skills/.usage.json").write_text("2")
    (vault / "two/notes").mkdir()
    (vault / "two/skills/linked").symlink_to("../notes")
    assert follow(str(vault), agent("one"))[0].linked
    told = follow(str(vault), agent("two"))[0]
    assert "'other' was there with another content, so this one is 'other-two'" in told.detail
    found = sorted(os.path.relpath(path.parent, vault / "skills") for path in (vault / "skills").rglob("*.md"))
    assert found == ["other", "other-two", "same", "shelf/more", "shelf/nested"]
    assert (vault / "skills/other/SKILL.md").read_text() == "of one"
    assert (vault / "skills/other-two/SKILL.md").read_text() == "of two"
    assert (vault / "skills/.usage.json-two").read_text() == "2"
    assert (vault / "skills/linked").resolve() == vault / "two/notes", "a link leads to where it led"
    for name in ("one", "two"):
        assert (vault / name / "skills").readlink().as_posix() == "../skills"
    # valid on every machine: wherever it is mounted
    os.rename(vault, tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere/two/skills/other/SKILL.md").read_text() == "of one"
    assert (tmp_path / "elsewhere/skills/linked").resolve() == tmp_path / "elsewhere/two/notes"


def test_again_changes_nothing(vault: Path) -> None:
    skill(vault / "one/skills", "same", "equal")
    first = follow(str(vault), agent("one"))
    before = sorted((str(path), path.lstat().st_ino) for path in vault.rglob("*"))
    assert follow(str(vault), agent("one")) == first
    assert sorted((str(path), path.lstat().st_ino) for path in vault.rglob("*")) == before


def test_a_file_is_shared_by_who_has_none(vault: Path) -> None:
    assert not follow(str(vault), agent("one"))[1].linked
    (vault / "one/AGENTS.md").write_text("be kind")
    assert follow(str(vault), agent("one"))[1].linked
    assert (vault / "memory/AGENTS.md").read_text() == "be kind"
    assert follow(str(vault), agent("two"))[1].linked
    assert (vault / "two/AGENTS.md").read_text() == "be kind"
    (vault / "two/AGENTS.md").write_text("be brief")
    assert (vault / "one/AGENTS.md").read_text() == "be brief"


def test_files_that_differ_are_both_kept(vault: Path) -> None:
    (vault / "memory").mkdir()
    (vault / "memory/AGENTS.md").write_text("of the vault")
    (vault / "one/AGENTS.md").write_text("of one")
    found = follow(str(vault), agent("one"))[1]
    assert not found.linked
    assert "differ" in found.detail
    assert (vault / "one/AGENTS.md").read_text() == "of one"
    assert (vault / "memory/AGENTS.md").read_text() == "of the vault"
    (vault / "one/AGENTS.md").write_text("of the vault")
    assert follow(str(vault), agent("one"))[1].linked


def test_an_agent_that_takes_no_links_keeps_the_file(vault: Path) -> None:
    """OpenClaw reads nothing in its workspace that is a link out of it."""
    (vault / "one/workspace/SOUL.md").write_text("calm")
    assert follow(str(vault), agent("one"))[2].linked
    assert not (vault / "one/workspace/SOUL.md").is_symlink()
    assert (vault / "character/SOUL.md").readlink().as_posix() == "../one/workspace/SOUL.md"
    (vault / "two/workspace/SOUL.md").write_text("calm, too")
    found = follow(str(vault), agent("two"))[2]
    assert not found.linked
    assert "somewhere else" in found.detail
    assert (vault / "two/workspace/SOUL.md").read_text() == "calm, too"


def test_what_was_a_link_already_is_left(vault: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (vault / "one/skills").symlink_to(tmp_path / "mine")
    found = follow(str(vault), agent("one"))[0]
    assert not found.linked
    assert (vault / "one/skills").readlink() == tmp_path / "mine"
