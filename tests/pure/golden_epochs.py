"""A vault in its third epoch, of known inputs. The grant is not made anew: a sealed box is random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tests.pure import golden, golden_tree
from vaultfs.crypto import wallet_slot
from vaultfs.crypto.earlier import seal_earlier
from vaultfs.crypto.keys import VaultKeys
from vaultfs.crypto.records import Grant, Header, Removed, authenticated
from vaultfs.crypto.slots import seal_name
from vaultfs.format.head import seal_head
from vaultfs.format.header import encode_header
from vaultfs.format.pack import Entry, Kind, PackCodec, block_id

if TYPE_CHECKING:
    from vaultfs.wallet import Signer

MASTERS = (golden.MASTER, bytes(range(0x20, 0x40)), bytes(range(0xC0, 0xE0)))
SECOND = VaultKeys(MASTERS[1], golden.VAULT_ID, MASTERS[:1])
KEYS = VaultKeys(MASTERS[2], golden.VAULT_ID, MASTERS[:2])
REMOVED = (bytes([0xD0] * 16), bytes([0xD1] * 16))
BLOCKS = (b"hello", b"agent " * 100)


def epochs(signer: Signer, sealed: bytes) -> dict[str, object]:
    """All that is new with epochs; `sealed` is the grant as it was once made."""
    device = golden_tree.device()
    head = golden_tree.head_record()
    packs = [pack(SECOND), pack(KEYS)]
    return {
        "masters": [master.hex() for master in MASTERS],
        "head-2": KEYS.head(2).hex(),
        "head-3": KEYS.head(3).hex(),
        "header-key": KEYS.header().hex(),
        "earlier-key": KEYS.earlier().hex(),
        "device": device.id.hex(),
        "seed": bytes(device.signing_key).hex(),
        "grant": sealed.hex(),
        "header": encode_header(header(signer, sealed)).hex(),
        "head": {"name": head.name, "bytes": seal_head(head, device, KEYS).hex()},
        "packs": [data.hex() for data in packs],
    }


def header(signer: Signer, sealed: bytes) -> Header:
    """The header of the third epoch: one wallet, one device, two that were removed."""
    slot = golden._wallet_slot(signer)
    slot = msgspec.structs.replace(slot, id=bytes([0xA5] * 16), salt=bytes([0xA6] * 16))
    signature = signer.sign(wallet_slot.message(golden.VAULT_ID, slot.id))
    device = golden_tree.device()
    return authenticated(
        Header(
            number=6,
            vault_id=golden.VAULT_ID,
            name=seal_name(KEYS, golden.NAME),
            slots=(wallet_slot.wrap(KEYS.master(), golden.VAULT_ID, slot, signature),),
            earlier=seal_earlier(KEYS),
            granted=(Grant(device.id, device.public_key, sealed),),
            removed=tuple(Removed(one, number) for one, number in zip(REMOVED, (7, 0), strict=True)),
            mac=bytes(32),
        ),
        KEYS.header(),
    )


def pack(keys: VaultKeys) -> bytes:
    """A pack of two blocks, of the newest epoch of `keys`."""
    codec = PackCodec(keys, keys.object_id(golden.OBJECT_ID[:14]))
    data, entries = codec.header(), []
    for number, block in enumerate(BLOCKS):
        sealed, how = codec.seal(number, Kind.BLOCK, block)
        entries.append(Entry(Kind.BLOCK, block_id(keys, block), len(data), len(sealed), len(block), how))
        data += sealed
    return data + codec.finish(len(data), entries)
