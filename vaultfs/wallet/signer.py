"""What every signer is: a public key, and signatures made with it.

A new kind of signer is one new file with a class like `keyfile.KeyFileSigner`, and one line in `registry.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from vaultfs.errors import SignerError
from vaultfs.wallet import base58

if TYPE_CHECKING:
    from collections.abc import Sequence

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64


class Signer(ABC):
    """A way to get Ed25519 signatures from one wallet. Prints nothing secret of itself."""

    kind: ClassVar[str]
    warnings: tuple[str, ...] = ()  # sentences the person should read; the program goes on

    @property
    @abstractmethod
    def public_key(self) -> bytes:
        """The wallet's Ed25519 public key, 32 bytes. May ask for it: a person, a program, an agent.

        Raises:
            SignerError: it could not be found out.
        """

    @abstractmethod
    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature of `message`, 64 bytes, unchecked: call `verified_signature` instead.

        Raises:
            SignerError: there is none: refused, timed out, not reachable.
        """

    @property
    def address(self) -> str:
        """The public key as people know it: base58, as Solana does. May ask, as `public_key`."""
        return base58.encode(self.public_key)

    def choose(self, wanted: Sequence[bytes]) -> bytes | None:
        """Which of the `wanted` public keys this wallet signs with from now on, or None.

        A signer that holds several keys picks here; one that must ask can say what it asks for.
        """
        return self.public_key if self.public_key in wanted else None

    def describe(self) -> str:
        """How to name this wallet in a message: its address, unless several keys would do."""
        return self.address

    def __repr__(self) -> str:
        """The kind only: what a signer holds must not reach a log."""
        return f"{type(self).__name__}()"


def verified_signature(signer: Signer, message: bytes) -> bytes:
    """The signer's signature of `message`, checked against its public key. 64 bytes.

    Raises:
        SignerError: no signature, or one that is not by this key over exactly these bytes.
    """
    signature = signer.sign(message)
    if len(signature) != SIGNATURE_BYTES:
        raise SignerError(detail=f"a signature has {SIGNATURE_BYTES} bytes, this one {len(signature)}")
    try:
        VerifyKey(signer.public_key).verify(message, signature)
    except (CryptoError, ValueError):
        raise SignerError(
            detail=f"the signature is not by {signer.address} over exactly the message that was asked for"
        ) from None
    return signature
