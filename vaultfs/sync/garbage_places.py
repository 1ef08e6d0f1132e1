"""Where everything stands by what the heads name: footers and indexes read whole, and compared.

What is in several packs stands in the one with the lowest id: that is how indexes have it, too (`index.joined`), so a
pack in which nothing stands in this sense is one that nobody will look into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trio

from vaultfs.errors import RemoteDamagedError, RemoteObjectMissingError
from vaultfs.format.index import found_in
from vaultfs.sync.objects import Objects
from vaultfs.sync.wary import together

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.format.head import Head, IndexPlace, PackPlace
    from vaultfs.format.index import Records
    from vaultfs.format.pack import Entry
    from vaultfs.sync.wary import Wary


class Held(NamedTuple):
    """Where something stands: the pack's id, the number in it, its index line."""

    pack: bytes
    number: int
    entry: Entry


class Holders:
    """What the packs hold that heads name.

    `packs`: by id, all that are named. `broken`: names of objects that are missing or damaged, with the error.
    """

    def __init__(self, wary: Wary, keys: VaultKeys) -> None:
        self.packs: dict[bytes, PackPlace] = {}
        self.broken: dict[str, RemoteDamagedError | RemoteObjectMissingError] = {}
        self._objects = Objects(wary, keys)
        self._indexes: dict[bytes, Records] = {}
        self._footers: dict[bytes, Sequence[Entry]] = {}

    async def learn(self, heads: Iterable[Head]) -> None:
        """Read what these heads name and was not read yet. Raises what the remote raises."""
        heads = list(heads)
        indexes = {index.id: index for head in heads for index in head.indexes if index.id not in self._indexes}
        await together(lambda index=index: self._index(index) for index in indexes.values())  # type: ignore[misc]
        packs = {pack.id: pack for head in heads for pack in head.packs if pack.id not in self._footers}
        self.packs |= packs
        await together(lambda pack=pack: self._footer(pack) for pack in packs.values())  # type: ignore[misc]

    async def add(self, pack: PackPlace) -> None:
        """Read one more."""
        self.packs[pack.id] = pack
        await self._footer(pack)

    def put(self, pack: PackPlace, entries: Sequence[Entry]) -> None:
        """One that was made just now."""
        self.packs[pack.id] = pack
        self._footers[pack.id] = entries

    def drop(self, packs: Iterable[bytes]) -> None:
        """These are as good as gone."""
        for pack in packs:
            self._footers.pop(pack, None)
            self.packs.pop(pack, None)

    async def _index(self, index: IndexPlace) -> None:
        try:
            front = await self._objects.front(index)
            records = await self._objects.whole(front)
        except (RemoteObjectMissingError, RemoteDamagedError) as error:
            self._break(error)
            return
        self._indexes[index.id] = records
        self.packs |= {pack.id: pack for pack in records.packs}

    async def _footer(self, pack: PackPlace) -> None:
        try:
            self._footers[pack.id] = (await self._objects.footer(pack))[0]
        except (RemoteObjectMissingError, RemoteDamagedError) as error:
            self._break(error)

    def _break(self, error: RemoteDamagedError | RemoteObjectMissingError) -> None:
        self.broken[str(error.fields["object"])] = error

    def inside(self, pack: bytes) -> list[Held]:
        """What a pack holds, as far as footers and indexes say."""
        if pack in self._footers:
            return [Held(pack, number, entry) for number, entry in enumerate(self._footers[pack])]
        indexes = [records for records in self._indexes.values() if any(one.id == pack for one in records.packs)]
        found = (one for records in indexes for one in found_in(records) if one.pack.id == pack)
        return [Held(pack, number, entry) for _, number, entry in found]

    async def find(self, wanted: set[bytes], gone: frozenset[bytes] = frozenset()) -> dict[bytes, Held]:
        """Where these stand. `gone`: packs that do not count."""
        return await trio.to_thread.run_sync(self._find, wanted, gone)

    def _find(self, wanted: set[bytes], gone: frozenset[bytes]) -> dict[bytes, Held]:
        held: dict[bytes, Held] = {}
        for records in self._indexes.values():
            for pack, number, entry in found_in(records):
                if entry.id in wanted:
                    _note(held, Held(pack.id, number, entry), gone)
        for pack_id, entries in self._footers.items():
            for number, entry in enumerate(entries):
                if entry.id in wanted:
                    _note(held, Held(pack_id, number, entry), gone)
        return held


def _note(held: dict[bytes, Held], one: Held, gone: frozenset[bytes]) -> None:
    before = held.get(one.entry.id)
    if one.pack not in gone and (before is None or one.pack < before.pack):
        held[one.entry.id] = one
