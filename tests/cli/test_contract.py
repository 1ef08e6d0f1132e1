"""docs/cli-contract.md says what the program does."""

from __future__ import annotations

import inspect
import re
import string
from pathlib import Path

import msgspec

from vaultfs import errors
from vaultfs.daemon.settings import SETTINGS
from vaultfs.daemon.status import Status, VersionsFact
from vaultfs.daemon.sync_status import (
    AlarmFact,
    HoldFact,
    PeerFact,
    PendingFact,
    SyncFact,
    TransferFact,
    TroubleFact,
)
from vaultfs.errors import VaultfsError

TEXT = (Path(__file__).parents[2] / "docs/cli-contract.md").read_text()


def classes() -> dict[str, type[VaultfsError]]:
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: kind for name, kind in found if issubclass(kind, VaultfsError)}


def test_the_table_of_exit_codes_is_the_classes() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", TEXT, re.MULTILINE)
    assert {name: int(code) for code, name in rows} == {name: kind.exit_code for name, kind in classes().items()}
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)]
    assert codes == sorted(set(codes)), "no number is used twice"


def test_every_error_is_a_sentence() -> None:
    for name, kind in classes().items():
        template = inspect.getdoc(kind) or ""
        fields = {field: "X" for _, field, _, _ in string.Formatter().parse(template) if field}
        message = kind(**fields).message
        assert message.endswith("."), name
        assert "?" not in message, name


def test_the_fields_of_status() -> None:
    section = TEXT.split("### `status --json`")[1].split("###")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    documented = {field for row in rows for field in re.findall(r"`(\w+)`", row)}
    assert documented == {field.name for field in msgspec.structs.fields(Status)}
    below = TEXT.split("#### `sync` in the status")[1].split("###")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", below, re.MULTILINE)
    members = {field for row in rows for field in re.findall(r"`(\w+)`", row)}
    assert members == {field.name for field in msgspec.structs.fields(SyncFact)}
    for struct in (PeerFact, PendingFact, HoldFact, AlarmFact, TransferFact, TroubleFact):
        assert all(f"`{field.name}`" in below for field in msgspec.structs.fields(struct)), struct
    for struct in (VersionsFact,):
        assert all(f"`{field.name}`" in section for field in msgspec.structs.fields(struct))


def test_the_settings() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(VAULTFS_\w+)` \|", TEXT, re.MULTILINE)
    assert dict(rows) == {name: setting.variable for name, setting in SETTINGS.items()}
