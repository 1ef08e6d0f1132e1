"""A person who pastes: scripted answers, and once a real terminal."""

from __future__ import annotations

import os
import pty
import sys
from typing import TYPE_CHECKING

import pytest

from vaultfs.errors import SignerError, UsageError
from vaultfs.wallet import Surroundings, base58, open_signer, verified_signature

if TYPE_CHECKING:
    from vaultfs.wallet import Signer


class Script:
    """A terminal with a person who has made up their mind."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.shown: list[str] = []
        self.hidden: list[bool] = []

    def show(self, text: str) -> None:
        self.shown.append(text)

    def ask(self, question: str, *, hidden: bool = False) -> str:
        self.shown.append(question)
        self.hidden.append(hidden)
        return self.answers.pop(0)


def paste(script: Script) -> Signer:
    return open_signer("paste", Surroundings(terminal=script))


def test_asks_for_address_and_signature(alice: Signer) -> None:
    signature = alice.sign(b"some\nmessage")
    script = Script(alice.address, f" {base58.encode(signature)} ")
    assert verified_signature(paste(script), b"some\nmessage") == signature
    assert "some\nmessage" in script.shown
    assert script.hidden == [False, True]  # a signature opens the vault: it must not stay on the screen
    picture = next(text for text in script.shown if "█" in text)
    assert len({len(line) for line in picture.splitlines()}) == 1


def test_only_slot_needs_no_address(alice: Signer) -> None:
    script = Script(alice.sign(b"m").hex())
    signer = paste(script)
    assert signer.choose([alice.public_key]) == alice.public_key
    assert verified_signature(signer, b"m") == alice.sign(b"m")


def test_several_slots_need_one(alice: Signer, bob: Signer) -> None:
    assert paste(Script(bob.address)).choose([alice.public_key, bob.public_key]) == bob.public_key
    assert paste(Script(bob.address)).choose([alice.public_key, bytes(32)]) is None


def test_asks_again_three_times(alice: Signer) -> None:
    assert paste(Script("", "what", alice.address)).public_key == alice.public_key
    with pytest.raises(SignerError, match="wallet address"):
        _ = paste(Script("", "what", "x" * 32)).public_key


def test_takes_no_argument() -> None:
    with pytest.raises(UsageError):
        open_signer("paste:x")


def test_needs_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(SignerError, match="no terminal"):
            _ = open_signer("paste").public_key


def test_on_a_real_terminal(alice: Signer) -> None:
    message = "vaultfs: a test\nof two lines"
    program = (
        "import sys; from vaultfs.wallet import open_signer, verified_signature\n"
        f"value = verified_signature(open_signer('paste'), {message.encode()!r})\n"
        "print('RESULT', len(value))"
    )
    signature = base58.encode(alice.sign(message.encode()))
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])  # noqa: S606
    try:
        seen = _until(fd, "Wallet address: ")
        os.write(fd, alice.address.encode() + b"\n")
        seen += _until(fd, "Signature (not shown): ")
        os.write(fd, signature.encode() + b"\n")
        seen += _until(fd, "RESULT 64")
        _to_the_end(fd)
    finally:
        os.close(fd)
        _, status = os.waitpid(pid, 0)
    assert "of two lines" in seen
    assert signature not in seen
    assert os.waitstatus_to_exitcode(status) == 0


def _until(fd: int, text: str) -> str:
    """All that the terminal shows until `text` has come."""
    seen = b""
    while text.encode() not in seen:
        piece = _read(fd)
        assert piece, f"ended before {text!r}: {seen.decode(errors='replace')}"
        seen += piece
    return seen.decode()


def _to_the_end(fd: int) -> None:
    while _read(fd):
        pass


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # how Linux says that the other side is gone
        return b""
