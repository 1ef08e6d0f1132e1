"""The head: what a device has published last, as the object `heads/<device>/<n>` (docs/format.md, "Head").

A head is sealed under a key that only the vault's keys give, which shows that its author has opened this vault; and
signed by the device, which shows which one it was. Both cover the vault's id and the object's name, so no head
stands for another. A machine remembers the public key it first saw of a device and takes no other for it.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from vaultfs.crypto.keys import EPOCH_BYTES, UnknownEpochError
from vaultfs.crypto.records import Id, Key, Label, is_plain
from vaultfs.crypto.sealing import OVERHEAD, OpenFailedError, Sealer
from vaultfs.errors import NewerFormatError, NewerKeysError
from vaultfs.format.node import Count, Dot, Hash, Time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultfs.crypto.device import DeviceIdentity
    from vaultfs.crypto.keys import VaultKeys

MAGIC = b"VFSHEAD\0"
VERSION = 1
PREFIX = MAGIC + VERSION.to_bytes(2, "little")
PREFIX_BYTES = len(PREFIX) + EPOCH_BYTES
SIGNATURE_BYTES = 64
PADDING = 512
MAX_BYTES = 4 << 20
MAX_DEVICES = 4096
MAX_PACKS = 16384
MAX_PATHS = 4096
PATH_MAX = 4096
_LENGTH_BYTES = 4
_DIGITS = 16
_NAME = re.compile(rf"heads/([0-9a-f]{{32}})/([0-9]{{{_DIGITS}}})")

Path = Annotated[bytes, Meta(min_length=1, max_length=PATH_MAX)]


class PackPlace(NamedTuple):
    """A pack and where its sealed footer stands in it. All in bytes."""

    id: Id
    size: Count
    footer: Count
    footer_length: Count


class IndexPlace(NamedTuple):
    """An index object: its size, and the length of its sealed front (vaultfs.format.index). In bytes."""

    id: Id
    size: Count
    front: Count


class OpenPath(NamedTuple):
    """A path in the vault, without a slash at its start, and since when."""

    path: Path
    since: Time


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one device had at its commit `number`.

    `root`: the commit's root node. `vector`: for every device the highest counter included, by device; its own is
    `number`. `packs`: those that are in none of `indexes`, in the order in which they were published, the newest last;
    both together hold everything the commit needs, so one head is enough to read its commit. `open`: paths open for
    writing there; `held`: paths where a newer version waits for a close.
    """

    device: Id
    public_key: Key  # Ed25519
    number: Annotated[int, Meta(ge=1, lt=10**_DIGITS)]
    root: Hash
    vector: Annotated[tuple[Dot, ...], Meta(min_length=1, max_length=MAX_DEVICES)]
    time: Time
    label: Label
    packs: Annotated[tuple[PackPlace, ...], Meta(max_length=MAX_PACKS)]
    indexes: Annotated[tuple[IndexPlace, ...], Meta(max_length=MAX_PACKS)]
    open: Annotated[tuple[OpenPath, ...], Meta(max_length=MAX_PATHS)]
    held: Annotated[tuple[OpenPath, ...], Meta(max_length=MAX_PATHS)]

    @property
    def name(self) -> str:
        """The name of the object."""
        return head_name(self.device, self.number)


class HeadRefusedError(Exception):
    """An object that is not the head it is named as. The message says why, and names no content."""


class HeadForgedError(HeadRefusedError):
    """Sealed by somebody who has opened the vault, but not the work of that device."""


class HeadKeyError(HeadForgedError):
    """Signed with another key than the one known of the device."""


_decoder = msgspec.msgpack.Decoder(Head)


def head_name(device: bytes, number: int) -> str:
    """The name of a head; those of a device sort by number."""
    return f"heads/{device.hex()}/{number:0{_DIGITS}}"


def parse_name(name: str) -> tuple[bytes, int]:
    """Device and number from the name of a head. Raises `HeadRefusedError`."""
    match = _NAME.fullmatch(name)
    if match is None or not int(match[2]):
        raise HeadRefusedError("not the name of a head")
    return bytes.fromhex(match[1]), int(match[2])


def vector_of(counters: dict[bytes, int]) -> tuple[Dot, ...]:
    """A version vector as it stands in a head."""
    return tuple(Dot(device, counters[device]) for device in sorted(counters))


def seal_head(head: Head, device: DeviceIdentity, keys: VaultKeys) -> bytes:
    """The object's bytes under the newest keys, the same for the same head. Raises `ValueError` for a wrong head."""
    if (head.device, head.public_key) != (device.id, device.public_key):
        raise ValueError("a head is signed by its own device")
    try:
        _check(head)
        record = msgspec.msgpack.encode(_decoder.decode(msgspec.msgpack.encode(head)))
    except (HeadRefusedError, msgspec.ValidationError) as error:
        raise ValueError(str(error)) from None
    signature = device.signing_key.sign(_signed(head.name, record, keys)).signature
    plain = len(record).to_bytes(_LENGTH_BYTES, "little") + record + signature
    plain += bytes(-len(plain) % PADDING)
    if PREFIX_BYTES + len(plain) + OVERHEAD > MAX_BYTES:
        raise ValueError("a head that is too long")
    prefix = PREFIX + keys.epoch.to_bytes(EPOCH_BYTES, "little")
    return prefix + Sealer(keys.head(keys.epoch)).seal(plain, _meaning(prefix, head.name, keys))


def epoch_of_head(data: bytes) -> int:
    """The epoch that a head says it is of; only `open_head` shows whether that is so."""
    return int.from_bytes(data[len(PREFIX) : PREFIX_BYTES], "little")


def open_head(data: bytes, name: str, keys: VaultKeys, *, public_key: bytes | None = None) -> Head:
    """The head in the object `name`. `public_key`: the key known of that device; None if it was never seen before.

    Raises:
        HeadRefusedError: cut off, altered, of another vault, or stored under another name.
        HeadForgedError: not signed by its device; HeadKeyError: signed, but with another key than `public_key`.
        NewerFormatError: written by a later vaultfs. NewerKeysError: under keys that this machine does not have (yet).
    """
    device, number = parse_name(name)
    plain = _unsealed(data, name, keys)
    record, signature = _split(plain)
    try:
        head = _decoder.decode(record)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise HeadRefusedError("the record is malformed") from None
    if msgspec.msgpack.encode(head) != record:
        raise HeadRefusedError("the record is not in its one proper form")
    if (head.device, head.number) != (device, number):
        raise HeadRefusedError("the record names another head")
    if public_key is not None and head.public_key != public_key:
        raise HeadKeyError("signed with a key that is not its device's")
    try:
        VerifyKey(head.public_key).verify(_signed(name, record, keys), signature)
    except (BadSignatureError, ValueError):
        raise HeadForgedError("not signed by its device") from None
    _check(head)
    return head


def _unsealed(data: bytes, name: str, keys: VaultKeys) -> bytes:
    if not data.startswith(MAGIC) or not PREFIX_BYTES + OVERHEAD <= len(data) <= MAX_BYTES:
        raise HeadRefusedError("not a head, or cut off")
    version = int.from_bytes(data[len(MAGIC) : len(PREFIX)], "little")
    if version > VERSION:
        raise NewerFormatError(what=f"The head {name}", found=version, known=VERSION)
    if version != VERSION:
        raise HeadRefusedError("a format version that never was")
    epoch = epoch_of_head(data)
    if not epoch:
        raise HeadRefusedError("an epoch that never was")
    try:
        return Sealer(keys.head(epoch)).open(data[PREFIX_BYTES:], _meaning(data[:PREFIX_BYTES], name, keys))
    except UnknownEpochError:
        raise NewerKeysError(what=f"The head {name}", found=epoch, known=keys.epoch) from None
    except OpenFailedError:
        raise HeadRefusedError("altered, stored under another name, or of another vault") from None


def _split(plain: bytes) -> tuple[bytes, bytes]:
    """Record and signature; what follows them must be the padding."""
    length = int.from_bytes(plain[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + length
    padding = plain[end + SIGNATURE_BYTES :]
    if len(plain) % PADDING or end + SIGNATURE_BYTES > len(plain) or len(padding) >= PADDING or any(padding):
        raise HeadRefusedError("the record is malformed")
    return plain[_LENGTH_BYTES:end], plain[end : end + SIGNATURE_BYTES]


def _meaning(prefix: bytes, name: str, keys: VaultKeys) -> bytes:
    return prefix + keys.vault_id + name.encode()


def _signed(name: str, record: bytes, keys: VaultKeys) -> bytes:
    return b"vaultfs head signature\0" + keys.vault_id + name.encode() + record


def _check(head: Head) -> None:
    """Refuse what the types alone do not rule out."""
    counters = dict(head.vector)
    orders: list[tuple[Iterable[Any], str]] = [
        ((dot.device for dot in head.vector), "devices"),
        ((index.id for index in head.indexes), "indexes"),
        ((item.path for item in head.open), "open paths"),
        ((item.path for item in head.held), "held paths"),
    ]
    for values, what in orders:
        if not all(a < b for a, b in pairwise(values)):
            raise HeadRefusedError(f"{what} out of order")
    if counters.get(head.device) != head.number:
        raise HeadRefusedError("it does not include itself")
    if not head.label or not is_plain(head.label):
        raise HeadRefusedError("a label that cannot be shown")
    _check_places(head)
    for item in (*head.open, *head.held):
        parts = item.path.split(b"/")
        if b"\0" in item.path or any(part in {b"", b".", b".."} for part in parts):
            raise HeadRefusedError("a path that is none")


def _check_places(head: Head) -> None:
    if len({pack.id for pack in head.packs}) != len(head.packs):
        raise HeadRefusedError("one pack twice")
    for pack in head.packs:
        if pack.footer + pack.footer_length > pack.size:
            raise HeadRefusedError("a footer outside of its pack")
    for index in head.indexes:
        if index.front > index.size:
            raise HeadRefusedError("a front outside of its index")
