"""External signers: real programs, well-behaved and not."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pure.conftest import FIXTURES
from vaultfs.errors import SignerError, UsageError
from vaultfs.wallet import Surroundings, open_signer, verified_signature

if TYPE_CHECKING:
    from vaultfs.wallet import Signer

GOOD = """
import base64, hashlib, sys
from nacl.signing import SigningKey
key = SigningKey(hashlib.sha256(b"vaultfs TEST wallet alice, never use").digest())
action = sys.argv[-1]
data = sys.stdin.buffer.read()
answer = bytes(key.verify_key) if action == "public-key" else key.sign(data).signature
"""
FORMS = {
    "raw": "sys.stdout.buffer.write(answer)",
    "hex": "print(answer.hex())",
    "base64": "print(base64.b64encode(answer).decode())",
}


def program(directory: Path, text: str) -> str:
    path = directory / "my signer.py"
    path.write_text(text)
    return f"command:{sys.executable} '{path}'"


@pytest.mark.parametrize("form", FORMS)
def test_signs(form: str, tmp_path: Path, alice: Signer) -> None:
    signer = open_signer(program(tmp_path, GOOD + FORMS[form]))
    assert signer.kind == "command"
    assert signer.address == alice.address
    assert verified_signature(signer, b"hello\n\0\xff") == alice.sign(b"hello\n\0\xff")


def test_example_of_the_guide_works(tmp_path: Path, alice: Signer) -> None:
    guide = (FIXTURES.parent / "docs" / "wallets.md").read_text()
    example = guide.split("```python\n")[1].split("```")[0]
    example = example.replace("/mnt/usb-stick/id.json", str(FIXTURES / "wallets" / "TEST-ONLY-alice.json"))
    assert verified_signature(open_signer(program(tmp_path, example)), b"hello") == alice.sign(b"hello")


BAD = {
    "fails": ("raise SystemExit(3)", "exit code 3"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "exit code -9"),
    "silent": ("pass", "must print"),
    "short": ("sys.stdout.buffer.write(answer[:-1])", "must print"),
    "chatty": ("print('Your signature:', answer.hex())", "must print"),
}


@pytest.mark.parametrize("name", BAD)
def test_misbehaves(name: str, tmp_path: Path) -> None:
    text, reason = BAD[name]
    signer = open_signer(program(tmp_path, GOOD + text))
    with pytest.raises(SignerError, match=reason):
        signer.sign(b"hello")
    with pytest.raises(SignerError, match=reason):
        _ = signer.public_key


def test_wrong_signature_is_noticed(tmp_path: Path) -> None:
    text = GOOD + "print((answer if action == 'public-key' else key.sign(data + b'!').signature).hex())"
    with pytest.raises(SignerError, match="exactly the message"):
        verified_signature(open_signer(program(tmp_path, text)), b"hello")


def test_that_does_not_read_the_message(tmp_path: Path) -> None:
    signer = open_signer(program(tmp_path, "print('00' * 64)"))
    assert signer.sign(b"x" * 1_000_000) == bytes(64)  # no EPIPE, no deadlock


@pytest.mark.parametrize("text", ["import time; time.sleep(60)", "import os, time; os.fork(); time.sleep(60)"])
def test_time_limit(text: str, tmp_path: Path) -> None:
    # The second leaves a child that holds the pipe: nobody must wait for that one either.
    pids = tmp_path / "pids"
    text = text.replace("time.sleep", f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep")
    environment = {**os.environ, "VAULTFS_SIGNER_TIMEOUT": "0.7"}
    signer = open_signer(program(tmp_path, "import os\n" + text), Surroundings(environment=environment))
    try:
        with pytest.raises(SignerError, match=r"did not answer in 0\.7 s"):
            signer.sign(b"hello")
    finally:
        for pid in pids.read_text().split():
            if Path(f"/proc/{pid}").exists():
                os.kill(int(pid), 9)


def test_no_shell(tmp_path: Path) -> None:
    signer = open_signer(f"command:echo $(touch {tmp_path}/made) ; touch {tmp_path}/made")
    with pytest.raises(SignerError):
        signer.sign(b"hello")
    assert not (tmp_path / "made").exists()


def test_message_never_in_arguments_or_environment(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    text = GOOD + f"import os; open({str(seen)!r}, 'w').write(repr(sys.argv) + repr(os.environ)); print('00' * 64)"
    open_signer(program(tmp_path, text)).sign(b"MARKER-IN-MESSAGE")
    assert "my signer.py" in seen.read_text()
    assert "MARKER-IN-MESSAGE" not in seen.read_text()


@pytest.mark.parametrize("spec", ["command:", "command:'", "command:  "])
def test_no_program_named(spec: str) -> None:
    with pytest.raises(UsageError):
        open_signer(spec)


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "inf"])
def test_bad_time_limit(seconds: str) -> None:
    with pytest.raises(UsageError, match="TIMEOUT"):
        open_signer("command:true", Surroundings(environment={"VAULTFS_SIGNER_TIMEOUT": seconds}))


def test_program_is_missing() -> None:
    with pytest.raises(SignerError, match="cannot be run"):
        open_signer("command:/nowhere/signer").sign(b"")
