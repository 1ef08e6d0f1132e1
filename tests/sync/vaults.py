"""Small vaults on a fake remote: packs, heads and headers, made by hand."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from msgspec.structs import replace as changed
from nacl.signing import SigningKey

from tests.pure import golden
from tests.remote.fake import FakeBackend
from tests.remote.memory import MemoryBackend
from vaultfs.crypto.device import DeviceIdentity
from vaultfs.format.head import Head, IndexPlace, PackPlace, head_name, seal_head, vector_of
from vaultfs.format.pack import Entry, Kind, PackCodec, block_id, node_id, node_key
from vaultfs.remote import Remote
from vaultfs.sync.catalog import Catalog, MemoryCache, MemoryPlaces, pack_name
from vaultfs.sync.fetching import Fetcher
from vaultfs.sync.heads import Heads, Own
from vaultfs.sync.trust import MemorySeen
from vaultfs.sync.wary import Wary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.remote import Backend, Requests

KEYS = golden.KEYS
NODE_KEY = node_key(KEYS)
SECOND = 1_000_000_000
NOW = golden.CREATED * SECOND


def device(letter: str, *, seed: int = 0) -> DeviceIdentity:
    return DeviceIdentity(letter.encode() * 16, f"box-{letter}", 0, SigningKey(bytes([seed + ord(letter)] * 32)))


A, B, C = device("a"), device("b"), device("c")


def noise(text: object, size: int) -> bytes:
    """Bytes that do not compress, the same for the same text."""
    return random.Random(str(text)).randbytes(size)


@dataclass
class Made:
    """A pack: its place, its entries and bytes, and the contents by id."""

    place: PackPlace
    entries: list[Entry]
    data: bytes
    contents: dict[bytes, bytes]

    @property
    def name(self) -> str:
        return pack_name(self.place.id)

    @property
    def ids(self) -> list[bytes]:
        return [entry.id for entry in self.entries]


def make_pack(
    number: int, *, blocks: Sequence[bytes] = (), nodes: Sequence[bytes] = (), keys: VaultKeys = KEYS
) -> Made:
    """A pack of these, its id made from the number."""
    codec = PackCodec(keys, keys.object_id(number.to_bytes(14, "big")))
    data, entries, contents = codec.header(), [], {}
    kinds = [(Kind.BLOCK, one) for one in blocks] + [(Kind.NODE, one) for one in nodes]
    for kind, one in kinds:
        name = block_id(keys, one) if kind == Kind.BLOCK else node_id(node_key(keys), one)
        sealed, how = codec.seal(len(entries), kind, one)
        entries.append(Entry(kind, name, len(data), len(sealed), len(one), how))
        contents[name] = one
        data += sealed
    footer = len(data)
    data += codec.finish(footer, entries)
    length = int.from_bytes(data[-12:-8], "little")
    return Made(PackPlace(codec.id, len(data), footer, length), entries, data, contents)


def make_head(
    author: DeviceIdentity,
    number: int,
    *,
    vector: dict[bytes, int] | None = None,
    packs: Sequence[Made] = (),
    indexes: Sequence[IndexPlace] = (),
    root: bytes = bytes(32),
) -> Head:
    return Head(
        device=author.id,
        public_key=author.public_key,
        number=number,
        root=root,
        vector=vector_of({**(vector or {}), author.id: number}),
        time=NOW + number * SECOND,
        label=author.label,
        packs=tuple(pack.place for pack in packs),
        indexes=tuple(indexes),
        open=(),
        held=(),
    )


@dataclass
class Vault:
    """A remote that can be made to misbehave, and what writes to it."""

    backend: Backend = field(default_factory=lambda: FakeBackend(MemoryBackend(), seed=3))
    keys: VaultKeys = KEYS

    def __post_init__(self) -> None:
        self.remote = Remote(self.backend, jitter=random.Random(1))

    @property
    def fake(self) -> FakeBackend:
        assert isinstance(self.backend, FakeBackend)
        return self.backend

    @property
    def objects(self) -> dict[str, bytes]:
        """The bytes on the remote, to be tampered with."""
        inner = self.fake.inner
        assert isinstance(inner, MemoryBackend)
        assert inner.objects is not None
        return inner.objects

    async def put_pack(self, pack: Made) -> None:
        await self.backend.put(pack.name, pack.data)

    async def publish(self, author: DeviceIdentity, head: Head) -> str:
        await self.backend.put(head.name, seal_head(head, author, self.keys))
        return head.name

    async def publish_number(self, author: DeviceIdentity, number: int, **vector: int) -> str:
        """A head with nothing but a vector: `b=3` has seen head 3 of device b."""
        seen = {letter.encode() * 16: counter for letter, counter in vector.items()}
        return await self.publish(author, make_head(author, number, vector=seen))

    def machine(self, own: DeviceIdentity = C) -> Machine:
        return Machine(self, Own(own.id))

    def counted(self) -> Requests:
        """Requests so far; subtract two of these."""
        return replace(self.remote.requests)

    def flip(self, name: str, at: int = 60) -> None:
        """One bit of an object, wrong from now on."""
        data = bytearray(self.objects[name])
        data[at] ^= 1
        self.objects[name] = bytes(data)


class Machine:
    """What one machine has in memory of a vault."""

    def __init__(self, vault: Vault, own: Own) -> None:
        self.vault = vault
        self.seen = MemorySeen()
        self.places = MemoryPlaces()
        self.told: list[tuple[str, str]] = []
        self.own = own
        self.start()

    def start(self) -> None:
        """As after a restart: what is kept is kept, everything else is gone."""
        keys = self.vault.keys
        self.wary = Wary(self.vault.remote, lambda name, detail: self.told.append((name, detail)))
        self.cache = MemoryCache(keys, self.places)
        self.catalog = Catalog(self.wary, keys, self.places, self.cache)
        self.fetcher = Fetcher(self.wary, self.catalog, self.places, self.cache, keys)
        self.heads = Heads(self.vault.remote, keys, self.seen, self.own)

    async def poll(self) -> list[tuple[str, int]]:
        """The labels and numbers of the new heads."""
        return [(head.label, head.number) for head in await self.heads.poll()]

    @property
    def alarms(self) -> list[tuple[str, bytes]]:
        return [(alarm.kind, alarm.device) for alarm in self.heads.alarms]


def name_of_head(author: DeviceIdentity, number: int) -> str:
    return head_name(author.id, number)


__all__ = ["KEYS", "A", "B", "C", "Machine", "Made", "Vault", "changed", "device", "make_head", "make_pack", "noise"]
