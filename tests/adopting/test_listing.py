"""`adopt --list`, for a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vaultfs.agents.listing import AgentFact, Writer
from vaultfs.cli.adopt_view import show_list

if TYPE_CHECKING:
    import pytest


def shown(ts: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    writer = Writer(device="desk", ts=ts)
    fact = AgentFact(
        agent="hermes", title="Hermes", directory="/h", how="link", found=True, in_vault=True, linked=True, running=[],
        writer=writer,
    )  # fmt: skip
    show_list([fact])
    return capsys.readouterr().out


def test_the_last_writer_is_told_in_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = datetime.now(UTC) - timedelta(minutes=3, seconds=5)
    ts = f"{long_ago:%Y-%m-%dT%H:%M:%S}.123456789Z"
    out = shown(ts, capsys, monkeypatch)
    assert "desk, 3 minutes ago" in out
    assert "123456789" not in out


def test_a_time_that_this_version_cannot_read_is_shown_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "desk, yesterday" in shown("yesterday", capsys, monkeypatch)
