"""What the working tree was made from, where the base has something newer: the element itself, kept in a lag row."""

from __future__ import annotations

import msgspec

from vaultfs.format.node import Directory, Dot, Element, File, Group, Symlink, Unit
from vaultfs.format.node_codec import encode_element

NOTHING = (Dot(bytes(16), 1), None, bytes(16))  # the identity of no element: nothing was seen

_decoder: msgspec.msgpack.Decoder[Element] = msgspec.msgpack.Decoder(Directory | File | Symlink | Unit | Group)
encode_seen = encode_element


def seen_element(record: bytes) -> Element:
    """The element in a lag row, which is authentic as all of the database."""
    return _decoder.decode(record)
