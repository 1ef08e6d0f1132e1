"""The keys of a vault: making its header, opening it, adding and removing the slots that open it.

    created = create_header(signer, name="agent-vault")         # .header .keys .words
    keys = unlock(header, signer, name="agent-vault")           # or unlock_with_words(header, text)
    header = add_wallet_slot(header, keys, other_signer, label="laptop")
    header, words = add_words_slot(header, keys)
    header = remove_slot(header, keys, find_slot(header, "3f2a").id)
    format.header.encode_header(header) / decode_header(data, path=...)

Every change gives a new header with the next number; the old one stays as it is. So removing a slot does not
shut out somebody who kept an old copy of the header and still has that wallet or those words: only a new
master key for new data does (vaultfs.crypto.epochs).
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from vaultfs.crypto import wallet_slot, words_slot
from vaultfs.crypto.earlier import with_earlier
from vaultfs.crypto.keys import ID_BYTES, KEY_BYTES, VaultKeys
from vaultfs.crypto.records import (
    LABEL_LETTERS,
    MAC_BYTES,
    MAX_SLOTS,
    NAME_BYTES,
    Header,
    Slot,
    WalletSlot,
    WordsSlot,
    authenticated,
    check_mac,
    is_plain,
)
from vaultfs.crypto.sealing import OVERHEAD, OpenFailedError, Sealer
from vaultfs.crypto.wallet_slot import Signatures
from vaultfs.crypto.words import new_words, parse_words
from vaultfs.crypto.words_slot import Stretching
from vaultfs.errors import (
    HeaderDamagedError,
    LastSlotError,
    RecoveryWordsError,
    UsageError,
    WrongWalletError,
)
from vaultfs.wallet import base58

if TYPE_CHECKING:
    from vaultfs.wallet import Signer

_NO_WRAPPED_KEY = bytes(KEY_BYTES + OVERHEAD)
_NAME_MEANING = b"vaultfs vault name"


@dataclass(frozen=True)
class Created:
    """A new vault's header and keys; `words` are to be shown once and kept nowhere."""

    header: Header
    keys: VaultKeys
    words: str | None = field(repr=False)


def create_header(signer: Signer, *, name: str, with_words: bool = True, label: str = "") -> Created:
    """A new vault with a random master key, opened by `signer` and, if wanted, by recovery words.

    Raises:
        SignerError, SignerNotDeterministicError: the wallet cannot hold a key.
        UsageError: the name (64 bytes of UTF-8) or label (64 letters) is too long.
    """
    keys = VaultKeys(secrets.token_bytes(KEY_BYTES), secrets.token_bytes(ID_BYTES))
    slots: list[Slot] = [new_wallet_slot(keys, signer, label)]
    words = None
    if with_words:
        slot, words = _words_slot(keys, "")
        slots.append(slot)
    unsigned = Header(
        number=1,
        vault_id=keys.vault_id,
        name=seal_name(keys, name),
        slots=tuple(slots),
        earlier=(),
        granted=(),
        removed=(),
        mac=bytes(MAC_BYTES),
    )
    return Created(authenticated(unsigned, keys.header()), keys, words)


def unlock(header: Header, signer: Signer | Signatures, *, name: str = "", path: str = "vault") -> VaultKeys:
    """The vault's keys, by the wallet. `name` and `path` are for messages only.

    Who tries several headers gives the same `Signatures` for each: then the wallet signs for one slot only once.

    Raises:
        WrongWalletError: no slot belongs to this wallet.
        SignerError, SignerNotDeterministicError: the wallet gave no signature, or not the right one.
        HeaderDamagedError: the slot does not open, or the header was altered without the vault's keys.
        NewerFormatError: the slot needs a newer vaultfs.
    """
    slots = {slot.public_key: slot for slot in header.slots if isinstance(slot, WalletSlot)}
    signatures = signer if isinstance(signer, Signatures) else Signatures(signer)
    signer = signatures.signer
    public_key = signer.choose(list(slots))
    if public_key is None:
        raise WrongWalletError(address=signer.describe(), name=name, slots="; ".join(map(describe, header.slots)))
    master = wallet_slot.unwrap(header.vault_id, slots[public_key], signatures, path=path)
    return with_earlier(header, master, path=path)


def stretching(text: str) -> Stretching:
    """Recovery words as a person typed them, to try several headers with. Raises `RecoveryWordsError`."""
    return Stretching(parse_words(text))


def unlock_with_words(header: Header, text: str | Stretching, *, path: str = "vault") -> VaultKeys:
    """The vault's keys, by recovery words. Takes about 0.1 s and 64 MiB for each slot of words.

    Who tries several headers gives the same `stretching` for each: then each slot takes that only once.

    Raises:
        RecoveryWordsError: mistyped (says how), or not this vault's words.
        HeaderDamagedError: the header was altered without the vault's keys, or its slots ask for too much work.
        TriesSpentError: the headers before it took too much work.
    """
    words = stretching(text) if isinstance(text, str) else text
    slots = [slot for slot in header.slots if isinstance(slot, WordsSlot)]
    if sum(slot.passes * slot.memory for slot in slots) > words_slot.MOST_OF_A_HEADER:
        raise HeaderDamagedError(path=path, detail="its slots of recovery words take more work than any should")
    for slot in slots:
        master = words_slot.unwrap(header.vault_id, slot, words)
        if master is not None:
            return with_earlier(header, master, path=path)
    raise RecoveryWordsError(detail="they are well-formed, but not this vault's, or no longer")


def add_wallet_slot(header: Header, keys: VaultKeys, signer: Signer, *, label: str = "") -> Header:
    """The header that `signer` opens, too. Errors as `create_header`; a wallet is not added twice."""
    public_key = signer.public_key
    if any(isinstance(slot, WalletSlot) and slot.public_key == public_key for slot in header.slots):
        raise UsageError(detail=f"The wallet {signer.address} opens this vault already")
    return _changed(header, keys, (*header.slots, new_wallet_slot(keys, signer, label)))


def add_words_slot(header: Header, keys: VaultKeys, *, label: str = "") -> tuple[Header, str]:
    """The header that new recovery words open, too, and the words."""
    slot, words = _words_slot(keys, label)
    return _changed(header, keys, (*header.slots, slot)), words


def remove_slot(header: Header, keys: VaultKeys, slot_id: bytes) -> Header:
    """The header without one slot. Old copies of the header still open with it (module docstring).

    Raises:
        LastSlotError: nobody could open the vault any more.
        UsageError: no such slot.
    """
    left = tuple(slot for slot in header.slots if slot.id != slot_id)
    if len(left) == len(header.slots):
        raise UsageError(detail=f"This vault has no key {slot_id.hex()}")
    if not left:
        raise LastSlotError
    return _changed(header, keys, left)


def find_slot(header: Header, text: str) -> Slot:
    """The slot a person means: the start of its id in hex (4 letters or more), its address, or its label.

    Raises `UsageError` when none or several fit.
    """
    fits = [slot for slot in header.slots if text and text in (slot.label, slot_address(slot))]
    if not fits and len(text) >= 4:  # noqa: PLR2004 - fewer letters are a slip sooner than an id
        fits = [slot for slot in header.slots if slot.id.hex().startswith(text.lower())]
    if len(fits) != 1:
        raise UsageError(detail=f"{'Several keys fit' if fits else 'No key fits'} '{text}'; see: vaultfs key list")
    return fits[0]


def slot_address(slot: Slot) -> str | None:
    """The wallet's address, in base58; None for recovery words."""
    return base58.encode(slot.public_key) if isinstance(slot, WalletSlot) else None


def describe(slot: Slot) -> str:
    """One slot for a person: what it is, its label."""
    what = "recovery words" if isinstance(slot, WordsSlot) else f"wallet {slot_address(slot)}"
    return f"{what} ({slot.label})" if slot.label else what


def vault_name(header: Header, keys: VaultKeys, *, path: str = "vault") -> str:
    """The vault's name, which only its keys show. Raises `HeaderDamagedError`."""
    try:
        padded = Sealer(keys.header()).open(header.name, _NAME_MEANING + header.vault_id)
        return padded.rstrip(b"\0").decode()
    except (OpenFailedError, UnicodeDecodeError):
        raise HeaderDamagedError(path=path, detail="its name cannot be read") from None


def seal_name(keys: VaultKeys, name: str) -> bytes:
    """The vault's name for its header, padded to one length, so that not even that shows. Raises `UsageError`."""
    data = name.encode()
    if not data or len(data) > NAME_BYTES or b"\0" in data:
        raise UsageError(detail=f"A vault's name has 1 to {NAME_BYTES} bytes and no NUL")
    return Sealer(keys.header()).seal(data.ljust(NAME_BYTES, b"\0"), _NAME_MEANING + keys.vault_id)


def new_wallet_slot(keys: VaultKeys, signer: Signer, label: str) -> WalletSlot:
    """A slot of its own (no earlier signature opens it) with the newest master key. Errors as `create_header`."""
    slot = WalletSlot(
        id=secrets.token_bytes(ID_BYTES),
        created=int(time.time()),
        label=_label(label),
        salt=secrets.token_bytes(ID_BYTES),
        public_key=signer.public_key,
        message_version=wallet_slot.MESSAGE_VERSION,
        wrapped=_NO_WRAPPED_KEY,
    )
    return wallet_slot.enrol(keys.master(), keys.vault_id, slot, signer)


def _words_slot(keys: VaultKeys, label: str) -> tuple[WordsSlot, str]:
    words = new_words()
    slot = WordsSlot(
        id=secrets.token_bytes(ID_BYTES),
        created=int(time.time()),
        label=_label(label),
        salt=secrets.token_bytes(ID_BYTES),
        passes=words_slot.PASSES,
        memory=words_slot.MEMORY_BYTES,
        wrapped=_NO_WRAPPED_KEY,
    )
    return words_slot.wrap(keys.master(), keys.vault_id, slot, words), words


def _label(label: str) -> str:
    if len(label) > LABEL_LETTERS or not is_plain(label):
        raise UsageError(detail=f"A label has up to {LABEL_LETTERS} letters and no control characters")
    return label


def _changed(header: Header, keys: VaultKeys, slots: tuple[Slot, ...]) -> Header:
    """The next header. Never builds on one that somebody else altered."""
    check_mac(header, keys.header(), path="vault")
    if len(slots) > MAX_SLOTS:
        raise UsageError(detail=f"A vault has at most {MAX_SLOTS} keys; remove one first")
    changed = msgspec.structs.replace(header, number=header.number + 1, slots=slots)
    return authenticated(changed, keys.header())
