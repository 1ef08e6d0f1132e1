"""ssh-agent: OpenSSH's real one, and sockets that answer nonsense."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from vaultfs.crypto.slots import create_header, unlock
from vaultfs.errors import SignerError, WrongWalletError
from vaultfs.wallet import Surroundings, open_signer, verified_signature
from vaultfs.wallet.ssh_agent import SshAgentSigner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vaultfs.wallet import Signer

needs_openssh = pytest.mark.skipif(
    not shutil.which("ssh-agent"), reason="ssh-agent is not here: apt install openssh-client"
)


class Agent:
    """A running ssh-agent."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.around = Surroundings(environment={"SSH_AUTH_SOCK": str(directory / "socket")})
        self.process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(directory / "socket")], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        assert "SSH_AUTH_SOCK" in self.process.stdout.readline()  # printed once it listens

    def run(self, *command: str) -> str:
        environment = {**os.environ, **self.around.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    def add(self, kind: str, *options: str) -> str:
        """A new key in the agent; its fingerprint."""
        path = str(self.directory / f"key-{kind}-{len(list(self.directory.iterdir()))}")
        self.run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path)
        self.run("ssh-add", "-q", *options, path)
        return self.run("ssh-keygen", "-l", "-f", path).split()[1]

    def signer(self, spec: str = "ssh-agent") -> Signer:
        return open_signer(spec, self.around)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.communicate()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    running = Agent(tmp_path)
    yield running
    running.stop()


@needs_openssh
def test_opens_a_vault(agent: Agent) -> None:
    fingerprint = agent.add("ed25519")
    signer = agent.signer()
    assert signer.kind == "ssh-agent"
    assert isinstance(signer, SshAgentSigner)
    assert signer.fingerprint == fingerprint
    created = create_header(signer, name="v", with_words=False)
    assert unlock(created.header, agent.signer()).master() == created.keys.master()


@needs_openssh
def test_only_plain_ed25519(agent: Agent) -> None:
    agent.add("ecdsa")
    agent.add("rsa")
    with pytest.raises(SignerError, match="no plain ssh-ed25519 key"):
        _ = agent.signer().public_key
    agent.add("ed25519")
    assert verified_signature(agent.signer(), b"hello")


@needs_openssh
def test_several_keys(agent: Agent) -> None:
    first, second = agent.add("ed25519"), agent.add("ed25519")
    with pytest.raises(SignerError, match="several keys") as caught:
        _ = agent.signer().public_key
    assert first in str(caught.value)
    chosen = agent.signer(f"ssh-agent:{second}")
    assert agent.signer("ssh-agent:" + second.removeprefix("SHA256:")).address == chosen.address
    created = create_header(chosen, name="v", with_words=False)
    assert unlock(created.header, agent.signer())  # the vault knows which of the two it needs
    with pytest.raises(WrongWalletError):
        unlock(created.header, agent.signer(f"ssh-agent:{first}"))
    with pytest.raises(SignerError, match="no SHA256:nothing key"):
        _ = agent.signer("ssh-agent:nothing").public_key


@needs_openssh
def test_vault_of_another_wallet(agent: Agent, alice: Signer) -> None:
    agent.add("ed25519")
    agent.add("ed25519")
    created = create_header(alice, name="v", with_words=False)
    with pytest.raises(WrongWalletError) as caught:
        unlock(created.header, agent.signer(), name="v")
    assert alice.address in str(caught.value)


@needs_openssh
def test_locked_or_gone(agent: Agent) -> None:
    fingerprint = agent.add("ed25519")
    signer = agent.signer(f"ssh-agent:{fingerprint}")
    assert signer.public_key
    agent.run("ssh-add", "-D")
    with pytest.raises(SignerError, match="refused"):
        signer.sign(b"hello")
    agent.stop()
    with pytest.raises(SignerError, match="cannot be reached"):
        signer.sign(b"hello")


def test_no_agent(tmp_path: Path) -> None:
    with pytest.raises(SignerError, match="SSH_AUTH_SOCK"):
        open_signer("ssh-agent", Surroundings(environment={}))
    with pytest.raises(SignerError, match="cannot be reached"):
        _ = SshAgentSigner(str(tmp_path / "missing")).public_key


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


NONSENSE = {
    "nothing": b"",
    "half a length": b"\0\0",
    "length of zero": bytes(4),
    "huge length": b"\xff\xff\xff\xff",
    "cut off": b"\0\0\0\x09\x0c\0\0",
    "count without keys": framed(b"\x0c\xff\xff\xff\xff"),
    "string past the end": framed(b"\x0c\0\0\0\x01\0\0\x10\0abc"),
    "key of 31 bytes": framed(b"\x0c\0\0\0\x01" + framed(framed(b"ssh-ed25519") + framed(bytes(31))) + framed(b"")),
    "another message": framed(b"\x63"),
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_nonsense(answer: bytes, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(SignerError):
            _ = SshAgentSigner(path).public_key
        thread.join()


def test_silent_agent(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        with pytest.raises(SignerError, match="timed out"):
            _ = SshAgentSigner(path, timeout=0.1).public_key
