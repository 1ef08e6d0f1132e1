"""The vault header and its slots as records, and the bytes that stand for them (docs/format.md).

Limits are part of the format: a header comes from a remote that anybody with access may write to, and is read
before any key is known.
"""

from __future__ import annotations

import hmac
import re
from typing import Annotated, NamedTuple, cast

import msgspec
from blake3 import blake3
from msgspec import Meta

from vaultfs.crypto.keys import ID_BYTES, KEY_BYTES, MAX_EPOCHS, derive
from vaultfs.crypto.sealing import OVERHEAD
from vaultfs.errors import HeaderDamagedError

MAGIC = b"VAULTFS\0"
VERSION = 1
PREFIX = MAGIC + VERSION.to_bytes(2, "little")
MAC_BYTES = 32
NAME_BYTES = 64
LABEL_LETTERS = 64
MAX_SLOTS = 32
MAX_DEVICES = 1024  # granted, and as many removed
GRANT_BYTES = 114  # vaultfs.crypto.grants: 66 bytes and what a sealed box adds
MAX_ARGON_PASSES = 16
MAX_ARGON_BYTES = 1 << 28

Id = Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
Salt = Annotated[bytes, Meta(min_length=16, max_length=16)]
Key = Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
WrappedKey = Annotated[bytes, Meta(min_length=KEY_BYTES + OVERHEAD, max_length=KEY_BYTES + OVERHEAD)]
SealedName = Annotated[bytes, Meta(min_length=NAME_BYTES + OVERHEAD, max_length=NAME_BYTES + OVERHEAD)]
SealedGrant = Annotated[bytes, Meta(min_length=GRANT_BYTES, max_length=GRANT_BYTES)]
HeadHash = Annotated[bytes, Meta(max_length=KEY_BYTES)]
Label = Annotated[str, Meta(max_length=LABEL_LETTERS)]
Seconds = Annotated[int, Meta(ge=0, lt=1 << 40)]


class TriesSpentError(Exception):
    """So much was tried to open headers that somebody has put them there for that: use nothing of what did open."""


class WalletSlot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="wallet"):
    """The master key under a signature of one wallet. Public."""

    id: Id
    created: Seconds  # since 1970, UTC
    label: Label
    salt: Salt
    public_key: Key  # Ed25519
    message_version: Annotated[int, Meta(ge=1, lt=1 << 16)]
    wrapped: WrappedKey


class WordsSlot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="words"):
    """The master key under recovery words. Public."""

    id: Id
    created: Seconds
    label: Label
    salt: Salt
    passes: Annotated[int, Meta(ge=1, le=MAX_ARGON_PASSES)]  # Argon2id
    memory: Annotated[int, Meta(ge=8192, le=MAX_ARGON_BYTES)]  # bytes
    wrapped: WrappedKey


# C0, C1, and what turns the direction of text: a label is shown before anything vouches for it.
_NOT_PLAIN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

Slot = WalletSlot | WordsSlot


class Grant(NamedTuple):
    """The newest master key for one device that remains: only that device opens it."""

    device: Id
    public_key: Key  # Ed25519: what its heads are signed with
    sealed: SealedGrant


class Removed(NamedTuple):
    """A device that was removed. Of its heads this one counts (number 0: none), and no other ever will.

    It has the old keys and its own signing key, so it could make another head of that number: `head` is `head_hash` of
    the one that counts. b"": in headers of before there were hashes, where all heads up to the number count.
    """

    device: Id
    number: Annotated[int, Meta(ge=0, lt=10**16)]
    head: HeadHash = b""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a vault is opened with: its id and its slots. Public but for the vault's name.

    `earlier`: the master keys of the epochs before the newest, the first one first, sealed under the newest.
    `granted` and `removed`: devices, ascending, no device in both.
    """

    number: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]  # n of the object `vault.<n>`, one more at every change
    vault_id: Id
    name: SealedName
    slots: Annotated[tuple[WalletSlot | WordsSlot, ...], Meta(min_length=1, max_length=MAX_SLOTS)]
    earlier: Annotated[tuple[WrappedKey, ...], Meta(max_length=MAX_EPOCHS - 1)]
    granted: Annotated[tuple[Grant, ...], Meta(max_length=MAX_DEVICES)]
    removed: Annotated[tuple[Removed, ...], Meta(max_length=MAX_DEVICES)]
    mac: Annotated[bytes, Meta(min_length=MAC_BYTES, max_length=MAC_BYTES)]

    @property
    def epoch(self) -> int:
        """The newest epoch, counted from 1."""
        return len(self.earlier) + 1


def is_plain(label: str) -> bool:
    """Whether `label` can be shown on a terminal as it is."""
    return _NOT_PLAIN.search(label) is None


def head_hash(data: bytes) -> bytes:
    """What a header says of the head that counts of a removed device: BLAKE3 of the object's bytes."""
    return blake3(data).digest(KEY_BYTES)


def header_bytes(header: Header) -> bytes:
    """Magic, version and the record in MessagePack; the last 32 bytes are the MAC. Always the same bytes."""
    if all(one.head for one in header.removed):
        return PREFIX + msgspec.msgpack.encode(header)
    # An entry without a hash has two fields: headers were made like that, and their MACs are to stay right.
    removed = cast("tuple[Removed, ...]", tuple(one if one.head else one[:2] for one in header.removed))
    return PREFIX + msgspec.msgpack.encode(msgspec.structs.replace(header, removed=removed))


def authenticated(header: Header, header_key: bytes) -> Header:
    """`header` with the MAC that only somebody with the vault's keys can make."""
    return msgspec.structs.replace(header, mac=_mac(header, header_key))


def check_mac(header: Header, header_key: bytes, *, path: str) -> None:
    """Raise `HeaderDamagedError` when the header was altered by somebody without the vault's keys."""
    if not hmac.compare_digest(_mac(header, header_key), header.mac):
        raise HeaderDamagedError(path=path, detail="somebody without its keys altered it")


def _mac(header: Header, header_key: bytes) -> bytes:
    key = derive(header_key, salt=b"", label="header-mac")
    return blake3(header_bytes(header)[:-MAC_BYTES], key=key).digest(MAC_BYTES)
