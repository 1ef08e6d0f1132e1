"""An Ed25519 key in an ssh-agent as signer (the agent protocol, draft-ietf-sshm-ssh-agent).

Only plain `ssh-ed25519` keys: security keys (sk-...) sign a counter with the message, ECDSA a random number,
so they never sign the same way twice; RSA keys have another form.
"""

from __future__ import annotations

import base64
import hashlib
import socket
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.errors import SignerError
from vaultfs.wallet import base58
from vaultfs.wallet.signer import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Signer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultfs.wallet.surroundings import Surroundings

_KEY_TYPE = b"ssh-ed25519"
_REQUEST_IDENTITIES, _IDENTITIES_ANSWER = 11, 12
_SIGN_REQUEST, _SIGN_RESPONSE = 13, 14
_MAX_MESSAGE_BYTES = 256 * 1024  # what OpenSSH's own agent accepts
_TIMEOUT_SECONDS = 60.0  # an agent may ask the person first (ssh-add -c)


class _MalformedError(Exception):
    """The agent's answer is not what the protocol says."""


class AgentKey(NamedTuple):
    """One usable key of an agent."""

    public_key: bytes
    blob: bytes  # the key as SSH writes it
    comment: str

    @property
    def fingerprint(self) -> str:
        """As `ssh-add -l` shows it: `SHA256:...`."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class SshAgentSigner(Signer):
    """Signs with a key that an ssh-agent holds. `ssh-agent` or `ssh-agent:FINGERPRINT`."""

    kind = "ssh-agent"

    def __init__(self, socket_path: str, fingerprint: str = "", timeout: float = _TIMEOUT_SECONDS) -> None:
        """`fingerprint` says which key, with or without `SHA256:`; not needed where only one is usable."""
        self._socket_path = socket_path
        self._fingerprint = fingerprint and "SHA256:" + fingerprint.removeprefix("SHA256:")
        self._timeout = timeout
        self._key: AgentKey | None = None

    @classmethod
    def from_spec(cls, argument: str, around: Surroundings) -> SshAgentSigner:
        """From what stands after `ssh-agent`; the agent is the one of `SSH_AUTH_SOCK`."""
        path = around.environment.get("SSH_AUTH_SOCK", "")
        if not path:
            raise SignerError(detail="no ssh-agent is running here (SSH_AUTH_SOCK is not set)")
        return cls(path, argument)

    @property
    def public_key(self) -> bytes:
        """The chosen key, 32 bytes. Raises `SignerError` when it is not clear which."""
        return self._chosen().public_key

    @property
    def fingerprint(self) -> str:
        """The chosen key as `ssh-add -l` shows it."""
        return self._chosen().fingerprint

    def choose(self, wanted: Sequence[bytes]) -> bytes | None:
        """The first of the agent's keys that is wanted, if any."""
        if self._key is None:
            self._key = next((key for key in self._usable() if key.public_key in wanted), None)
            if self._key is None:
                return None
        return super().choose(wanted)

    def describe(self) -> str:
        """The chosen key's address; all of the agent's keys where none is chosen."""
        keys = [self._key] if self._key else self._usable()
        return ", ".join(base58.encode(key.public_key) for key in keys) or "(none) of the ssh-agent"

    def sign(self, message: bytes) -> bytes:
        """The agent's signature of `message`, 64 bytes."""
        request = _string(self._chosen().blob) + _string(message) + bytes(4)
        try:
            return _parse_signature(self._ask(_SIGN_REQUEST, request, _SIGN_RESPONSE))
        except _MalformedError:
            raise SignerError(detail="the ssh-agent's answer is not an ssh-ed25519 signature") from None

    def _chosen(self) -> AgentKey:
        if self._key is None:
            keys = self._usable()
            if len(keys) > 1:
                names = ", ".join(key.fingerprint for key in keys)
                raise SignerError(detail=f"the ssh-agent has several keys; say which: ssh-agent:... {names}")
            if not keys:
                which = self._fingerprint or "plain ssh-ed25519"
                raise SignerError(detail=f"the ssh-agent has no {which} key (see: ssh-add -l)")
            self._key = keys[0]
        return self._key

    def _usable(self) -> list[AgentKey]:
        """The agent's plain Ed25519 keys that fit the fingerprint."""
        try:
            keys = _parse_identities(self._ask(_REQUEST_IDENTITIES, b"", _IDENTITIES_ANSWER))
        except _MalformedError:
            raise SignerError(detail="the ssh-agent's list of keys cannot be understood") from None
        return [key for key in keys if self._fingerprint in ("", key.fingerprint)]

    def _ask(self, request: int, body: bytes, expected: int) -> bytes:
        """One request, one answer, over a connection of its own."""
        try:
            with socket.socket(socket.AF_UNIX) as agent:
                agent.settimeout(self._timeout)
                agent.connect(self._socket_path)
                agent.sendall((1 + len(body)).to_bytes(4, "big") + bytes([request]) + body)
                size = int.from_bytes(_receive(agent, 4), "big")
                if not 1 <= size <= _MAX_MESSAGE_BYTES:
                    raise _MalformedError
                answer = _receive(agent, size)
        except OSError as error:
            raise SignerError(detail=f"the ssh-agent cannot be reached ({error.strerror or error})") from None
        if answer[0] != expected:
            raise SignerError(detail="the ssh-agent refused; is it locked, or was the question denied?")
        return answer[1:]


def _receive(agent: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = agent.recv(size - len(data))
        if not piece:
            raise _MalformedError
        data += piece
    return data


def _string(data: bytes) -> bytes:
    """SSH's `string`: a big-endian 32-bit length, then the bytes."""
    return len(data).to_bytes(4, "big") + data


def _take(data: bytes) -> tuple[bytes, bytes]:
    """The `string` at the start of `data`, and what follows it."""
    end = 4 + int.from_bytes(data[:4], "big")
    if len(data) < max(end, 4):
        raise _MalformedError
    return data[4:end], data[end:]


def _parse_signature(data: bytes) -> bytes:
    signature, rest = _take(data)
    kind, tail = _take(signature)
    value, tail = _take(tail)
    if rest or tail or kind != _KEY_TYPE or len(value) != SIGNATURE_BYTES:
        raise _MalformedError
    return value


def _parse_identities(data: bytes) -> list[AgentKey]:
    count, rest = int.from_bytes(data[:4], "big"), data[4:]
    keys = []
    for _ in range(count):
        blob, rest = _take(rest)
        comment, rest = _take(rest)
        kind, tail = _take(blob)
        if kind == _KEY_TYPE:
            public_key, tail = _take(tail)
            if tail or len(public_key) != PUBLIC_KEY_BYTES:
                raise _MalformedError
            keys.append(AgentKey(public_key, blob, comment.decode("utf-8", "replace")))
    return keys
