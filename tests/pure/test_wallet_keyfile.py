"""Solana key files: read as they are, refused with a reason when they are not."""

from __future__ import annotations

import json
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from tests.pure.conftest import FIXTURES
from vaultfs.errors import KeyFileError, UsageError
from vaultfs.wallet import Surroundings, default_signer, find_default_signer, open_signer
from vaultfs.wallet.keyfile import OWN_NAME, _seed, make_key_file

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.wallet import Signer

ALICE = (FIXTURES / "wallets" / "TEST-ONLY-alice.json").read_text()
NUMBERS = json.loads(ALICE)


def key_file(path: Path, text: str = ALICE, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_signs_as_solana_does(alice: Signer) -> None:
    signature = alice.sign(b"hello")
    assert VerifyKey(bytes(NUMBERS[32:])).verify(b"hello", signature) == b"hello"
    assert alice.public_key == bytes(NUMBERS[32:])
    assert alice.address == "CvwHE3aYjzYc62cwqLgHgdn9F7ByxWzVCsSQYr8Hyi4y"
    assert alice.kind == "keyfile"
    assert alice.warnings == ()


def test_shows_nothing_of_the_key(alice: Signer) -> None:
    assert repr(alice) == "KeyFileSigner()"
    assert bytes(NUMBERS[:32]).hex() not in f"{alice!r}{alice}"


@pytest.mark.parametrize("spec", ["keyfile:{}", "{}", "keyfile:~/id.json", "~/id.json"])
def test_specs(spec: str, tmp_path: Path) -> None:
    path = key_file(tmp_path / "id.json")
    assert open_signer(spec.format(path), Surroundings(home=tmp_path)).public_key == bytes(NUMBERS[32:])


@pytest.mark.parametrize("length", range(len(ALICE.strip())))
def test_cut_off_anywhere(length: int, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError) as caught:
        open_signer(str(key_file(tmp_path / "id.json", ALICE[:length])))
    assert str(tmp_path) in str(caught.value)


WRONG = {
    "public half": [*NUMBERS[:63], NUMBERS[63] ^ 1],
    "secret half": [NUMBERS[0] ^ 1, *NUMBERS[1:]],
    "too short": NUMBERS[:32],
    "too long": [*NUMBERS, 0],
    "no list": dict(enumerate(NUMBERS)),
    "too large a number": [256, *NUMBERS[1:]],
    "negative": [-1, *NUMBERS[1:]],
    "truth": [True, *NUMBERS[1:]],
    "fraction": [float(number) for number in NUMBERS],
    "text": [str(number) for number in NUMBERS],
    "null": None,
}


@pytest.mark.parametrize("numbers", WRONG.values(), ids=WRONG)
def test_wrong_content(numbers: object, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError):
        open_signer(str(key_file(tmp_path / "id.json", json.dumps(numbers))))


@given(st.text(max_size=200) | st.just("[" * 4000) | st.just("1" * 4096))
def test_garbage_never_gets_through(text: str) -> None:
    with pytest.raises(KeyFileError):
        _seed(text, "here")  # type: ignore[arg-type]


def test_message_holds_nothing_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError) as caught:
        open_signer(str(key_file(tmp_path / "id.json", ALICE[:-3])))
    shown = str(caught.value).replace(str(tmp_path), "")
    assert not any(f"{number}" in shown for number in NUMBERS if number > 99)
    assert caught.value.__cause__ is None  # JSON's own error would carry the text


def test_not_a_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "fifo", key_file(tmp_path / "big", " " * 5000)):
        with pytest.raises(KeyFileError):
            open_signer(str(path))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_readable_by_others(mode: int, tmp_path: Path) -> None:
    signer = open_signer(str(key_file(tmp_path / "id.json", mode=mode)))
    assert len(signer.warnings) == 1
    assert "chmod 600" in signer.warnings[0]
    with pytest.raises(KeyFileError, match="chmod 600"):  # vaultfs made this one 0600
        open_signer(str(key_file(tmp_path / OWN_NAME, mode=mode)))


def test_default_is_solanas_own(tmp_path: Path) -> None:
    (tmp_path / ".config" / "solana").mkdir(parents=True)
    path = key_file(tmp_path / ".config" / "solana" / "id.json")
    assert default_signer(tmp_path, tmp_path / "config") == (f"keyfile:{path}", False)
    assert not (tmp_path / "config").exists()


def test_default_is_made_once(tmp_path: Path) -> None:
    config = tmp_path / "deep" / "config"
    assert find_default_signer(tmp_path, config) is None
    assert not config.exists()
    spec, created = default_signer(tmp_path, config)
    assert created
    assert stat.S_IMODE((config / OWN_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(config.stat().st_mode) == 0o700
    assert [path.name for path in config.iterdir()] == [OWN_NAME]
    assert default_signer(tmp_path, config) == (spec, False)
    assert find_default_signer(tmp_path, config) == spec
    assert len(json.loads((config / OWN_NAME).read_text())) == 64
    assert open_signer(spec).address == open_signer(spec).address


def test_never_replaces_a_key(tmp_path: Path) -> None:
    path = key_file(tmp_path / OWN_NAME)
    with pytest.raises(KeyFileError, match="exists"):
        make_key_file(path)
    assert path.read_text() == ALICE
    assert [entry.name for entry in tmp_path.iterdir()] == [OWN_NAME]


def test_racing_makers_agree_on_one_key(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def make() -> None:
        try:
            make_key_file(tmp_path / OWN_NAME)
            outcomes.append("made")
        except KeyFileError:
            outcomes.append("refused")

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made"] + ["refused"] * 7
    open_signer(str(tmp_path / OWN_NAME))


def test_made_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_key_file(tmp_path / "a" / OWN_NAME)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / OWN_NAME).stat().st_mode) == 0o600


def test_unknown_kind() -> None:
    with pytest.raises(UsageError, match="ledger"):
        open_signer("ledger:0")
