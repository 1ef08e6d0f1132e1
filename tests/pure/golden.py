"""What vaultfs makes of the fixtures' known inputs: everything is fixed, nothing random."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nacl.signing import SigningKey

from vaultfs.crypto import wallet_slot, words_slot
from vaultfs.crypto.device import DeviceIdentity, seal_device
from vaultfs.crypto.keys import VaultKeys
from vaultfs.crypto.records import Header, WalletSlot, WordsSlot, authenticated
from vaultfs.crypto.sealing import Sealer
from vaultfs.crypto.slots import seal_name
from vaultfs.crypto.words import _check_word
from vaultfs.format.header import encode_header

if TYPE_CHECKING:
    from vaultfs.wallet import Signer

MASTER = bytes(range(32))
VAULT_ID = bytes(range(0x40, 0x50))
OBJECT_ID = bytes(range(0x60, 0x70))
PACK_ID = OBJECT_ID[:14] + b"\1\0"  # of epoch 1
CREATED = 1_790_000_000
NAME = "agent-vault"
WORDS = "zoo zone zero year wrong write zoo zone zero year wrong write"  # the twelve; the check word follows
KEYS = VaultKeys(MASTER, VAULT_ID)


def keys() -> dict[str, str]:
    """Every derived key."""
    return {
        "master": MASTER.hex(),
        "vault_id": VAULT_ID.hex(),
        "object_id": OBJECT_ID.hex(),
        "pack_id": PACK_ID.hex(),
        "block-id": KEYS.block_id.hex(),
        "pack": KEYS.pack(PACK_ID).hex(),
        "journal": KEYS.journal(OBJECT_ID).hex(),
        "local-database": KEYS.database(OBJECT_ID).hex(),
        "head": KEYS.head(1).hex(),
        "device-name": KEYS.device_name().hex(),
        "header": KEYS.header().hex(),
        "earlier": KEYS.earlier().hex(),
    }


def sealing() -> list[dict[str, str]]:
    """Sealed bytes: empty, short, more than one AES and one BLAKE3 block."""
    samples = [(b"", b""), (b"hello", b"meaning"), (bytes(range(256)) * 9, b"block 7")]
    return [
        {"key": MASTER.hex(), "data": data.hex(), "meaning": meaning.hex(), "sealed": sealed.hex()}
        for data, meaning in samples
        for sealed in [Sealer(MASTER).seal(data, meaning)]
    ]


def wallet(signer: Signer) -> dict[str, object]:
    """The message of a wallet slot, its signature, and the slot."""
    slot = _wallet_slot(signer)
    message = wallet_slot.message(VAULT_ID, slot.id)
    return {
        "public_key": slot.public_key.hex(),
        "address": signer.address,
        "message": message.decode(),
        "signature": signer.sign(message).hex(),
        "slot_id": slot.id.hex(),
        "salt": slot.salt.hex(),
        "wrapped": slot.wrapped.hex(),
    }


def words() -> dict[str, object]:
    """A slot of recovery words."""
    slot = _words_slot()
    return {
        "words": _all_words(),
        "slot_id": slot.id.hex(),
        "salt": slot.salt.hex(),
        "passes": slot.passes,
        "memory": slot.memory,
        "wrapped": slot.wrapped.hex(),
    }


def header(signer: Signer) -> dict[str, object]:
    """A whole header with both slots, and the master key and name in it."""
    record = Header(
        number=3,
        vault_id=VAULT_ID,
        name=seal_name(KEYS, NAME),
        slots=(_wallet_slot(signer), _words_slot()),
        earlier=(),
        granted=(),
        removed=(),
        mac=bytes(32),
    )
    data = encode_header(authenticated(record, KEYS.header()))
    return {"master": MASTER.hex(), "name": NAME, "words": _all_words(), "bytes": data.hex()}


def device() -> dict[str, object]:
    """A device record."""
    seed = bytes(range(0x80, 0xA0))
    identity = DeviceIdentity(OBJECT_ID, "render-box", CREATED, SigningKey(seed))
    return {
        "id": OBJECT_ID.hex(),
        "label": "render-box",
        "created": CREATED,
        "seed": seed.hex(),
        "bytes": seal_device(identity, KEYS).hex(),
    }


def _all_words() -> str:
    return f"{WORDS} {_check_word(WORDS.split())}"


def _wallet_slot(signer: Signer) -> WalletSlot:
    slot = WalletSlot(
        id=bytes([0xA1] * 16),
        created=CREATED,
        label="laptop",
        salt=bytes([0xA2] * 16),
        public_key=signer.public_key,
        message_version=1,
        wrapped=bytes(60),
    )
    signature = signer.sign(wallet_slot.message(VAULT_ID, slot.id))
    return wallet_slot.wrap(MASTER, VAULT_ID, slot, signature)


def _words_slot() -> WordsSlot:
    slot = WordsSlot(
        id=bytes([0xB1] * 16),
        created=CREATED + 1,
        label="",
        salt=bytes([0xB2] * 16),
        passes=3,
        memory=8 << 20,
        wrapped=bytes(60),
    )
    return words_slot.wrap(MASTER, VAULT_ID, slot, _all_words())
