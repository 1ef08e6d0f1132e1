"""What opens a vault, and what does not."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING, ClassVar

import msgspec
import pytest
from nacl import bindings

from vaultfs.crypto import words_slot
from vaultfs.crypto.device import load_device, make_device, seal_device
from vaultfs.crypto.keys import VaultKeys
from vaultfs.crypto.records import MAX_SLOTS, Header, WalletSlot, WordsSlot, authenticated
from vaultfs.crypto.slots import (
    add_wallet_slot,
    add_words_slot,
    create_header,
    describe,
    find_slot,
    remove_slot,
    unlock,
    unlock_with_words,
    vault_name,
)
from vaultfs.crypto.wallet_slot import message
from vaultfs.crypto.words import _check_word, new_words
from vaultfs.errors import (
    HeaderDamagedError,
    LastSlotError,
    NewerFormatError,
    RecoveryWordsError,
    SignerError,
    SignerNotDeterministicError,
    StoreDamagedError,
    UsageError,
    WrongWalletError,
)
from vaultfs.format.header import encode_header
from vaultfs.wallet import Signer

if TYPE_CHECKING:
    from collections.abc import Callable


class Altered(Signer):
    """A wallet whose signatures go through a function."""

    kind: ClassVar[str] = "test"

    def __init__(self, wallet: Signer, change: Callable[[bytes, bytes], bytes]) -> None:
        self.wallet, self.change, self.messages = wallet, change, list[bytes]()

    @property
    def public_key(self) -> bytes:
        return self.wallet.public_key

    def sign(self, message: bytes) -> bytes:
        self.messages.append(message)
        return self.change(message, self.wallet.sign(message))


def test_same_wallet_opens_it_again(alice: Signer) -> None:
    created = create_header(alice, name="agent-vault", label="laptop")
    keys = unlock(created.header, alice)
    assert keys.master() == created.keys.master()
    assert keys.vault_id == created.header.vault_id
    assert vault_name(created.header, keys) == "agent-vault"
    assert created.words
    assert unlock_with_words(created.header, created.words).master() == keys.master()


def test_every_vault_is_its_own(alice: Signer) -> None:
    first, second = (create_header(alice, name="same", with_words=False) for _ in range(2))
    assert first.words is None
    assert first.keys.master() != second.keys.master()
    assert first.header.vault_id != second.header.vault_id
    assert first.header.slots[0].id != second.header.slots[0].id


def test_wrong_wallet(alice: Signer, bob: Signer) -> None:
    created = create_header(alice, name="v", label="laptop")
    with pytest.raises(WrongWalletError) as caught:
        unlock(created.header, bob, name="v")
    text = str(caught.value)
    assert bob.address in text
    assert f"wallet {alice.address} (laptop); recovery words" in text


def test_message_is_for_one_slot_of_one_vault_and_says_so(alice: Signer) -> None:
    listening = Altered(alice, lambda _, signature: signature)
    header = create_header(listening, name="secret-name", with_words=False).header
    unlock(header, listening)
    assert len(listening.messages) == 3  # twice to enrol, once to open
    (text,) = {value.decode("ascii") for value in listening.messages}
    for part in ("vaultfs", "Sign this only in vaultfs", "Purpose: ", "Message version: 1"):
        assert part in text
    assert header.vault_id.hex() in text
    assert header.slots[0].id.hex() in text
    assert "secret-name" not in text
    assert message(bytes(16), bytes(16)) != message(bytes(16), bytes([1] * 16))


def test_message_is_no_solana_transaction() -> None:
    # A legacy transaction starts with three counts and as many 32-byte accounts as the fourth byte says.
    text = message(bytes(16), bytes(16))
    assert text[0] < 0x80
    assert text[3] * 32 > len(text)


def test_enrolment_refuses_a_wallet_that_signs_differently() -> None:
    with pytest.raises(SignerNotDeterministicError):
        create_header(Hedged(), name="v")


class Hedged(Signer):
    """Ed25519 with a random nonce: every signature differs, and every one is valid."""

    kind: ClassVar[str] = "test"

    def __init__(self) -> None:
        self.secret = bindings.crypto_core_ed25519_scalar_reduce(secrets.token_bytes(64))
        self.deterministic = b""

    @property
    def public_key(self) -> bytes:
        return bytes(bindings.crypto_scalarmult_ed25519_base_noclamp(self.secret))

    def sign(self, message: bytes) -> bytes:
        nonce = bindings.crypto_core_ed25519_scalar_reduce(
            hashlib.sha512(self.deterministic + message).digest() if self.deterministic else secrets.token_bytes(64)
        )
        point = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
        digest = hashlib.sha512(point + self.public_key + message).digest()
        product = bindings.crypto_core_ed25519_scalar_mul(
            bindings.crypto_core_ed25519_scalar_reduce(digest), self.secret
        )
        return bytes(point + bindings.crypto_core_ed25519_scalar_add(nonce, product))


def test_wallet_that_became_random_is_named_at_unlocking() -> None:
    wallet = Hedged()
    wallet.deterministic = b"seed"
    header = create_header(wallet, name="v", with_words=False).header
    assert unlock(header, wallet)
    wallet.deterministic = b""
    with pytest.raises(SignerNotDeterministicError):
        unlock(header, wallet)


@pytest.mark.parametrize(
    "change",
    [
        lambda _message, signature: signature[:-1],
        lambda _message, signature: bytes([signature[0] ^ 1]) + signature[1:],
        lambda _message, _signature: b"",
        lambda _message, _signature: bytes(64),
    ],
)
def test_wrong_signatures(change: Callable[[bytes, bytes], bytes], alice: Signer) -> None:
    with pytest.raises(SignerError):
        create_header(Altered(alice, change), name="v")
    header = create_header(alice, name="v", with_words=False).header
    with pytest.raises(SignerError):
        unlock(header, Altered(alice, change))


def test_signature_for_another_slot_opens_nothing(alice: Signer) -> None:
    header = create_header(alice, name="v", with_words=False).header
    other = message(header.vault_id, bytes(16))
    with pytest.raises(SignerError):
        unlock(header, Altered(alice, lambda _message, _signature: alice.sign(other)))


def test_add_and_remove(alice: Signer, bob: Signer) -> None:
    created = create_header(alice, name="v", with_words=False)
    two = add_wallet_slot(created.header, created.keys, bob, label="bob")
    three, words = add_words_slot(two, created.keys, label="safe")
    assert [created.header.number, two.number, three.number] == [1, 2, 3]
    for keys in (unlock(three, alice), unlock(three, bob), unlock_with_words(three, words)):
        assert keys.master() == created.keys.master()
    assert [describe(slot) for slot in three.slots] == [
        f"wallet {alice.address}",
        f"wallet {bob.address} (bob)",
        "recovery words (safe)",
    ]
    left = remove_slot(three, created.keys, find_slot(three, alice.address).id)
    with pytest.raises(WrongWalletError):
        unlock(left, alice)
    assert unlock(left, bob)
    assert unlock(three, alice)  # an old copy of the header still opens: docs/format.md says so


def test_wallet_is_added_once(alice: Signer) -> None:
    created = create_header(alice, name="v", with_words=False)
    with pytest.raises(UsageError, match="already"):
        add_wallet_slot(created.header, created.keys, alice)


def test_last_slot_stays(alice: Signer) -> None:
    created = create_header(alice, name="v", with_words=False)
    with pytest.raises(LastSlotError):
        remove_slot(created.header, created.keys, created.header.slots[0].id)
    with pytest.raises(UsageError, match="no key"):
        remove_slot(created.header, created.keys, bytes(16))


def test_finding_a_slot(alice: Signer, bob: Signer) -> None:
    created = create_header(alice, name="v", label="one")
    header = add_wallet_slot(created.header, created.keys, bob, label="one")
    first = header.slots[0]
    for text in (alice.address, first.id.hex(), first.id.hex()[:8].upper()):
        assert find_slot(header, text) == first
    for text in ("one", "", "zz", first.id.hex()[:3], "nothing"):
        with pytest.raises(UsageError):
            find_slot(header, text)


def test_words_of_another_vault(alice: Signer) -> None:
    created = create_header(alice, name="v")
    with pytest.raises(RecoveryWordsError, match="not this vault's"):
        unlock_with_words(created.header, new_words())
    assert created.words
    rest = created.words.split()[1:]
    # One word in 2,048 is the right one, and as many fit the check by chance.
    wrong = next(word for word in ("zoo", "zone", "abandon") if _check_word([word, *rest[:-1]]) != rest[-1])
    mistyped = " ".join([wrong, *rest])
    with pytest.raises(RecoveryWordsError, match="mistyped"):
        unlock_with_words(created.header, mistyped)


def test_too_little_memory_for_words(alice: Signer) -> None:
    created = create_header(alice, name="v")
    program = (
        "import resource, sys\n"
        "from vaultfs.crypto.slots import unlock_with_words\n"
        "from vaultfs.errors import RecoveryWordsError\n"
        "from vaultfs.format.header import decode_header\n"
        "header = decode_header(sys.stdin.buffer.read(), path='here')\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20),) * 2)\n"
        "try:\n"
        f"    unlock_with_words(header, {created.words!r})\n"
        "except RecoveryWordsError as error:\n"
        "    print(error)\n"
    )
    data = encode_header(created.header)
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=True)
    assert b"64 MiB of memory, more than there is" in done.stdout


CHANGES: dict[str, Callable[[Header], Header]] = {
    "number": lambda header: msgspec.structs.replace(header, number=header.number + 1),
    "name": lambda header: msgspec.structs.replace(header, name=bytes(len(header.name))),
    "order": lambda header: msgspec.structs.replace(header, slots=header.slots[::-1]),
    "slot removed": lambda header: msgspec.structs.replace(header, slots=header.slots[:1]),
    "slot added": lambda header: msgspec.structs.replace(header, slots=(*header.slots, _strangers(header))),
    "label": lambda header: msgspec.structs.replace(
        header, slots=(msgspec.structs.replace(header.slots[0], label="x"), *header.slots[1:])
    ),
    "mac": lambda header: msgspec.structs.replace(header, mac=bytes(32)),
}


def _strangers(header: Header) -> WordsSlot:
    """A slot by somebody without the keys."""
    slot = WordsSlot(id=bytes(16), created=0, label="", salt=bytes(16), passes=1, memory=8192, wrapped=bytes(60))
    return words_slot.wrap(bytes(32), header.vault_id, slot, new_words())


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_altered_without_the_keys(change: Callable[[Header], Header], alice: Signer) -> None:
    created = create_header(alice, name="v")
    altered = change(created.header)
    assert created.words
    with pytest.raises(HeaderDamagedError, match="without its keys"):
        unlock(altered, alice, path="/remote/vault.1")
    if altered.slots[1:]:
        with pytest.raises(HeaderDamagedError):
            unlock_with_words(altered, created.words)
    with pytest.raises(HeaderDamagedError):  # nor is anything built on it
        add_words_slot(altered, created.keys)


@pytest.mark.parametrize("part", ["id", "salt", "wrapped"])
def test_wallet_slot_damaged(part: str, alice: Signer) -> None:
    created = create_header(alice, name="v", with_words=False)
    slot = created.header.slots[0]
    value = bytearray(getattr(slot, part))
    value[0] ^= 1
    changed = msgspec.structs.replace(slot, **{part: bytes(value)})
    with pytest.raises(HeaderDamagedError, match="does not open"):
        unlock(msgspec.structs.replace(created.header, slots=(changed,)), alice)


def test_wrapped_key_fits_its_own_slot_only(alice: Signer, bob: Signer) -> None:
    created = create_header(alice, name="v", with_words=False)
    header = add_wallet_slot(created.header, created.keys, bob)
    mine, other = header.slots
    swapped = msgspec.structs.replace(mine, wrapped=other.wrapped)
    with pytest.raises(HeaderDamagedError):
        unlock(msgspec.structs.replace(header, slots=(swapped, other)), alice)


def test_message_of_a_later_version(alice: Signer) -> None:
    created = create_header(alice, name="v", with_words=False)
    slot = created.header.slots[0]
    assert isinstance(slot, WalletSlot)
    later = msgspec.structs.replace(created.header, slots=(msgspec.structs.replace(slot, message_version=2),))
    with pytest.raises(NewerFormatError):
        unlock(authenticated(later, created.keys.header()), alice)


def test_limits(alice: Signer) -> None:
    for name in ("", "x" * 65, "é" * 33, "a\0b"):
        with pytest.raises(UsageError):
            create_header(alice, name=name)
    for label in ("x" * 65, "a\nb", "\x1b[31m", "\u202etxt"):
        with pytest.raises(UsageError):
            create_header(alice, name="v", label=label)
    created = create_header(alice, name="é" * 32, with_words=False)
    assert vault_name(created.header, created.keys) == "é" * 32
    full = msgspec.structs.replace(created.header, slots=created.header.slots * MAX_SLOTS)
    with pytest.raises(UsageError, match="at most"):
        add_words_slot(authenticated(full, created.keys.header()), created.keys)


def test_nothing_secret_is_shown(alice: Signer) -> None:
    """Invariant 7: what may end up in a log holds no key and no word."""
    created = create_header(alice, name="secret-name")
    device = make_device("box")
    shown = f"{created} {created!r} {created.keys!r} {device!r} {device}"
    assert created.words
    signing_key = bytes(device.signing_key)
    for secret in (created.keys.master(), created.keys.header(), signing_key, b"secret-name"):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    assert created.words.split()[0] + " " + created.words.split()[1] not in shown


def test_device_comes_back(alice: Signer) -> None:
    keys = create_header(alice, name="v", with_words=False).keys
    device = make_device("render-box")
    data = seal_device(device, keys)
    loaded = load_device(data, keys)
    assert (loaded.id, loaded.label, loaded.created) == (device.id, "render-box", device.created)
    assert loaded.public_key == device.public_key
    assert b"render-box" not in data
    assert make_device("render-box").id != device.id
    for label in ("", "x" * 65, "a\tb"):
        with pytest.raises(UsageError):
            make_device(label)


def test_device_damaged_or_of_another_vault() -> None:
    keys = VaultKeys(bytes(32), bytes(16))
    data = seal_device(make_device("box"), keys)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((StoreDamagedError, NewerFormatError)) as caught:
            load_device(bytes(flipped), keys, path="/store/device")
        assert "/store/device" in str(caught.value)
        # Only the version number itself may look like a later version.
        assert isinstance(caught.value, StoreDamagedError) or bit // 8 in {8, 9}
    for length in range(len(data)):
        with pytest.raises(StoreDamagedError):
            load_device(data[:length], keys)
    for other in (VaultKeys(bytes(32), bytes([1] * 16)), VaultKeys(bytes([1] * 32), bytes(16))):
        with pytest.raises(StoreDamagedError):
            load_device(data, other)
