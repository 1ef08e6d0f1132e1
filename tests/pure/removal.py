"""A vault of three devices, and what they publish, for the tests of removing a device."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vaultfs.crypto.epochs import NewEpoch, remove_device
from vaultfs.errors import NewerKeysError
from vaultfs.format.head import Head, HeadRefusedError, PackPlace, open_head, seal_head
from vaultfs.format.index import Front, Index, IndexDamagedError, build_index, joined, records_of
from vaultfs.format.node import Dot
from vaultfs.format.pack import Entry, Kind, PackCodec, PackDamagedError, block_id, node_id, node_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaultfs.crypto.device import DeviceIdentity
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.crypto.slots import Created
    from vaultfs.wallet import Signer


@dataclass
class Published:
    """Everything of one commit: a pack with a block and a node, an index, and the head."""

    head: tuple[str, bytes]
    pack_id: bytes
    entries: list[tuple[Entry, bytes]]
    pack: bytes
    index: Index

    def readable(self, keys: VaultKeys) -> bool:
        """Whether all of it opens. Half of it must not."""
        opens = [*self._tries(keys)]
        assert len(set(opens)) == 1
        return opens[0]

    def _tries(self, keys: VaultKeys) -> Iterator[bool]:
        yield does(lambda: open_head(self.head[1], self.head[0], keys), HeadRefusedError, NewerKeysError)
        yield does(lambda: Front(keys, self.index.place, self.index.data[: self.index.place.front]), IndexDamagedError)
        yield does(lambda: PackCodec(keys, self.pack_id).read_footer(self.pack), PackDamagedError)
        for number, (entry, data) in enumerate(self.entries):
            sealed = self.pack[entry.offset : entry.offset + entry.length]
            opened: list[bytes] = []
            yield does(partial(self._open, keys, number, entry, sealed, opened), PackDamagedError)
            assert opened in ([], [data])

    def _open(self, keys: VaultKeys, number: int, entry: Entry, sealed: bytes, opened: list[bytes]) -> None:
        opened.append(PackCodec(keys, self.pack_id).open(number, entry, sealed))


def does(attempt: Callable[[], object], *refusals: type[Exception]) -> bool:
    try:
        attempt()
    except refusals:
        return False
    return True


def publish(keys: VaultKeys, device: DeviceIdentity, number: int) -> Published:
    """A commit, as the formats make it."""
    codec = PackCodec(keys, keys.object_id())
    pack, entries = codec.header(), []
    for at, (kind, data) in enumerate([(Kind.BLOCK, b"secret of %d" % number), (Kind.NODE, secrets.token_bytes(99))]):
        sealed, how = codec.seal(at, kind, data)
        identity = block_id(keys, data) if kind == Kind.BLOCK else node_id(node_key(keys), data)
        entries.append((Entry(kind, identity, len(pack), len(sealed), len(data), how), data))
        pack += sealed
    footer = len(pack)
    pack += codec.finish(footer, [entry for entry, _ in entries])
    place = PackPlace(codec.id, len(pack), footer, 100)
    index = build_index(keys, joined([records_of(place, [entry for entry, _ in entries])]))
    head = Head(
        device=device.id, public_key=device.public_key, number=number, root=bytes(32), vector=(Dot(device.id, number),),
        time=0, label=device.label, packs=(place,), indexes=(index.place,), open=(), held=(),
    )  # fmt: skip
    return Published((head.name, seal_head(head, device, keys)), codec.id, entries, pack, index)


@dataclass
class Vault:
    """Three devices: one that removes, one that stays, one that goes."""

    created: Created
    mine: DeviceIdentity
    stays: DeviceIdentity
    goes: DeviceIdentity

    @property
    def devices(self) -> list[tuple[bytes, bytes]]:
        """Of all three."""
        return [(one.id, one.public_key) for one in (self.mine, self.stays, self.goes)]

    def remove(self, signer: Signer) -> NewEpoch:
        """Without the one that goes; seven heads of it count."""
        return remove_device(self.created.header, self.created.keys, signer, self.devices, (self.goes.id, 7))
