"""Cards of devices: what is believed of what others wrote, and what is written."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultfs.daemon.card import CARD_MAX, LONGEST, Card, Lease, decode_card, device_of, encode_card, in_vault
from vaultfs.daemon.cards import DIRECTORY, read_cards, write_card
from vaultfs.errors import VaultfsError

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 20, 21, tzinfo=UTC)
HOUR = timedelta(hours=1)
ME, OTHER = bytes(range(16)), bytes(16)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["format", "label", "mountpoint", "home", "agents", "projects", "leases", "new"])


@given(st.binary(max_size=200) | st.dictionaries(FIELDS, JSON).map(lambda value: json.dumps(value).encode()))
def test_nothing_that_others_write_raises(data: bytes) -> None:
    card = decode_card(data)
    assert card is None or isinstance(card, Card)


def test_a_newer_card_is_read_as_far_as_it_is_known() -> None:
    lease = {"path": "hermes", "since": "2026-11-20T21:00:00Z", "until": "2026-11-20T23:00:00+01:00", "why": "work"}
    card = decode_card(json.dumps({"format": 7, "label": "b", "leases": [lease], "battery": 0.5}).encode())
    assert card == Card(format=7, label="b", leases=[Lease("hermes", NOW, NOW + HOUR)])


@pytest.mark.parametrize(
    "value",
    [
        {"label": 5},
        {"label": "x" * 300},
        {"projects": ["p"] * 300},
        {"agents": {f"a{number}": "x" for number in range(65)}},
        {"leases": [{"path": "x", "since": "2026-11-20T21:00:00", "until": "2026-11-20T21:00:00"}]},  # no time zone
        {"home": "x" * CARD_MAX},
    ],
)
def test_what_is_too_much_or_of_another_kind_is_no_card(value: dict[str, object]) -> None:
    assert decode_card(json.dumps(value).encode()) is None


@pytest.mark.parametrize("path", ["/etc", "../x", "a/../b", "a//b", "a/", ".", "./a"])
def test_paths_that_are_not_of_the_vault_are_left_out(path: str) -> None:
    assert not in_vault(path)
    times = {"since": "2026-11-20T21:00:00Z", "until": "2026-11-20T22:00:00Z"}
    card = decode_card(json.dumps({"agents": {"x": path, "y": "y"}, "leases": [{"path": path, **times}]}).encode())
    assert card == Card(agents={"y": "y"})


def test_a_lease_ends_by_itself_and_never_lasts_longer_than_leases_can() -> None:
    lease = Lease("a", NOW, NOW + HOUR)
    assert [lease.holds(NOW + HOUR * part) for part in (0, 0.9, 1, 2)] == [True, True, False, False]
    assert not Lease("a", NOW, NOW + LONGEST + 2 * HOUR).holds(NOW)


def test_what_a_lease_covers() -> None:
    lease = Lease("a/b", NOW, NOW + HOUR)
    assert [lease.covers(path) for path in ("a/b", "a/b/c", "a/bc", "a", "")] == [True, True, False, False, False]
    assert [lease.touches(path) for path in ("a/b", "a/b/c", "a/bc", "a", "")] == [True, True, False, True, True]
    assert Lease("", NOW, NOW + HOUR).covers("anything")


def test_what_is_written_is_what_others_read() -> None:
    old, good = Lease("old", NOW - 2 * HOUR, NOW - HOUR), Lease("new", NOW, NOW + HOUR)
    card = Card(label="a", projects=[f"/p/{number}" for number in range(300)], leases=[old, good])
    found = decode_card(encode_card(card, NOW))
    assert found == msgspec.structs.replace(card, projects=card.projects[-256:], leases=[good])
    with pytest.raises(ValueError, match="path"):
        encode_card(Card(agents={"x": "../x"}), NOW)


def test_names_of_cards() -> None:
    assert device_of(ME.hex() + ".json") == ME
    assert [device_of(name) for name in ("x.json", ME.hex(), f".#{ME.hex()}.json", ME.hex().upper() + ".json")] == [
        None
    ] * 4


def test_only_good_cards_are_read(tmp_path: Path) -> None:
    assert read_cards(tmp_path) == {}
    write_card(tmp_path, ME, lambda card: msgspec.structs.replace(card, label="me"))
    there = tmp_path / DIRECTORY
    (there / f"{OTHER.hex()}.json").write_bytes(b"{")
    (there / f"{'1' * 32}.json").symlink_to(there / f"{ME.hex()}.json")
    (there / f"{'2' * 32}.json").mkdir()
    os.mkfifo(there / f"{'3' * 32}.json")
    (there / f"{'4' * 32}.json").write_bytes(b" " * (CARD_MAX + 1) + b"{}")
    assert read_cards(tmp_path) == {ME: Card(label="me")}
    assert (there / f"{ME.hex()}.json").stat().st_mode & 0o777 == 0o600


def test_two_who_write_at_once_lose_nothing(tmp_path: Path) -> None:
    def add(number: int) -> None:
        write_card(tmp_path, ME, lambda card: msgspec.structs.replace(card, projects=[*card.projects, f"/{number}"]))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_cards(tmp_path)[ME].projects) == sorted(f"/{number}" for number in range(20))
    assert os.listdir(tmp_path / DIRECTORY) == [f"{ME.hex()}.json"]


def test_what_nobody_could_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(VaultfsError):
        write_card(tmp_path, ME, lambda _: Card(label="x" * 300))
    assert read_cards(tmp_path) == {}
