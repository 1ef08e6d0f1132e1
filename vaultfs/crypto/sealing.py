"""AES-256-GCM with a synthetic nonce.

The nonce is a keyed BLAKE3 of the very bytes that are sealed and of what they mean, so neither a crash nor a
cloned machine can use a nonce twice for different bytes (design, section 3). Sealed form: nonce (12 bytes),
ciphertext, tag (16 bytes).
"""

from __future__ import annotations

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultfs.crypto.keys import derive

NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD = NONCE_BYTES + TAG_BYTES


class OpenFailedError(Exception):
    """The bytes are not what was sealed here, or not under this key and meaning."""


class Sealer:
    """Seals and opens under one key. `meaning` is authenticated with the bytes and never stored."""

    __slots__ = ("_aead", "_nonce_key")

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(derive(key, salt=b"", label="aead"))
        self._nonce_key = derive(key, salt=b"", label="nonce")

    def seal(self, data: bytes | memoryview, meaning: bytes) -> bytes:
        """Nonce, ciphertext and tag: `OVERHEAD` bytes longer than `data`."""
        hasher = blake3(data, key=self._nonce_key)
        # The length goes in so that (data, meaning) pairs cannot run into each other.
        hasher.update(len(data).to_bytes(8, "little") + meaning)
        nonce = hasher.digest(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, data, meaning)

    def open(self, sealed: bytes | memoryview, meaning: bytes) -> bytes:
        """The bytes that were sealed. Raises `OpenFailedError` when anything is not as it was."""
        if len(sealed) < OVERHEAD:
            raise OpenFailedError
        view = memoryview(sealed)
        try:
            return self._aead.decrypt(view[:NONCE_BYTES], view[NONCE_BYTES:], meaning)
        except InvalidTag:
            raise OpenFailedError from None
