"""Where everything on the remote stands: from the heads to the packs and indexes they name, from there to entries.

A head names every pack and index that its commit needs (docs/format.md, "Head"). Small packs are fetched whole, of
others only the footer; an index answers for all its packs with a single chunk. So an id costs one request more than
its bytes at most times, and none when its pack is known already.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from vaultfs.crypto.keys import ID_BYTES
from vaultfs.errors import RemoteDamagedError, RemoteError, RemoteObjectMissingError
from vaultfs.format.index import Index, Records, build_index, joined, name_of, records_of, without
from vaultfs.sync.objects import WHOLE_BYTES, Objects, pack_name
from vaultfs.sync.places import ON_REMOTE, Cache, MemoryCache, MemoryPlaces, Places
from vaultfs.sync.wary import Once, Wary, together
from vaultfs.tree.packs import Placed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.format.head import Head, IndexPlace, PackPlace
    from vaultfs.format.pack import Entry

__all__ = ["Cache", "Catalog", "MemoryCache", "MemoryPlaces", "Places", "pack_name"]

DUE_PACKS = 32
MERGE_BYTES = 64 << 20  # larger indexes are never merged: that bounds the memory it takes
_FEW = 4
_STEP = 4
_READ = "catalog.read"


class Catalog:
    """Finds entries by id, and keeps count of what no index covers yet."""

    def __init__(self, wary: Wary, keys: VaultKeys, places: Places, cache: Cache) -> None:
        self._wary = wary
        self._keys = keys
        self._places = places
        self._cache = cache
        self._packs: dict[bytes, PackPlace] = {}  # that no index is known to cover, oldest first
        self._indexes: dict[bytes, IndexPlace] = {}
        self._entries: dict[bytes, Sequence[Entry]] = {}  # of packs in `_packs`
        self._known: dict[bytes, tuple[bytes, int]] = {}  # by id: where in `_entries`
        self._newest: set[bytes] = set()  # of each head the last pack: what changed last is in there
        stored = places.fact(_READ) or b""
        self._read = {stored[at : at + ID_BYTES] for at in range(0, len(stored), ID_BYTES)}
        self._hits: dict[bytes, int] = {}
        self._hopeless: set[bytes] = set()  # ids that were looked for everywhere in vain
        self._gone: set[bytes] = set()  # packs in `_packs` that are not on the remote
        self._objects = Objects(wary, keys)
        self._once: Once[Sequence[Entry]] = Once()

    # What heads say.

    def learn(self, head: Head) -> list[PackPlace]:
        """What a head names is on the remote; the packs that are new here, in the head's order.

        Heads are to be learnt in the order in which they were published.
        """
        for index in head.indexes:
            self._indexes.setdefault(index.id, index)
        covered = self._covered()
        new = [pack for pack in head.packs if pack.id not in covered and pack.id not in self._packs]
        self._packs |= {pack.id: pack for pack in new}
        if head.packs:
            self._newest.add(head.packs[-1].id)
        return new

    def add(self, pack: PackPlace, entries: Sequence[Entry]) -> None:
        """A pack of our own, whose entries the ledger has."""
        self._packs.setdefault(pack.id, pack)
        self._remember(pack, entries)
        self._note_read(pack.id)

    def name(self, pack: PackPlace) -> None:
        """A pack that is on the remote and that no head names: the next ones do."""
        self._packs.setdefault(pack.id, pack)

    @property
    def unindexed(self) -> tuple[PackPlace, ...]:
        """`Head.packs` for the next head: what none of `indexes` covers."""
        return tuple(self._packs.values())

    @property
    def indexes(self) -> tuple[IndexPlace, ...]:
        """`Head.indexes` for the next head."""
        return tuple(sorted(self._indexes.values()))

    @property
    def packs(self) -> dict[bytes, PackPlace]:
        """All packs by id: also those that indexes cover, whose beginnings `settle` has read."""
        covered = (pack for index in self._indexes for pack in self._objects.packs(index))
        return {pack.id: pack for pack in covered} | self._packs

    async def settle(self) -> None:
        """Forget the packs that an index covers, and the indexes that others cover. One request for a new index."""
        fronts = []
        for index in list(self._indexes.values()):
            with suppress(RemoteObjectMissingError, RemoteDamagedError):  # then it stays: others may be able to read it
                fronts.append(await self._objects.front(index))
        # Of two that cover the same packs the one with fewer records stays: `purge` took out what is in none any more.
        for front in sorted(fronts, key=lambda front: -front.count):
            others = {pack.id for other in fronts if other is not front for pack in other.packs}
            if len(fronts) > 1 and others.issuperset(pack.id for pack in front.packs):
                fronts.remove(front)
                self._forget_index(front.place.id)
        self._forget_packs(self._covered())

    def forget(self, *, packs: Iterable[bytes] = (), indexes: Iterable[bytes] = ()) -> None:
        """These were removed from the remote on purpose: the next heads do not name them."""
        self._forget_packs(packs)
        for index in indexes:
            self._forget_index(index)

    # Finding.

    async def find(self, wanted: Collection[bytes], *, besides: frozenset[bytes] = frozenset()) -> dict[bytes, Placed]:
        """The places of these nodes and blocks, as far as there are any; the ledger learns them, too.

        `besides`: ids of packs that are not to be used. Where something is not found and an object could not be read,
        its error is raised.
        """
        search = _Search(self._places, wanted, besides)
        self._recall(search)
        new = self._newest - self._read
        await self._ask_packs(search, [pack for pack in self._unasked() if pack.id in new])
        for index in sorted(self._indexes.values(), key=lambda index: -index.size):
            if search.missing:
                await search.attempt(lambda index=index: self._ask_index(search, index))  # type: ignore[misc]
        await self._ask_packs(search, self._unasked())
        if search.missing:
            self._recall(search, thoroughly=True)
        if search.missing.keys() - self._hopeless and besides:
            await self._ask_everything(search)
        if search.missing and search.error is not None:
            raise search.error
        return search.found

    async def _ask_everything(self, search: _Search) -> None:
        """What an index places where it is no more may stand in another pack of that index. Once for each id."""
        fronts = [self._objects.packs(index) for index in self._indexes]
        await self._ask_packs(search, list({pack.id: pack for packs in fronts for pack in packs}.values()))
        self._hopeless |= search.missing.keys()

    def _recall(self, search: _Search, *, thoroughly: bool = False) -> None:
        """What is in packs whose entries are in memory. `_known` has one pack for each id, perhaps the wrong one."""
        if search.besides or thoroughly:
            for pack, entries in self._entries.items():
                search.take(pack, enumerate(entries))
            return
        for name in list(search.missing):
            if (hit := self._known.get(name)) is not None:
                pack, number = hit
                search.take(pack, [(number, self._entries[pack][number])])

    def _unasked(self) -> list[PackPlace]:
        """The packs whose entries are not in memory: those the ledger knows nothing of first, newest first.

        Those that were not on the remote come last.
        """
        packs = [pack for pack in reversed(self._packs.values()) if pack.id not in self._entries]
        return sorted(packs, key=lambda pack: (pack.id in self._gone, pack.id in self._read))

    async def _ask_packs(self, search: _Search, packs: list[PackPlace]) -> None:
        packs = [pack for pack in packs if pack.id not in search.asked]
        for start in range(0, len(packs), _STEP):
            if not search.missing:
                return
            await together(
                lambda pack=pack: search.attempt(lambda: self._ask_pack(search, pack))  # type: ignore[misc]
                for pack in packs[start : start + _STEP]
            )

    async def _ask_pack(self, search: _Search, pack: PackPlace) -> None:
        search.asked.add(pack.id)
        try:
            search.take(pack.id, enumerate(await self._footer(pack)))
        except RemoteObjectMissingError:
            self._gone.add(pack.id)  # until somebody needs something that is nowhere else
            raise

    async def _ask_index(self, search: _Search, index: IndexPlace) -> None:
        front = await self._objects.front(index)
        for name in list(search.missing):
            if name not in search.missing:
                continue  # found in a footer meanwhile
            found = await self._objects.look_up(front, name)
            if found is None or found.pack.id in search.besides:
                continue
            search.take(found.pack.id, [(found.number, found.entry)])
            hits = self._hits[found.pack.id] = self._hits.get(found.pack.id, 0) + 1
            # What belongs together is in one pack: its footer saves looking up every single id.
            small = found.pack.size <= WHOLE_BYTES
            if found.pack.id not in self._read | search.asked and (small or hits > 1 or len(search.missing) > _FEW):
                await self._ask_pack(search, found.pack)

    async def _footer(self, pack: PackPlace) -> Sequence[Entry]:
        return await self._once.do(pack.id, lambda: self._take_footer(pack))

    async def _take_footer(self, pack: PackPlace) -> Sequence[Entry]:
        entries, whole = await self._objects.footer(pack)
        number = self._places.add_pack(pack.id, ON_REMOTE)
        if whole and self._places.pack_of(number)[1] == ON_REMOTE:
            # Only the footer is known to be right; a pack that was made here is never written over.
            self._cache.put(number, 0, whole)
        self._places.add_entries(number, list(enumerate(entries)))
        self._remember(pack, entries)
        self._note_read(pack.id)
        return entries

    # Making indexes.

    def due(self, packs: int | None = None) -> bool:
        """Whether more than `packs` (None: many) are in no index: time for one, when all are on the remote."""
        return len(self._packs.keys() - self._gone) > (DUE_PACKS if packs is None else packs)

    async def make_index(self) -> IndexPlace | None:
        """Put an index of all packs that are in none on the remote, together with the indexes that are not larger.

        So there are few, and every record is written again only as often as the logarithm of their number. Heads
        sealed from now on name it. None: there was nothing to index.
        """
        await self.settle()
        entries: dict[PackPlace, Sequence[Entry]] = {}
        await together(
            lambda pack=pack: self._take_entries(pack, entries)  # type: ignore[misc]
            for pack in self._packs.values()
        )
        sources = await trio.to_thread.run_sync(_records, entries)
        merged = []
        for old in self._to_merge(sum(len(source.lines) for source in sources)):
            with suppress(RemoteObjectMissingError, RemoteDamagedError):
                sources.append(await self._objects.whole(await self._objects.front(old)))
                merged.append(old)
        if not any(source.lines for source in sources):
            return None
        index: Index = await trio.to_thread.run_sync(lambda: build_index(self._keys, joined(sources)))
        await self._wary.remote.put(name_of(index.place.id), index.data)
        for old in merged:
            self._forget_index(old.id)
        self._indexes[index.place.id] = index.place
        self._objects.keep(index)
        self._forget_packs([pack.id for pack in entries])
        return index.place

    async def _take_entries(self, pack: PackPlace, entries: dict[PackPlace, Sequence[Entry]]) -> None:
        try:
            known = self._entries.get(pack.id)
            entries[pack] = await self._footer(pack) if known is None else known
        except (RemoteObjectMissingError, RemoteDamagedError):  # then heads go on naming it
            self._gone.add(pack.id)

    async def purge(self, dead: Collection[PackPlace]) -> None:
        """Put indexes on the remote that say of these packs that there is nothing in them, instead of those that have.

        They still name them as covered: so whoever reads them stops to name these packs, and the older indexes. Heads
        sealed from now on name the new ones. Then the packs can be removed, and not before.
        """
        await self.settle()
        ids = {pack.id for pack in dead}
        self._forget_packs(ids)
        fresh: dict[PackPlace, Sequence[Entry]] = {}
        await together(
            lambda pack=pack: self._take_entries(pack, fresh)  # type: ignore[misc]
            for pack in self._packs.values()
        )
        added = [Records(tuple(sorted(dead)), b""), *await trio.to_thread.run_sync(_records, fresh)]
        fronts = []
        for index in self._indexes.values():
            with suppress(RemoteObjectMissingError, RemoteDamagedError):
                fronts.append(await self._objects.front(index))
        for front in fronts:
            if ids.isdisjoint(pack.id for pack in front.packs):
                continue
            records = without(await self._objects.whole(front), ids)
            new = await self._put_index([records, *added])
            if new is not None:
                added = []
                if new != front.place.id:
                    self._forget_index(front.place.id)
        if added and await self._put_index(added) is not None:
            added = []
        if not added:
            self._forget_packs([pack.id for pack in fresh])

    async def _put_index(self, sources: Sequence[Records]) -> bytes | None:
        """Make and store an index; its id. None: there would be nothing in it."""
        if not any(source.lines for source in sources):
            return None
        index: Index = await trio.to_thread.run_sync(lambda: build_index(self._keys, joined(sources)))
        await self._wary.remote.put(name_of(index.place.id), index.data)
        self._indexes[index.place.id] = index.place
        self._objects.keep(index)
        return index.place.id

    def _to_merge(self, size: int) -> list[IndexPlace]:
        chosen = []
        for index in sorted(self._indexes.values(), key=lambda index: index.size):
            if index.size > 2 * size or index.size + size > MERGE_BYTES:
                break
            chosen.append(index)
            size += index.size
        return chosen

    # Bookkeeping.

    def _covered(self) -> set[bytes]:
        return {pack.id for index in self._indexes for pack in self._objects.packs(index)}

    def _forget_packs(self, packs: Iterable[bytes]) -> None:
        for pack in packs:
            self._packs.pop(pack, None)
            self._newest.discard(pack)
            for entry in self._entries.pop(pack, ()):
                if self._known.get(entry.id, (b"", 0))[0] == pack:
                    del self._known[entry.id]

    def _forget_index(self, index: bytes) -> None:
        self._indexes.pop(index, None)
        self._objects.forget(index)

    def _remember(self, pack: PackPlace, entries: Sequence[Entry]) -> None:
        if pack.id in self._packs:
            self._entries[pack.id] = entries
            self._known |= {entry.id: (pack.id, number) for number, entry in enumerate(entries)}

    def _note_read(self, pack: bytes) -> None:
        self._read.add(pack)
        self._places.set_fact(_READ, b"".join(sorted(self._read & self._packs.keys())))


def _records(entries: dict[PackPlace, Sequence[Entry]]) -> list[Records]:
    return [records_of(pack, some) for pack, some in entries.items()]


class _Search:
    """What is looked for, what was found, and what stood in the way."""

    def __init__(self, places: Places, wanted: Collection[bytes], besides: frozenset[bytes]) -> None:
        self.missing = dict.fromkeys(wanted)
        self.besides = besides
        self.asked = set(besides)
        self.found: dict[bytes, Placed] = {}
        self.error: RemoteError | None = None
        self._places = places

    def take(self, pack_id: bytes, entries: Iterable[tuple[int, Entry]]) -> None:
        """Take what is wanted of these entries of a pack."""
        hits = [(number, entry) for number, entry in entries if entry.id in self.missing]
        if hits and pack_id not in self.besides:
            pack = self._places.add_pack(pack_id, ON_REMOTE)
            self._places.add_entries(pack, hits, replace=True)
            for number, entry in hits:
                self.found[entry.id] = Placed(pack, number, entry)
                self.missing.pop(entry.id, None)

    async def attempt(self, work: Callable[[], Awaitable[None]]) -> None:
        """Go on without an object that is missing or damaged: another one may have what is wanted."""
        try:
            await work()
        except (RemoteObjectMissingError, RemoteDamagedError) as error:
            self.error = self.error or error
