"""The commits on a remote, read without a mount: heads by name, and their trees for the pure code in worker threads."""

from __future__ import annotations

import bisect
from contextlib import suppress
from functools import partial, reduce
from typing import TYPE_CHECKING

import trio
from msgspec.structs import replace

from vaultfs.crypto.epochs import members
from vaultfs.errors import NewerFormatError, NoSuchCommitError, RemoteDamagedError, RemoteObjectMissingError
from vaultfs.format.head import MAX_BYTES, HeadRefusedError, head_name, parse_name, vector_of
from vaultfs.format.pack import node_key
from vaultfs.sync.catalog import Catalog
from vaultfs.sync.counted import open_counted
from vaultfs.sync.depth import allow_depth
from vaultfs.sync.fetching import Fetcher
from vaultfs.sync.merge import State, merge
from vaultfs.sync.nodes import NodeCache, ThreadNodes
from vaultfs.sync.places import MemoryCache, MemoryPlaces
from vaultfs.sync.trust import MemorySeen, Trust
from vaultfs.sync.vectors import includes
from vaultfs.sync.wary import Wary, together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.records import Header
    from vaultfs.format.head import Head
    from vaultfs.format.node import Nodes
    from vaultfs.remote import Remote
    from vaultfs.sync.trust import SeenStore

_SHORT = 4  # letters of a device's id that are enough to name it, if no other begins so


class Archive:
    """What a remote holds. In the trio loop; `nodes` and `source` are for worker threads.

    Every head is opened with the key that its device's other heads were signed with. `header`: the one that the keys
    were opened with; heads of devices that it shuts out do not count. `seen`: what this machine has seen, the keys of
    devices too. All raise `RemoteError`.
    """

    def __init__(
        self, remote: Remote, keys: VaultKeys, header: Header | None = None, seen: SeenStore | None = None
    ) -> None:
        self.remote = remote
        self.trust = Trust(MemorySeen() if seen is None else seen, remote.label, keys.vault_id)
        self.numbers: dict[bytes, list[int]] = {}
        self._keys = keys
        self._members = None if header is None else members(header)
        places = self._places = MemoryPlaces()
        wary = Wary(remote)
        cache = self._cache = MemoryCache(keys, places)
        self.catalog = Catalog(wary, keys, places, cache)
        self.fetcher = Fetcher(wary, self.catalog, places, cache, keys)
        self._node_cache = NodeCache()
        self._made: dict[bytes, bytes] = {}  # nodes that no commit has
        self._heads: dict[tuple[bytes, int], Head] = {}
        pinned = {device: self.trust.key(device) for device in self.trust.heads}
        self._signers = {device: key for device, key in pinned.items() if key is not None}

    async def look(self) -> None:
        """List what heads there are. One request."""
        found: dict[bytes, set[int]] = {}
        for entry in await self.remote.list("heads"):
            try:
                device, number = parse_name(entry.name)
            except HeadRefusedError:
                continue  # not a head, and nothing that is there instead of one
            if not self.removed(device, number) and not self.trust.skipped(device, number):
                found.setdefault(device, set()).add(number)
        self.numbers = {device: sorted(numbers) for device, numbers in sorted(found.items())}

    def removed(self, device: bytes, number: int | None = None) -> bool:
        """Whether the device was shut out; with a number: so that its head of that number does not count."""
        if self._members is None:
            return False
        return device in self._members.removed if number is None else not self._members.counts(device, number)

    def found(self, device: bytes, number: int) -> None:
        """A head is there, which the listing may have lacked."""
        numbers = self.numbers.setdefault(device, [])
        if number not in numbers:
            bisect.insort(numbers, number)

    async def head(self, device: bytes, number: int) -> Head:
        """One head, checked, and what it names learnt."""
        known = self._heads.get((device, number))
        if known is not None:
            return known
        name = head_name(device, number)
        data = await self.remote.get(name, 0, MAX_BYTES + 1)
        try:
            head = open_counted(data, name, self._keys, self._members, public_key=self._signers.get(device))
        except HeadRefusedError as error:
            raise RemoteDamagedError(remote=self.remote.label, object=name, detail=str(error)) from None
        self._signers.setdefault(device, head.public_key)
        self._heads[device, number] = head
        return head

    async def newest(self) -> list[Head]:
        """The newest head of every device, the newest of these first. Call `look` before."""
        await self.fetch((device, numbers[-1]) for device, numbers in self.numbers.items())
        heads = [self._heads[device, numbers[-1]] for device, numbers in self.numbers.items()]
        return sorted(heads, key=lambda head: (head.time, head.device), reverse=True)

    async def present(self) -> Head:
        """The newest commit, with what the others have that it lacks; what is in it can be read. Call `look` before.

        Machines that agree publish no merge, so the newest head alone may show less than each of them does.
        """
        heads = await self.newest()
        for head in reversed(heads):
            self.catalog.learn(head)
        vectors = [dict(head.vector) for head in heads]
        alone = [
            State(head.root, vector)
            for head, vector in zip(heads, vectors, strict=True)
            if not any(other != vector and includes(other, vector) for other in vectors)
        ]
        nodes = self.nodes()
        try:
            merged = await trio.to_thread.run_sync(partial(_merged, nodes, alone), abandon_on_cancel=True)
        except (RemoteDamagedError, RemoteObjectMissingError):
            return heads[0]  # it may be whole, all the same
        self._made |= nodes.new
        return replace(heads[0], root=merged.root, vector=vector_of(dict(merged.vector)))

    async def _node(self, name: bytes) -> bytes:
        made = self._made.get(name)
        return await self.fetcher.node(name) if made is None else made

    async def fetch(self, wanted: Iterable[tuple[bytes, int]]) -> None:
        """Several heads at once."""
        await together(
            lambda device=device, number=number: self.head(device, number)  # type: ignore[misc]
            for device, number in wanted
            if (device, number) not in self._heads
        )

    async def use(self, head: Head) -> None:
        """Learn where the nodes and blocks of this commit are: from now on they can be read.

        Newer commits say where things stand that were moved since, to make room on the remote.
        """
        self.catalog.learn(head)
        with suppress(RemoteDamagedError, RemoteObjectMissingError, NewerFormatError):
            for newer in reversed(await self.newest()):
                self.catalog.learn(newer)

    def nodes(self) -> ThreadNodes:
        """The nodes of the commits that were made known by `use`, for one worker thread."""
        return ThreadNodes(self._node_cache, self._node, node_key(self._keys))

    def source(self) -> ThreadSource:
        """The blocks, for one worker thread."""
        return ThreadSource(self.contents)

    async def contents(self, block_ids: list[bytes]) -> dict[bytes, bytes]:
        """The bytes of these blocks, by id."""
        rows = {name: self._places.add_block(name) for name in block_ids}
        await self.fetcher.blocks(list(rows.values()))
        out = {}
        for name, row in rows.items():
            place = self._places.place_of_block(row)
            data = self._cache.read(place) if place is not None else None
            if data is None:
                raise RemoteObjectMissingError(remote=self.remote.label, object=f"with block {name.hex()[:16]}")
            out[name] = data
        return out

    async def find_blocks(self, block_ids: list[bytes], lost: frozenset[bytes] = frozenset()) -> dict[bytes, bytes]:
        """Which of these blocks some pack has, as far as footers and indexes say: by block the pack's id.

        It is one of `lost` only where no other pack has it.
        """
        places = {name: self._places.place_of_block(self._places.add_block(name)) for name in block_ids}
        known = {name: place for name, place in places.items() if place is not None}
        known |= await self.catalog.find([name for name in block_ids if name not in known])
        found = {name: self._places.pack_of(place.pack)[0] for name, place in known.items()}
        bad = [name for name, pack in found.items() if pack in lost]
        try:
            elsewhere = await self.catalog.find(bad, besides=lost) if bad else {}
        except (RemoteDamagedError, RemoteObjectMissingError):
            elsewhere = {}
        return found | {name: self._places.pack_of(place.pack)[0] for name, place in elsewhere.items()}

    # Which commit is meant.

    async def find(self, text: str) -> Head:
        """The commit that a person calls `text`: DEVICE:NUMBER, or DEVICE for its newest.

        DEVICE is a label, or the start of an id. NoSuchCommitError.
        """
        device_text, colon, number_text = text.rpartition(":")
        device = await self.device(device_text if colon else text, text)
        numbers = self.numbers[device]
        if not colon:
            return await self.head(device, numbers[-1])
        if not number_text.isdecimal() or int(number_text) not in numbers:
            raise NoSuchCommitError(text=text, detail="the device has no such commit, or it is not kept any more")
        return await self.head(device, int(number_text))

    async def device(self, text: str, whole: str = "") -> bytes:
        """The device with that label, or whose id begins so. NoSuchCommitError."""
        starts = [device for device in self.numbers if device.hex().startswith(text.lower())]
        fits = starts if len(text) >= _SHORT else []
        if len(fits) != 1:
            named = [head.device for head in await self.newest() if head.label == text]
            fits = named or fits
        if len(fits) != 1:
            detail = "several devices are called so; use the start of an id" if fits else "no device is called so"
            raise NoSuchCommitError(text=whole or text, detail=detail)
        return fits[0]

    async def at(self, moment: int, text: str) -> Head:
        """The newest commit that was there at that time (nanoseconds since 1970). NoSuchCommitError, naming `text`.

        It is looked for in each device's commits by halving, so a long history costs few requests.
        """
        best: list[Head] = []

        async def look(device: bytes, numbers: list[int]) -> None:
            low, high = 0, len(numbers)
            while low < high:
                middle = (low + high) // 2
                try:
                    head = await self.head(device, numbers[middle])
                except RemoteObjectMissingError:  # its device has just removed it
                    low = middle + 1
                    continue
                if head.time <= moment:
                    best.append(head)
                    low = middle + 1
                else:
                    high = middle

        await together(
            lambda device=device, numbers=numbers: look(device, numbers)  # type: ignore[misc]
            for device, numbers in self.numbers.items()
        )
        if not best:
            raise NoSuchCommitError(text=text, detail="nothing that old is kept")
        return max(best, key=lambda head: (head.time, head.device))

    def name_of(self, head: Head) -> str:
        """What `find` finds it by: with the label where no other device has it, else with the start of the id."""
        alike = {other.device for other in self._heads.values() if other.label == head.label}
        plain = len(alike) == 1 and not any(device.hex().startswith(head.label.lower()) for device in self.numbers)
        return f"{head.label if plain else head.device.hex()[:8]}:{head.number}"

    def before(self, device: bytes, number: int) -> int | None:
        """The number of the device's commit before that one; None: it is the first that is kept."""
        numbers = self.numbers.get(device, [])
        place = bisect.bisect_left(numbers, number)
        return numbers[place - 1] if place else None


def _merged(nodes: Nodes, states: Sequence[State]) -> State:
    allow_depth()
    return reduce(partial(merge, nodes), states)


class ThreadSource:
    """Blocks for a worker thread (`vaultfs.sync.history.Source`)."""

    def __init__(self, contents: Callable[[list[bytes]], Awaitable[dict[bytes, bytes]]]) -> None:
        self._contents = contents
        self._ahead: dict[bytes, bytes] = {}

    def block(self, block_id: bytes, /) -> bytes:
        """The whole block of that id. Raises `RemoteError`."""
        data = self._ahead.pop(block_id, None)
        if data is None:
            data = trio.from_thread.run(self._contents, [block_id])[block_id]
        return data

    def coming(self, block_ids: list[bytes], /) -> None:
        """These will be asked for next, in this order: bring them in few requests. One that fails does so later."""
        wanted = [block_id for block_id in block_ids if block_id not in self._ahead]
        try:
            self._ahead = trio.from_thread.run(self._contents, wanted)
        except (RemoteDamagedError, RemoteObjectMissingError, NewerFormatError):
            self._ahead = {}
