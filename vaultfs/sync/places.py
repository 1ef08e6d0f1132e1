"""What is known of where nodes and blocks stand, and what of it is on this machine.

`vaultfs.tree.ledger` and `vaultfs.tree.cache` keep it for a mounted vault; those here keep it in memory, for commands
without a mount and for tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vaultfs.format.pack import Kind, PackCodec, PackDamagedError
from vaultfs.tree.packs import Placed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.format.pack import Entry

ON_REMOTE = 3  # state of a pack that is on the remote and only cached here


class Places(Protocol):
    """Packs by number, nodes by id, blocks by row."""

    def add_pack(self, pack_id: bytes, state: int, /) -> int:
        """The number of the pack; one that is known already stays as it is."""
        ...  # pragma: no cover

    def pack_of(self, number: int, /) -> tuple[bytes, int]:
        """Id and state of a pack."""
        ...  # pragma: no cover

    def add_entries(self, pack: int, entries: Iterable[tuple[int, Entry]], /, *, replace: bool = False) -> None:
        """These entries of the pack (number, index line) are known now.

        What has a place already keeps it, unless `replace`: then the other one has turned out to be of no use.
        """
        ...  # pragma: no cover

    def place_of_node(self, node_id: bytes, /) -> Placed | None:
        """Where a node stands; None: not known."""
        ...  # pragma: no cover

    def place_of_block(self, row: int, /) -> Placed | None:
        """Where the block of that row stands; None: not known."""
        ...  # pragma: no cover

    def id_of_block(self, row: int, /) -> bytes:
        """The id of the block of that row. KeyError where there is no such row."""
        ...  # pragma: no cover

    def place_of_content(self, block_id: bytes, /) -> Placed | None:
        """Where a block stands, by its id; None: not known."""
        ...  # pragma: no cover

    def fact(self, key: str, /) -> bytes | None:
        """What was kept under that key."""
        ...  # pragma: no cover

    def set_fact(self, key: str, value: bytes, /) -> None:
        """Keep something for the next time."""
        ...  # pragma: no cover


class Cache(Protocol):
    """The bytes of packs that are on this machine. A pack is a mirror of the remote's object, with holes."""

    def read(self, place: Placed, /) -> bytes | None:
        """The opened entry; None where its bytes are not here or do not authenticate."""
        ...  # pragma: no cover

    def holds(self, pack: int, start: int, end: int, /) -> bool:
        """Whether something was put at all of that range."""
        ...  # pragma: no cover

    def put(self, pack: int, offset: int, data: bytes, /) -> None:
        """Bytes of the remote's object, at their offset. They need not be authentic: `read` looks."""
        ...  # pragma: no cover


class MemoryPlaces:
    """`Places` in dicts. Every block that is learnt of gets a row."""

    def __init__(self) -> None:
        self.packs: list[tuple[bytes, int]] = []
        self.nodes: dict[bytes, Placed] = {}
        self.blocks: dict[int, Placed] = {}
        self.facts: dict[str, bytes] = {}
        self._numbers: dict[bytes, int] = {}
        self._rows: dict[bytes, int] = {}
        self._ids: list[bytes] = []

    def add_pack(self, pack_id: bytes, state: int, /) -> int:
        """As `Places.add_pack`."""
        if pack_id not in self._numbers:
            self.packs.append((pack_id, state))
            self._numbers[pack_id] = len(self.packs)
        return self._numbers[pack_id]

    def pack_of(self, number: int, /) -> tuple[bytes, int]:
        """As `Places.pack_of`."""
        return self.packs[number - 1]

    def add_block(self, block_id: bytes) -> int:
        """The row of that block, made if there is none."""
        if block_id not in self._rows:
            self._ids.append(block_id)
            self._rows[block_id] = len(self._ids)
        return self._rows[block_id]

    def add_entries(self, pack: int, entries: Iterable[tuple[int, Entry]], /, *, replace: bool = False) -> None:
        """As `Places.add_entries`."""
        for number, entry in entries:
            place = Placed(pack, number, entry)
            if entry.kind == Kind.NODE:
                self.nodes[entry.id] = place if replace else self.nodes.get(entry.id, place)
            else:
                row = self.add_block(entry.id)
                self.blocks[row] = place if replace else self.blocks.get(row, place)

    def place_of_node(self, node_id: bytes, /) -> Placed | None:
        """As `Places.place_of_node`."""
        return self.nodes.get(node_id)

    def place_of_block(self, row: int, /) -> Placed | None:
        """As `Places.place_of_block`."""
        return self.blocks.get(row)

    def id_of_block(self, row: int, /) -> bytes:
        """As `Places.id_of_block`."""
        if not 0 < row <= len(self._ids):
            raise KeyError(row)
        return self._ids[row - 1]

    def place_of_content(self, block_id: bytes, /) -> Placed | None:
        """As `Places.place_of_content`."""
        return self.blocks.get(self._rows.get(block_id, 0))

    def fact(self, key: str, /) -> bytes | None:
        """As `Places.fact`."""
        return self.facts.get(key)

    def set_fact(self, key: str, value: bytes, /) -> None:
        """As `Places.set_fact`."""
        self.facts[key] = value


class MemoryCache:
    """`Cache` in memory: the pieces put last, up to `limit` bytes."""

    def __init__(self, keys: VaultKeys, places: Places, limit: int = 64 << 20) -> None:
        self._keys = keys
        self._places = places
        self._limit = limit
        self._pieces: dict[tuple[int, int], bytes] = {}
        self.bytes = 0

    def holds(self, pack: int, start: int, end: int, /) -> bool:
        """As `Cache.holds`; where the range was put in one piece."""
        mine = ((offset, len(data)) for (number, offset), data in self._pieces.items() if number == pack)
        return any(offset <= start and end <= offset + length for offset, length in mine)

    def put(self, pack: int, offset: int, data: bytes, /) -> None:
        """As `Cache.put`."""
        self.bytes += len(data) - len(self._pieces.pop((pack, offset), b""))
        self._pieces[pack, offset] = data
        while self.bytes > self._limit and len(self._pieces) > 1:
            oldest = next(iter(self._pieces))
            self.bytes -= len(self._pieces.pop(oldest))

    def read(self, place: Placed, /) -> bytes | None:
        """As `Cache.read`."""
        start, end = place.entry.offset, place.entry.offset + place.entry.length
        for (pack, offset), data in self._pieces.items():
            if pack == place.pack and offset <= start and end <= offset + len(data):
                try:
                    codec = PackCodec(self._keys, self._places.pack_of(pack)[0])
                    return codec.open(place.number, place.entry, data[start - offset : end - offset])
                except PackDamagedError:
                    continue
        return None
