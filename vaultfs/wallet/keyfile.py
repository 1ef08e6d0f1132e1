"""Solana key files: a JSON array of 64 integers, a 32-byte Ed25519 seed and its 32-byte public key."""

from __future__ import annotations

import json
import os
import secrets
import stat
from typing import TYPE_CHECKING

from nacl.signing import SigningKey

from vaultfs.durable import sync_path
from vaultfs.errors import KeyFileError
from vaultfs.wallet.signer import PUBLIC_KEY_BYTES, Signer

if TYPE_CHECKING:
    from pathlib import Path

    from vaultfs.wallet.surroundings import Surroundings

OWN_NAME = "vaultfs-wallet.json"  # the name of key files that vaultfs makes itself
_SEED_BYTES = 32
_MAX_FILE_BYTES = 4096
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyFileSigner(Signer):
    """Signs with the key in a file. `keyfile:PATH`, or just PATH."""

    kind = "keyfile"

    def __init__(self, path: Path) -> None:
        """Read the key at `path`. Raises `KeyFileError` when there is no usable key in it."""
        content, mode = _read(path)
        self._key = SigningKey(_seed(content, path))
        if mode & _OPEN_TO_OTHERS:
            problem = f"others on this machine may read it (mode {mode:04o}); run: chmod 600 {path}"
            # Our own file was made 0600, so somebody opened it up since; with other people's we only warn.
            if path.name == OWN_NAME:
                raise KeyFileError(path=path, detail=problem)
            self.warnings = (f"The key file {path}: {problem}",)

    @classmethod
    def from_spec(cls, argument: str, around: Surroundings) -> KeyFileSigner:
        """From what stands after `keyfile:`; `~` is the home directory."""
        return cls(around.path(argument))

    @property
    def public_key(self) -> bytes:
        """The public half, 32 bytes."""
        return bytes(self._key.verify_key)

    def sign(self, message: bytes) -> bytes:
        """The signature of `message`, 64 bytes."""
        return bytes(self._key.sign(message).signature)


def _read(path: Path) -> tuple[str, int]:
    """The file's text and permission bits."""
    try:
        # Not to wait for ever on a FIFO somebody left under that name.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError(path=path, detail="it is not a regular file")
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyFileError(path=path, detail=error.strerror or "it cannot be read") from None
    if len(data) > _MAX_FILE_BYTES:
        raise KeyFileError(path=path, detail="it is too large for a key file")
    return data.decode("utf-8", "replace"), stat.S_IMODE(status.st_mode)


def _seed(content: str, path: Path) -> bytes:
    """The 32-byte seed in a key file's text. No error shows anything of the text."""
    size = _SEED_BYTES + PUBLIC_KEY_BYTES
    try:
        numbers = json.loads(content)
    except (ValueError, RecursionError):
        raise KeyFileError(path=path, detail="it is not JSON; is it cut off?") from None
    if not isinstance(numbers, list) or len(numbers) != size:
        raise KeyFileError(path=path, detail=f"it must hold a list of {size} numbers")
    if any(type(number) is not int or number not in range(256) for number in numbers):
        raise KeyFileError(path=path, detail="it must hold whole numbers from 0 to 255")
    pair = bytes(numbers)
    if bytes(SigningKey(pair[:_SEED_BYTES]).verify_key) != pair[_SEED_BYTES:]:
        raise KeyFileError(path=path, detail="its two halves do not fit each other")
    return pair[:_SEED_BYTES]


def make_key_file(path: Path) -> None:
    """Write a new random key to `path`: mode 0600, durable, all or nothing, never over another file.

    Raises:
        KeyFileError: it could not be written, or something is there already.
    """
    key = SigningKey.generate()
    text = json.dumps(list(bytes(key) + bytes(key.verify_key)), separators=(",", ":"))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(temporary)  # unlike a rename, this never replaces a key that is there
        finally:
            temporary.unlink()
        for place in (path.parent, path.parent.parent, path.parent.parent.parent):
            sync_path(place)
    except OSError as error:
        raise KeyFileError(path=path, detail=error.strerror or "it cannot be written") from None
