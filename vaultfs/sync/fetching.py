"""Nodes and blocks from the remote: found by the catalog, fetched by range, checked, and kept in the local cache.

All of it runs in the trio loop; worker threads come in through `nodes.ThreadNodes`, FUSE handlers by `Fetcher.fetch`.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, NamedTuple

import trio

from vaultfs.errors import RemoteDamagedError, RemoteObjectMissingError
from vaultfs.format.pack import BLOCK_BYTES, OVERHEAD, Kind, PackCodec
from vaultfs.sync.catalog import pack_name
from vaultfs.sync.places import ON_REMOTE
from vaultfs.sync.wary import together, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.format.head import PackPlace
    from vaultfs.remote import Remote
    from vaultfs.sync.catalog import Cache, Catalog, Places
    from vaultfs.sync.wary import Wary
    from vaultfs.tree.incoming import NotHereError
    from vaultfs.tree.packs import Placed

GAP = BLOCK_BYTES + OVERHEAD  # entries of a pack with no more than one block between them come in one request
RANGE = 4 << 20
PIECE = 1 << 20  # of a pack that comes whole: whoever needs something in it waits for no more than that
FIRST_AHEAD = 256 << 10
AROUND_NODE = 64 << 10
LIMIT = 60.0


class _Range(NamedTuple):
    """A range of a pack that is being fetched, or to be, and what is wanted of it."""

    start: int
    end: int
    wanted: tuple[Placed, ...]


def _alone(place: Placed) -> _Range:
    return _Range(place.entry.offset, place.entry.offset + place.entry.length, (place,))


class _Flying(NamedTuple):
    pack: int
    start: int
    end: int
    landed: trio.Event

    def covers(self, place: Placed) -> bool:
        start, length = place.entry.offset, place.entry.length
        return self.pack == place.pack and self.start <= start and start + length <= self.end


class Fetcher:
    """Brings what is not on this machine.

    Args:
        wary: the remote.
        places: what is known of where things stand.
        cache: what is on this machine; everything fetched goes there.
        limit: seconds that any call may take, everything included. After that: `RemoteUnavailableError`.
        path_of: for messages, a path for which a node or block id is needed; "" where none is known.

    All calls raise `RemoteError` and its kinds: `RemoteDamagedError` names an object that does not hold what it should;
    `blocks` raises `OSError` where the disk takes nothing more.
    """

    def __init__(
        self,
        wary: Wary,
        catalog: Catalog,
        places: Places,
        cache: Cache,
        keys: VaultKeys,
        *,
        limit: float = LIMIT,
        path_of: Callable[[bytes], str] = lambda _: "",
    ) -> None:
        self.limit = limit
        self._wary = wary
        self._catalog = catalog
        self._places = places
        self._cache = cache
        self._keys = keys
        self._path_of = path_of
        self._flying: list[_Flying] = []
        # By pack and kind: where the last range ended, and how much of it nobody had asked for.
        self._ahead: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def remote(self) -> Remote:
        """Where everything comes from."""
        return self._wary.remote

    @property
    def alarms(self) -> int:
        """How many answers of the remote were wrong so far."""
        return self._wary.alarms

    async def fetch(self, error: NotHereError) -> None:
        """Bring the blocks that a call of the tree asked for."""
        await self.blocks(error.blocks)

    async def node(self, name: bytes) -> bytes:
        """The bytes of a node, authentic."""
        return (await self.nodes([name]))[name]

    async def nodes(self, names: Collection[bytes]) -> dict[bytes, bytes]:
        """The bytes of nodes, authentic, by id."""
        known = {name: place for name in names if (place := self._places.place_of_node(name)) is not None}
        return await self._bounded(lambda: self._bring(names, known))

    async def contents(self, names: Collection[bytes]) -> dict[bytes, bytes]:
        """The bytes of blocks, authentic, by id."""
        known = {name: place for name in names if (place := self._places.place_of_content(name)) is not None}
        return await self._bounded(lambda: self._bring(names, known))

    async def blocks(self, rows: Sequence[int]) -> None:
        """Bring the blocks of these rows into the cache."""
        known = {}
        for row in rows:
            place = self._places.place_of_block(row)
            name = self._places.id_of_block(row) if place is None else place.entry.id
            known[name] = place
        placed = {name: place for name, place in known.items() if place is not None}
        await self._bounded(lambda: self._bring(known, placed))

    async def whole(self, pack: PackPlace) -> None:
        """Bring a pack, as far as it is not here. It is not looked into: who reads of it checks what he reads."""
        for start in range(0, pack.size, PIECE):
            end = min(start + PIECE, pack.size)
            number = self._places.add_pack(pack.id, ON_REMOTE)
            if self._places.pack_of(number)[1] != ON_REMOTE or self._cache.holds(number, start, end):
                continue
            mine = _Flying(number, start, end, trio.Event())
            self._flying.append(mine)
            try:
                data = await self._wary.get(pack_name(pack.id), start, end - start, bytes)
                # By its number as it is now: a full disk may have taken the database back to before it had one.
                self._cache.put(self._places.add_pack(pack.id, ON_REMOTE), start, data)
            finally:
                self._land(mine)

    async def _bounded(self, work: Callable[[], Awaitable[dict[bytes, bytes]]]) -> dict[bytes, bytes]:
        return await within(self.limit, self.remote, work)

    async def _bring(self, names: Collection[bytes], known: dict[bytes, Placed]) -> dict[bytes, bytes]:
        unknown = [name for name in names if name not in known]
        if unknown:
            known |= await self._catalog.find(unknown)
        for name in names:
            if name not in known:
                raise RemoteObjectMissingError(remote=self.remote.label, object=f"with {self._said(name)}")
        out: dict[bytes, bytes] = {}
        bad: frozenset[bytes] = frozenset()
        while True:
            try:
                await self._all(list(known.values()), out)
            except (RemoteDamagedError, RemoteObjectMissingError) as error:
                # Several packs may have had it, and be gone: each time there is one less to look into.
                left = [name for name in names if name not in out]
                bad |= {self._places.pack_of(known[name].pack)[0] for name in left}
                known = await self._catalog.find(left, besides=bad)
                if len(known) < len(left):
                    raise self._with_path(error, left) from None
            else:
                return out

    def _said(self, name: bytes) -> str:
        path = self._path_of(name)
        return f"{name.hex()[:16]}… of {path}" if path else f"{name.hex()[:16]}…"

    def _with_path(self, error: RemoteDamagedError | RemoteObjectMissingError, names: list[bytes]) -> Exception:
        path = next((path for name in names if (path := self._path_of(name))), "")
        if not path or not isinstance(error, RemoteDamagedError):
            return error
        return RemoteDamagedError(**{**error.fields, "detail": f"{error.fields['detail']}; it holds a part of {path}"})

    # Ranges.

    async def _all(self, places: list[Placed], out: dict[bytes, bytes]) -> None:
        left = await self._not_here(places, out)
        by_pack: dict[int, list[Placed]] = {}
        for place in left:
            by_pack.setdefault(place.pack, []).append(place)
        pieces = [(pack, piece) for pack, wanted in by_pack.items() for piece in self._ranges(pack, wanted)]
        flying = [_Flying(pack, piece.start, piece.end, trio.Event()) for pack, piece in pieces]
        self._flying += flying  # with no await since `_not_here`: nobody else begins with the same
        try:
            await together(
                lambda pack=pack, piece=piece, mine=mine: self._fetch(pack, piece, mine, out)  # type: ignore[misc]
                for (pack, piece), mine in zip(pieces, flying, strict=True)
            )
        finally:
            for mine in flying:
                self._land(mine)

    async def _not_here(self, places: list[Placed], out: dict[bytes, bytes]) -> list[Placed]:
        """What is to be fetched; what is here, perhaps because others were fetching it, is in `out`."""
        left = []
        for place in places:
            data = self._cache.read(place)
            if data is None:
                left.append(place)
            else:
                out[place.entry.id] = data
        for place in left:
            for flying in self._flying:
                if flying.covers(place):
                    await flying.landed.wait()
                    return await self._not_here(left, out)
        return left

    def _ranges(self, pack: int, places: list[Placed]) -> list[_Range]:
        out: list[_Range] = []
        for place in sorted(places, key=lambda place: place.entry.offset):
            start, end = place.entry.offset, place.entry.offset + place.entry.length
            if out and start - out[-1].end <= GAP and max(end, out[-1].end) - out[-1].start <= RANGE:
                out[-1] = _Range(out[-1].start, max(end, out[-1].end), (*out[-1].wanted, place))
            else:
                out.append(_Range(start, end, (place,)))
        if out:
            last = out[-1]
            out[-1] = last._replace(end=min(last.start + RANGE, last.end + self._more(pack, out)))
            if out[-1].end < last.end:
                out[-1] = last
        return out

    def _more(self, pack: int, ranges: list[_Range]) -> int:
        """How much to bring that nobody asked for yet: what stands behind, more of it while it is read in order."""
        first, last = ranges[0], ranges[-1]
        kind = first.wanted[0].entry.kind
        least = AROUND_NODE if kind == Kind.NODE else 0  # a node is hardly ever wanted alone
        end, ahead = self._ahead.get((pack, kind), (0, 0))
        in_order = end and end - GAP < first.start <= end + GAP
        ahead = min(RANGE, max(FIRST_AHEAD, 2 * ahead)) if in_order else least
        self._ahead[pack, kind] = (last.end + ahead, ahead)
        return ahead

    async def _fetch(self, pack: int, piece: _Range, mine: _Flying, out: dict[bytes, bytes]) -> None:
        try:
            await self._get(pack, piece, out)
        except RemoteDamagedError:
            if len(piece.wanted) == 1:
                raise
            await together(  # what is wrong does not keep back what is not
                lambda place=place: self._get(pack, _alone(place), out)  # type: ignore[misc]
                for place in piece.wanted
            )
        finally:
            self._land(mine)

    def _land(self, flying: _Flying) -> None:
        if not flying.landed.is_set():
            self._flying.remove(flying)
            flying.landed.set()

    async def _get(self, pack: int, piece: _Range, out: dict[bytes, bytes]) -> None:
        pack_id, state = self._places.pack_of(pack)

        def check(data: bytes) -> tuple[bytes, dict[bytes, bytes]]:
            codec, opened = PackCodec(self._keys, pack_id), {}
            for place in piece.wanted:
                start = place.entry.offset - piece.start
                sealed = data[start : start + place.entry.length]
                opened[place.entry.id] = codec.open(place.number, place.entry, sealed)
            return data, opened

        data, opened = await self._wary.get(pack_name(pack_id), piece.start, piece.end - piece.start, check)
        out |= opened
        if state == ON_REMOTE:
            kept = [(piece.start, data)]
        else:  # what was made here is only written over by what was checked
            spans = [(place.entry.offset, place.entry.length) for place in piece.wanted]
            kept = [(start, data[start - piece.start :][:length]) for start, length in spans]
        pack = self._places.add_pack(pack_id, state)  # a full disk may have taken the database back meanwhile
        only_nodes = all(place.entry.kind == Kind.NODE for place in piece.wanted)
        with suppress(OSError) if only_nodes else nullcontext():  # nodes are used as they come
            for start, some in kept:
                self._cache.put(pack, start, some)
