"""A person as signer: the message is shown, also as a QR code, and the signature is pasted back."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from vaultfs.errors import SignerError, UsageError
from vaultfs.wallet import base58
from vaultfs.wallet.signer import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Signer
from vaultfs.wallet.text import parse_fixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultfs.wallet.surroundings import Surroundings, Terminal

_ATTEMPTS = 3


class PasteSigner(Signer):
    """Asks a person to sign elsewhere. `paste`."""

    kind = "paste"

    def __init__(self, terminal: Terminal) -> None:
        """`terminal` is where the person is."""
        self._terminal = terminal
        self._public_key: bytes | None = None

    @classmethod
    def from_spec(cls, argument: str, around: Surroundings) -> PasteSigner:
        """Nothing may stand after `paste`."""
        if argument:
            raise UsageError(detail="The signer 'paste' takes nothing after it")
        return cls(around.terminal)

    @property
    def public_key(self) -> bytes:
        """The wallet address the person gives, asked once. 32 bytes."""
        if self._public_key is None:
            self._public_key = self._ask(
                "Wallet address: ", PUBLIC_KEY_BYTES, "a wallet address (base58)", hidden=False
            )
        return self._public_key

    def choose(self, wanted: Sequence[bytes]) -> bytes | None:
        """The only wanted key needs no question; else the person says which."""
        if self._public_key is None and len(wanted) == 1:
            self._public_key = wanted[0]
        return super().choose(wanted)

    def sign(self, message: bytes) -> bytes:
        """The signature the person pastes. 64 bytes. It is as good as a key, so it is not shown."""
        import segno  # noqa: PLC0415 - 50 ms that no other signer needs

        picture = io.StringIO()
        segno.make(message, micro=False, error="l").terminal(picture, border=2, compact=True)
        self._terminal.show(picture.getvalue())
        self._terminal.show(f"Sign this with {base58.encode(self.public_key)}, exactly as it stands:\n")
        self._terminal.show(message.decode("utf-8", "backslashreplace"))
        self._terminal.show("\nThere is no line break after the last line.")
        return self._ask("Signature (not shown): ", SIGNATURE_BYTES, "a signature", hidden=True)

    def _ask(self, question: str, size: int, what: str, *, hidden: bool) -> bytes:
        for _ in range(_ATTEMPTS):
            text = self._terminal.ask(question, hidden=hidden).strip()
            answer = parse_fixed(text.encode(), size)
            # A raw answer cannot be typed; one of exactly this length is text of the wrong length.
            if answer is not None and answer != text.encode():
                return answer
            self._terminal.show(f"That is not {what}: {size} bytes in base58, base64 or hex.")
        raise SignerError(detail=f"{what} was not entered")
