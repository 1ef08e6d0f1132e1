"""What the remote's packs are like: there, of the right size, with a footer that opens; perhaps every byte."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vaultfs.errors import RemoteDamagedError, RemoteObjectMissingError
from vaultfs.format.head import PackPlace
from vaultfs.format.pack import HEADER_BYTES, TRAILER_BYTES, PackCodec, PackDamagedError, parse_trailer
from vaultfs.sync.objects import Objects, pack_id, pack_name
from vaultfs.sync.wary import together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.format.pack import Entry
    from vaultfs.sync.wary import Wary

MISSING = "it is missing"
_STEP = 8


@dataclass
class Health:
    """`bad`: packs that are missing or cannot be read at all, with the reason. `rotten`: ids that do not open, by pack.

    `read`: bytes that were looked at.
    """

    bad: dict[bytes, str] = field(default_factory=dict)
    rotten: dict[bytes, set[bytes]] = field(default_factory=dict)
    read: int = 0


class Looking:
    """Looks at packs. Raises what the remote raises, but for what is missing or damaged."""

    def __init__(self, wary: Wary, keys: VaultKeys) -> None:
        self._wary = wary
        self._keys = keys
        self._objects = Objects(wary, keys)

    async def look(
        self,
        packs: Iterable[PackPlace],
        listed: dict[str, int],
        *,
        read_data: bool,
        told: Callable[[int, int], None],
    ) -> Health:
        """How these packs are. `told(packs done, of all)`."""
        health, todo = Health(), list(packs)
        for start in range(0, len(todo), _STEP):
            await together(
                lambda pack=pack: self._one(pack, listed, health, read_data=read_data)  # type: ignore[misc]
                for pack in todo[start : start + _STEP]
            )
            told(min(start + _STEP, len(todo)), len(todo))
        return health

    async def _one(self, pack: PackPlace, listed: dict[str, int], health: Health, *, read_data: bool) -> None:
        name = pack_name(pack.id)
        size = listed.get(name)
        if size is not None and size != pack.size:
            health.bad[pack.id] = f"it has {size} bytes instead of {pack.size}"
            return
        try:
            entries, _ = await self._objects.footer(pack)  # a listing may be late: what it lacks is asked for
            health.read += pack.footer_length
            if read_data:
                health.read += pack.size
                rotten = await self._rotten(pack, entries)
                if rotten:
                    health.rotten[pack.id] = rotten
        except RemoteObjectMissingError:
            health.bad[pack.id] = MISSING
        except RemoteDamagedError as error:
            health.bad[pack.id] = str(error.fields["detail"])

    async def _rotten(self, pack: PackPlace, entries: Sequence[Entry]) -> set[bytes]:
        """What does not open, even when it is asked for once more."""

        def check(data: bytes) -> set[bytes]:
            codec, bad = PackCodec(self._keys, pack.id), set()
            for number, entry in enumerate(entries):
                try:
                    codec.open(number, entry, data[entry.offset : entry.offset + entry.length])
                except PackDamagedError:
                    bad.add(entry.id)
            return bad

        first = await self._wary.get(pack_name(pack.id), 0, pack.size, check)
        return first & await self._wary.get(pack_name(pack.id), 0, pack.size, check) if first else first

    async def unnamed(self, name: str, size: int) -> PackPlace | None:
        """What a head would say of a pack that none names; None: it is no whole pack of this vault."""
        found = pack_id(name)
        if found is None or size < HEADER_BYTES + TRAILER_BYTES:
            return None  # anybody may have put it there
        try:
            end = await self._wary.remote.get(name, size - TRAILER_BYTES, TRAILER_BYTES)
            place = PackPlace(found, size, *parse_trailer(end))
            await self._objects.footer(place)
        except (RemoteObjectMissingError, RemoteDamagedError, PackDamagedError):
            return None
        return place
