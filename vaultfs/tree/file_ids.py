"""What files that were made here are called in commits: 16 bytes each, the same for ever.

They come from the number of the inode. A machine that is set back to an older image, or cloned, uses the same numbers
again for other files: so every start has a salt of its own for all that is made from then on.
"""

from __future__ import annotations

import secrets
from bisect import bisect_right
from typing import TYPE_CHECKING

import msgspec
from blake3 import blake3

from vaultfs.crypto.keys import ID_BYTES

if TYPE_CHECKING:
    from vaultfs.tree.inode import Inode
    from vaultfs.tree.statements import Statements

_FACT = "salts of file ids"
_SALT_BYTES = 8
_decoder = msgspec.msgpack.Decoder(list[tuple[int, bytes]])


class FileIds:
    """Since which inode which salt counts. Asking is safe in any thread."""

    def __init__(self) -> None:
        self._device = b""
        self._since: list[tuple[int, bytes]] = []

    def load(self, state: Statements) -> None:
        """Take over what the store has."""
        # The first row: the device that the store was made for, whatever this machine has become since.
        self._device = bytes(state.one("SELECT id FROM device WHERE device=1") or b"")
        record = state.one("SELECT value FROM fact WHERE key=?", _FACT)
        self._since = [] if record is None else _decoder.decode(record)

    def begin(self, state: Statements, ino: int) -> None:
        """From that inode on there is another salt. It holds when the open transaction is durable."""
        before = [one for one in self._since if one[0] < ino]  # a start that made nothing needs none
        self._since = [*before, (ino, secrets.token_bytes(_SALT_BYTES))]
        state.run("INSERT OR REPLACE INTO fact VALUES(?,?)", _FACT, msgspec.msgpack.encode(self._since))

    def of(self, node: Inode) -> bytes:
        """The file's id: what it came with, else its own."""
        if node.id:
            return node.id
        at = bisect_right(self._since, node.ino, key=lambda one: one[0])
        salt = self._since[at - 1][1] if at else b""
        return blake3(self._device + b"file" + node.ino.to_bytes(8, "little") + salt).digest(ID_BYTES)
