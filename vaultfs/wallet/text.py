"""Keys and signatures as people and programs hand them over: raw bytes, hex, base64 or base58."""

from __future__ import annotations

import base64
import binascii

from vaultfs.wallet import base58


def parse_fixed(data: bytes, size: int) -> bytes | None:
    """The `size` bytes (32 or 64) that `data` holds raw or as text, or None.

    The forms cannot be mistaken for each other: hex is known by its length, base64 of 32 or 64 bytes by its
    padding, and base58 has neither.
    """
    if len(data) == size:
        return data
    try:
        text = data.decode("ascii").strip()
        if len(text) == 2 * size:
            decoded = bytes.fromhex(text)
        elif text.endswith("="):
            decoded = base64.b64decode(text.translate({ord("-"): "+", ord("_"): "/"}), validate=True)
        elif len(text) <= 2 * size:
            decoded = base58.decode(text)
        else:
            return None
    except (ValueError, binascii.Error):
        return None
    return decoded if len(decoded) == size else None
