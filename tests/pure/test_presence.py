"""Who else is at work: the sentences, and what of a status they are made from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from vaultfs.daemon.presence import DrivenFact, DriverFact, drivers, sentence, warnings_at
from vaultfs.daemon.sync_status import PathFact
from vaultfs.daemon.text import instant
from vaultfs.daemon.vault_path import vault_path
from vaultfs.errors import NotInVaultError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_795_000_000.0


def driver(seconds: float | None, *paths: str) -> DriverFact:
    wrote = None if seconds is None else instant(NOW - seconds)
    return DriverFact("00", "desktop", wrote, [PathFact(path) for path in paths])


@pytest.mark.parametrize(
    ("one", "recent", "text"),
    [
        (driver(59), True, "desktop: wrote there 59 seconds ago (hermes)."),
        (driver(61), False, "desktop: wrote there 1 minute ago (hermes)."),
        (driver(-5), True, "desktop: wrote there just now (hermes)."),
        (driver(7200, "hermes/a"), True, "wrote there 2 hours ago and has hermes/a open for writing (hermes)."),
        (driver(None, *"abcd"), True, "desktop: has a, b, c and 1 more open for writing (hermes)."),
        (driver(None), False, "desktop: was there (hermes)."),
    ],
)
def test_sentences(one: DriverFact, recent: bool, text: str) -> None:
    assert one.recent(NOW) == recent
    assert text in sentence(one, "hermes", NOW)


def test_the_nearest_directory_counts() -> None:
    a, b = driver(1), driver(2)
    known = [DrivenFact("work", None, [a]), DrivenFact("work/hermes", "hermes", [b])]
    assert drivers(known, "work/hermes/x") == [b]
    assert drivers(known, "work") == [a]
    assert drivers(known, "workshop") == []


def test_warnings_come_from_the_status_of_the_mount(tmp_path: Path) -> None:
    assert warnings_at(tmp_path, "hermes") == []
    (tmp_path / ".vaultfs").mkdir()
    status = {
        "state": "mounted",
        "driving": [{"path": "hermes", "devices": [{"device": "0", "label": "b", "wrote": instant(NOW - 3)}]}],
        "leases": [
            {"path": path, "device": "0", "label": "b", "this": this, "since": instant(NOW), "until": instant(NOW + 9)}
            for path, this in (("hermes/x", False), ("codex", False), ("hermes", True))
        ],
    }
    (tmp_path / ".vaultfs/status").write_text(json.dumps(status))
    first, second = warnings_at(tmp_path, "hermes", NOW)
    assert first == "b: wrote there 3 seconds ago (hermes)."
    assert second.startswith("b has leased hermes/x until ")
    (tmp_path / ".vaultfs/status").write_text("{")
    assert warnings_at(tmp_path, "hermes", NOW) == []


def test_paths_in_the_vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "vault"
    (top / "hermes").mkdir(parents=True)
    (tmp_path / "link").symlink_to(top / "hermes")
    monkeypatch.chdir(tmp_path)
    for text, path in ((str(top), ""), ("link/x", "hermes/x"), ("vault/a/../b", "b"), ("hermes/", "hermes")):
        assert vault_path(str(top), text) == path
    with pytest.raises(NotInVaultError):
        vault_path(str(top), "/etc")
    for wrong in ("../x", "a/../b", str(top) + "/\udcff"):
        with pytest.raises(UsageError):
            vault_path(str(top), wrong)
