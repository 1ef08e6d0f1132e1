"""The vault header as bytes: the object `vault.<n>` on a remote, the file `header` on a machine.

Layout (docs/format.md, "Vault header and slots"): magic (8 bytes), format version (2, little-endian), the
record in MessagePack, whose last 32 bytes are a MAC by the vault's own key, then 16 bytes of BLAKE3 over all
before. That checksum needs no key: it tells damage from a wrong wallet.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec
from blake3 import blake3

from vaultfs.crypto.keys import KEY_BYTES
from vaultfs.crypto.records import MAGIC, PREFIX, VERSION, Header, header_bytes, is_plain
from vaultfs.errors import HeaderDamagedError, NewerFormatError

CHECKSUM_BYTES = 16
MAX_BYTES = 256 * 1024

_decoder = msgspec.msgpack.Decoder(Header)


def encode_header(header: Header) -> bytes:
    """The header's bytes, the same for the same header."""
    data = header_bytes(header)
    return data + _checksum(data)


def decode_header(data: bytes, *, path: str) -> Header:
    """The header in `data`; nothing in it is to be believed before its MAC was checked (`slots.unlock`).

    Raises:
        HeaderDamagedError: not exactly what `encode_header` writes. Names `path`.
        NewerFormatError: written by a later vaultfs.
    """
    if len(data) > MAX_BYTES:
        raise HeaderDamagedError(path=path, detail=f"larger than {MAX_BYTES} bytes")
    if not data.startswith(MAGIC) or len(data) < len(PREFIX) + CHECKSUM_BYTES:
        raise HeaderDamagedError(path=path, detail="not a vault header, or cut off")
    # Magic, version and checksum stand where they stand in every later version, too.
    content, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if _checksum(content) != checksum:
        raise HeaderDamagedError(path=path, detail="the checksum does not fit")
    version = int.from_bytes(data[len(MAGIC) : len(PREFIX)], "little")
    if version > VERSION:
        raise NewerFormatError(what=f"The vault header {path}", found=version, known=VERSION)
    try:
        header = _decoder.decode(content[len(PREFIX) :])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise HeaderDamagedError(path=path, detail="the record is malformed") from None
    if header_bytes(header) != content:
        raise HeaderDamagedError(path=path, detail="the record is not in its one proper form")
    if len({slot.id for slot in header.slots}) != len(header.slots):
        raise HeaderDamagedError(path=path, detail="two slots have one id")
    if not all(is_plain(slot.label) for slot in header.slots):
        raise HeaderDamagedError(path=path, detail="a label has control characters")
    _check_devices(header, path)
    return header


def _check_devices(header: Header, path: str) -> None:
    """Ascending, so that no device stands there twice and the same header is always the same bytes."""
    granted = [grant.device for grant in header.granted]
    removed = [one.device for one in header.removed]
    if not all(a < b for devices in (granted, removed) for a, b in pairwise(devices)):
        raise HeaderDamagedError(path=path, detail="devices are out of order")
    if any(len(one.head) not in {0, KEY_BYTES} for one in header.removed):
        raise HeaderDamagedError(path=path, detail="a head's hash of the wrong length")
    if not set(granted).isdisjoint(removed):
        raise HeaderDamagedError(path=path, detail="a removed device has a grant")
    if header.epoch == 1 and (granted or removed):
        raise HeaderDamagedError(path=path, detail="a device was removed without new keys")


def _checksum(content: bytes) -> bytes:
    return blake3(content).digest(CHECKSUM_BYTES)
