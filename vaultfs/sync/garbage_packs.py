"""Packs of what is worth keeping of others: opened, and sealed anew."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from vaultfs.crypto.keys import EPOCH_BYTES, ID_BYTES
from vaultfs.format.head import PackPlace
from vaultfs.format.pack import PACK_BYTES, Entry, Kind, PackCodec, parse_trailer
from vaultfs.sync.objects import pack_name
from vaultfs.sync.places import ON_REMOTE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.remote import Remote
    from vaultfs.sync.catalog import Catalog
    from vaultfs.sync.places import Cache, Places

_START_BYTES = ID_BYTES - EPOCH_BYTES
_AT_ONCE = 32
_LINE = 64


class Made(NamedTuple):
    """A new pack that is on the remote: its place, and what is in it."""

    place: PackPlace
    entries: list[Entry]


def lower_id(keys: VaultKeys, others: Collection[bytes]) -> bytes:
    """A random pack id below all these: what is in several packs is looked for in the one with the lowest id."""
    lowest = min(int.from_bytes(other[:_START_BYTES]) for other in others)
    return keys.object_id(secrets.randbelow(max(lowest, 1)).to_bytes(_START_BYTES))


class Packer:
    """One pack in the making, in memory: at most `PACK_BYTES`."""

    def __init__(self, keys: VaultKeys, pack_id: bytes) -> None:
        self._codec = PackCodec(keys, pack_id)
        self._parts = [self._codec.header()]
        self._size = len(self._parts[0])
        self.entries: list[Entry] = []

    def add(self, kind: Kind, name: bytes, data: bytes) -> None:
        """Seal one more."""
        sealed, codec = self._codec.seal(len(self.entries), kind, data)
        self.entries.append(Entry(kind, name, self._size, len(sealed), len(data), codec))
        self._parts.append(sealed)
        self._size += len(sealed)

    def fits(self, size: int) -> bool:
        """Whether there is room for something of that size."""
        return self._size + size + (len(self.entries) + 2) * _LINE <= PACK_BYTES

    def finish(self) -> tuple[PackPlace, bytes]:
        """The pack, and what a head says of it."""
        end = self._codec.finish(self._size, self.entries)
        footer, length = parse_trailer(end)
        data = b"".join((*self._parts, end))
        return PackPlace(self._codec.id, len(data), footer, length), data


class Repacking:
    """Puts entries into new packs on the remote, which the catalog names from then on."""

    def __init__(self, remote: Remote, keys: VaultKeys, catalog: Catalog, places: Places, cache: Cache) -> None:
        self._remote = remote
        self._keys = keys
        self._catalog = catalog
        self._places = places
        self._cache = cache

    async def copy(
        self,
        entries: list[Entry],
        below: Collection[bytes],
        read: Callable[[int, list[bytes]], Awaitable[dict[bytes, bytes]]],
    ) -> list[Made]:
        """New packs with these entries, their ids lower than all of `below`. `read(kind, ids)` brings the bytes.

        Raises what `read` and the remote raise; packs that were stored before are garbage then.
        """
        made: list[Made] = []
        packer: Packer | None = None
        ordered = sorted(entries, key=lambda entry: entry.kind)
        for start in range(0, len(ordered), _AT_ONCE):
            some = ordered[start : start + _AT_ONCE]
            data: dict[bytes, bytes] = {}
            for kind in Kind:
                names = [entry.id for entry in some if entry.kind == kind]
                data |= await read(kind, names) if names else {}
            for entry in some:
                if packer is not None and not packer.fits(entry.size):
                    made.append(await self._store(packer))
                    packer = None
                packer = packer or Packer(self._keys, lower_id(self._keys, below))
                packer.add(Kind(entry.kind), entry.id, data[entry.id])
        if packer is not None:
            made.append(await self._store(packer))
        return made

    async def _store(self, packer: Packer) -> Made:
        place, data = packer.finish()
        await self._remote.put(pack_name(place.id), data)
        number = self._places.add_pack(place.id, ON_REMOTE)
        self._cache.put(number, 0, data)
        self._places.add_entries(number, list(enumerate(packer.entries)), replace=True)
        self._catalog.add(place, packer.entries)
        return Made(place, packer.entries)
