"""`vaultfs devices remove`: what a person types, and what the three machines see."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.desks import Desk, machine
from tests.cli.person import wait_until
from vaultfs.crypto.records import head_hash
from vaultfs.format.header import decode_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.fuse


@pytest.fixture
def others(base: Path, desk: Desk) -> Iterator[list[Desk]]:
    """Two that joined it; all three have it mounted, and each has published something."""
    desk.mount()
    found = [machine(base, name) for name in ("laptop", "lost")]
    for one in found:
        one.environment = {"VAULTFS_DEVICE_LABEL": one.home.name}
    for one in (desk, *found):
        if one is not desk:
            one.join(desk.key_file)
        (one.mountpoint / f"of-{one.home.name}").write_text("here")
        one.sync()
    yield found
    for one in found:
        one.leave()


def header(desk: Desk, number: int) -> Any:
    name = f"vault.{number}"
    return decode_header((desk.remote / name).read_bytes(), path=name)


def test_a_removed_machine_and_those_who_remain(desk: Desk, others: list[Desk]) -> None:
    laptop, lost = others
    laptop.sync()
    lost.ok("lease", "take", str(lost.mountpoint / "of-lost"))
    lost.ok("umount", str(lost.mountpoint))
    desk.sync()
    cards = desk.mountpoint / ".vaultfs-devices"
    lost_id = next(one["id"] for one in desk.json("devices", "list") if one["label"] == "lost")
    wait_until(lambda: any(lost_id in name for name in os.listdir(cards)))
    before = {path for path in (desk.remote / "packs").rglob("*") if path.is_file()}

    said = desk.json("devices", "remove", "lost", "--yes")
    assert said["removed"]["label"] == "lost"
    assert said["removed"]["id"] == lost_id
    wait_until(lambda: not any(lost_id in name for name in os.listdir(cards)))
    assert desk.json("lease", "show") == []
    assert said["epoch"] == 2
    assert len(said["given_new_keys"]) == 2
    assert len(said["keys_dropped"]) == 1, "the recovery words"
    new = header(desk, 2)
    assert [one.device.hex() for one in new.removed] == [said["removed"]["id"]]
    last = desk.remote / "heads" / lost_id / f"{said['removed']['number']:016}"
    assert new.removed[0].head == head_hash(last.read_bytes()), "this one counts, and no other of its number"
    assert (desk.vault / "header").read_bytes() == (desk.remote / "vault.2").read_bytes()

    # This machine has the new keys at once; the other gets them by itself, without a wallet.
    (desk.mountpoint / "secret").write_text("only for us")
    desk.sync()
    fresh = {path for path in (desk.remote / "packs").rglob("*") if path.is_file()} - before
    assert fresh
    assert all(path.name.endswith("0200") for path in fresh), "everything new is under the new keys"
    laptop.sync()
    assert (laptop.mountpoint / "secret").read_text() == "only for us"
    assert (laptop.mountpoint / "of-lost").read_text() == "here"

    # The one that was removed still opens what it has, with the header it has; what is new does not come to it.
    lost.mount()
    assert (lost.mountpoint / "of-lost").read_text() == "here"
    assert not (lost.mountpoint / "secret").exists()

    # A second removal leaves the first as it is.
    again = desk.json("devices", "remove", "laptop", "--yes")
    assert (again["epoch"], len(header(desk, 3).removed)) == (3, 2)


def test_a_machine_that_was_forgotten_needs_the_wallet_once(desk: Desk, others: list[Desk]) -> None:
    """Its heads are gone when another is removed: it gets nothing, and the wallet brings it back at the next mount."""
    laptop, lost = others
    device = laptop.status()["device"]["id"]
    laptop.ok("umount", str(laptop.mountpoint))
    shutil.rmtree(desk.remote / "heads" / device)
    assert device not in desk.json("devices", "remove", "lost", "--yes")["given_new_keys"]
    (desk.mountpoint / "secret").write_text("only for us")
    desk.sync()
    laptop.mount()
    laptop.run("sync", "--wait")
    wait_until((laptop.vault / "header.offered").exists)
    assert "Mount it again with the wallet" in laptop.status()["sync"]["trouble"]["text"]
    laptop.ok("umount", str(laptop.mountpoint), "--force")
    laptop.mount()
    laptop.run("sync", "--wait")
    assert (laptop.mountpoint / "secret").read_text() == "only for us"
    assert not (laptop.vault / "header.offered").exists()
    assert lost.mountpoint.exists()


def test_keys_are_added_where_nobody_knew_of_the_new_ones(desk: Desk, others: list[Desk]) -> None:
    laptop, _ = others
    laptop.ok("umount", str(laptop.mountpoint))
    desk.ok("devices", "remove", "lost", "--yes")
    assert laptop.json("key", "words", "--yes")["recovery_words"]
    assert (header(desk, 3).epoch, len(header(desk, 3).slots)) == (2, 2)
    laptop.mount()
    assert (laptop.mountpoint / "of-desk").read_text() == "here"


def test_what_cannot_be_removed(desk: Desk, others: list[Desk]) -> None:
    assert "No machine fits" in desk.fails(2, "devices", "remove", "nobody", "--yes")
    assert "--yes" in desk.fails(2, "devices", "remove", "lost")
    assert "needs a wallet" in desk.fails(2, "devices", "remove", "lost", "--wallet", "words", "--yes")
    assert not (desk.remote / "vault.2").exists()
    assert others


def test_without_a_remote(base: Path) -> None:
    alone = machine(base, "alone")
    alone.ok("init", "--yes")
    alone.fails(44, "devices", "remove", "alone", "--yes")
