"""The pages hang together: links lead somewhere, and the project stands alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "fixtures").glob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("page", PAGES, ids=_names(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [link.split("#")[0] for link in LINK.findall(page.read_text()) if not link.startswith("http")]
    assert [link for link in targets if link and not (page.parent / link).exists()] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in seen or not page.exists():
            continue
        seen.add(page)
        waiting += [page.parent / link.split("#")[0] for link in LINK.findall(page.read_text()) if ".md" in link]
    assert _names(sorted(set((ROOT / "docs").glob("*.md")) - seen)) == []


def _sections(page: Path) -> set[str]:
    text = page.read_text()
    return {*re.findall(r"^#+ (.+)$", text, re.MULTILINE), *re.findall(r"^\*\*([^*]+?)\.\*\*", text, re.MULTILINE)}


@pytest.mark.parametrize("source", ["*.md", "docs/*.md", "vaultfs/**/*.py", "tests/**/*.py"])
def test_the_sections_that_are_named_exist(source: str) -> None:
    named = re.compile(r'\b([a-z-]+\.md)\)?, "([^"]+)"')
    missing = [
        f"{path.relative_to(ROOT)}: '{section}' of {page}"
        for path in ROOT.glob(source)
        for page, section in named.findall(" ".join(path.read_text().split()))
        if section not in _sections(ROOT / "docs" / page)
    ]
    assert missing == []
