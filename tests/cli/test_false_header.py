"""A removed machine stores a header of its own beside the real one: what each command makes of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.cli.desks import machine
from tests.sync.false_headers import Kept
from tests.sync.vaults import device, make_head
from vaultfs.crypto.slots import unlock
from vaultfs.daemon.paths import VaultPlaces
from vaultfs.daemon.vault import MAX_OFFERED, MAX_OFFERED_BYTES, offer_header, opener, read_header, take_offer
from vaultfs.format.head import head_name, seal_head
from vaultfs.format.header import decode_header, encode_header
from vaultfs.wallet import open_signer

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.crypto.device import DeviceIdentity
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.wallet import Signer

LOST, THIRD = device("l"), device("t")


class Scene:
    """A machine has removed another one, which has kept the wallet's signature and stores `vault.3` now."""

    def __init__(self, base: Path) -> None:
        self.desk = machine(base, "desk")
        self.desk.ok("init", "--yes", "--remote", str(self.desk.remote))
        self.signer: Signer = open_signer(str(self.desk.key_file))
        first = self.header(1)
        keys = unlock(first, self.signer)
        self.first = keys
        for one in (LOST, THIRD):
            self.head(one, 1, keys)
        kept = Kept(first, keys, self.signer)
        self.desk.ok("devices", "remove", "box-l", "--yes")
        self.keys = unlock(self.header(2), self.signer)
        self.head(THIRD, 2, self.keys)
        false, self.false_keys = kept.header(3, [LOST, THIRD])
        (self.desk.remote / "vault.3").write_bytes(encode_header(false))

    def header(self, number: int) -> Header:
        return decode_header((self.desk.remote / f"vault.{number}").read_bytes(), path=str(number))

    def head(self, one: DeviceIdentity, number: int, keys: VaultKeys) -> None:
        path = self.desk.remote / head_name(one.id, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(seal_head(make_head(one, number), one, keys))

    def real(self) -> bool:
        """Whether the machine's header is the real one, and nothing was stored."""
        local = (self.desk.vault / "header").read_bytes()
        return local == (self.desk.remote / "vault.2").read_bytes() and not (self.desk.remote / "vault.4").exists()


@pytest.fixture
def scene(base: Path) -> Scene:
    return Scene(base)


def test_a_machine_is_removed(scene: Scene) -> None:
    assert "vault.3" in scene.desk.fails(21, "devices", "remove", "box-t", "--yes")
    assert scene.real()
    (scene.desk.remote / "vault.3").unlink()
    scene.desk.ok("devices", "remove", "box-t", "--yes")
    assert unlock(scene.header(3), scene.signer).continues(scene.keys)


def test_the_false_one_in_the_place_of_the_real_one(scene: Scene) -> None:
    real = (scene.desk.remote / "vault.2").read_bytes()
    kept = Kept(scene.header(1), unlock(scene.header(1), scene.signer), scene.signer)
    (scene.desk.remote / "vault.3").unlink()
    (scene.desk.remote / "vault.2").write_bytes(encode_header(kept.header(2, [LOST, THIRD])[0]))
    assert "vault.2" in scene.desk.fails(21, "devices", "remove", "box-t", "--yes")
    assert (scene.desk.vault / "header").read_bytes() == real


def test_words_are_added(scene: Scene) -> None:
    scene.desk.fails(82, "key", "words", "--yes")
    assert scene.real()


@pytest.mark.fuse
def test_a_machine_joins(scene: Scene, base: Path) -> None:
    shutil.rmtree(scene.desk.remote / "heads")  # there is nothing behind them
    other = machine(base, "other")
    try:
        where = ("--remote", str(scene.desk.remote), "--wallet", str(scene.desk.key_file))
        done = other.run("mount", str(other.mountpoint), *where)
        assert done.returncode == 0, done.stderr
        assert "Passed over: The vault header vault.3" in done.stderr
        assert (other.vault / "header").read_bytes() == (scene.desk.remote / "vault.2").read_bytes()
    finally:
        other.leave()


def test_what_waits_for_the_wallet(scene: Scene, tmp_path: Path) -> None:
    """A machine that was given nothing has the real header and the false one laid down: the wallet takes the real."""
    place = VaultPlaces("v", tmp_path, tmp_path / "log", tmp_path)
    for number in (2, 3, 3):
        offer_header(place, scene.header(number))
    open_it = opener(scene.signer, "v")
    found = take_offer(place, open_it(scene.header(1), "here"), open_it)
    assert found is not None
    assert (found[0], found[1].masters()) == (scene.header(2), scene.keys.masters())
    assert read_header(place) == scene.header(2)
    assert not place.offered.exists()
    assert take_offer(place, scene.keys, open_it) is None


def test_so_many_wait_for_the_wallet_and_no_more(scene: Scene, tmp_path: Path) -> None:
    """The first ones: what was put behind the real ones does not push them out, however early it came."""
    place = VaultPlaces("v", tmp_path, tmp_path / "log", tmp_path)
    real = scene.header(2)
    for number in range(3, 3 + 2 * MAX_OFFERED):
        offer_header(place, msgspec.structs.replace(real, number=number))
    offer_header(place, real)
    found = take_offer(place, scene.first, opener(scene.signer, "v"))
    assert found is not None
    assert found[0] == real
    (grant,) = real.granted[:1]
    many = tuple(grant._replace(device=number.to_bytes(16, "big")) for number in range(1000))
    padded = msgspec.structs.replace(real, granted=many, removed=())
    for number in range(3, 3 + MAX_OFFERED):
        offer_header(place, msgspec.structs.replace(padded, number=number))
    assert MAX_OFFERED_BYTES // 2 < place.offered.stat().st_size <= MAX_OFFERED_BYTES + 1024
