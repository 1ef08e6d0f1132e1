"""Headers with new keys: who gets them, what they refuse, and forged ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from tests.pure.removal import Vault
from vaultfs.crypto.device import DeviceIdentity, make_device
from vaultfs.crypto.earlier import seal_earlier, with_earlier
from vaultfs.crypto.epochs import NewEpoch, remove_device, renew
from vaultfs.crypto.grants import grant, open_grant
from vaultfs.crypto.keys import MAX_EPOCHS, VaultKeys
from vaultfs.crypto.records import MAX_DEVICES, Grant, Header, Removed, WalletSlot, WordsSlot, authenticated
from vaultfs.crypto.slots import (
    add_wallet_slot,
    add_words_slot,
    create_header,
    unlock,
    unlock_with_words,
)
from vaultfs.errors import (
    HeaderDamagedError,
    NewerKeysError,
    UsageError,
    WrongWalletError,
)
from vaultfs.format.header import decode_header, encode_header

if TYPE_CHECKING:
    from vaultfs.wallet import Signer


@pytest.fixture(scope="module")
def vault(alice: Signer) -> Vault:
    return Vault(create_header(alice, name="v"), make_device("mine"), make_device("stays"), make_device("goes"))


@pytest.fixture(scope="module")
def made(vault: Vault, alice: Signer) -> NewEpoch:
    return vault.remove(alice)


def test_a_device_that_was_not_named_needs_the_wallet(vault: Vault, made: NewEpoch) -> None:
    with pytest.raises(NewerKeysError) as caught:
        renew(made.header, make_device("late"), vault.created.keys)
    assert caught.value.exit_code == 83
    impostor = DeviceIdentity(vault.stays.id, "stays", 0, vault.goes.signing_key)
    with pytest.raises(NewerKeysError):
        renew(made.header, impostor, vault.created.keys)


def test_keys_dropped_are_told(vault: Vault, alice: Signer, bob: Signer) -> None:
    header = add_wallet_slot(vault.created.header, vault.created.keys, bob, label="bob's")
    made = remove_device(header, vault.created.keys, alice, vault.devices[:2], (vault.goes.id, 7))
    assert [type(slot) for slot in made.dropped] == [WordsSlot, WalletSlot]
    assert len(made.header.slots) == 1
    with pytest.raises(WrongWalletError):
        unlock(made.header, bob)
    # Added again they open all of it, and words, too.
    again = add_wallet_slot(made.header, made.keys, bob)
    again, words = add_words_slot(again, made.keys)
    for keys in (unlock(again, bob), unlock_with_words(again, words), unlock(again, alice)):
        assert keys.masters() == made.keys.masters()
    assert (again.earlier, again.granted, again.removed) == (
        made.header.earlier,
        made.header.granted,
        made.header.removed,
    )
    assert renew(again, vault.stays, vault.created.keys).masters() == made.keys.masters()


def test_a_stolen_wallet_is_shut_out_by_removing_with_another(vault: Vault, alice: Signer, bob: Signer) -> None:
    header = add_wallet_slot(vault.created.header, vault.created.keys, bob)
    made = remove_device(header, vault.created.keys, bob, vault.devices, (vault.goes.id, 7))
    with pytest.raises(WrongWalletError):
        unlock(made.header, alice)
    assert unlock(header, alice).epoch == 1, "with an old header it opens what was there before"


def test_new_keys_without_a_removal(vault: Vault, alice: Signer) -> None:
    made = remove_device(vault.created.header, vault.created.keys, alice, vault.devices, None)
    assert made.header.removed == ()
    assert renew(made.header, vault.goes, vault.created.keys).masters() == made.keys.masters()


# Forged headers.


def forgeries(vault: Vault, header: Header) -> dict[str, Header]:
    mine, *rest = header.granted
    added = Grant(vault.goes.id, vault.goes.public_key, mine.sealed)
    return {
        "removed dropped": replace(header, removed=()),
        "removed with a higher number": replace(header, removed=(Removed(vault.goes.id, 8),)),
        "grant added": replace(
            header, removed=(), granted=tuple(sorted((*header.granted, added)))
        ),
        "grant dropped": replace(header, granted=tuple(rest)),
        "slot of the old header": replace(header, slots=(*header.slots, vault.created.header.slots[1])),
        "older number": replace(header, number=header.number + 1),
        "without the earlier keys": replace(header, earlier=(), granted=(), removed=()),
        "one earlier key more": replace(header, earlier=(*header.earlier, header.earlier[0])),
        "other earlier key": replace(header, earlier=(bytes(60),)),
    }  # fmt: skip


@pytest.mark.parametrize("which", range(9))
def test_a_header_altered_without_the_newest_keys(vault: Vault, made: NewEpoch, alice: Signer, which: int) -> None:
    """Also by somebody who has the old keys and makes a MAC with them."""
    forged = list(forgeries(vault, made.header).values())[which]
    for one in (forged, authenticated(forged, vault.created.keys.header())):
        header = decode_header(encode_header(one), path="vault.2")
        with pytest.raises(HeaderDamagedError):
            unlock(header, alice)
        with pytest.raises(HeaderDamagedError):
            renew(header, vault.mine, made.keys)
        try:  # who knows nothing of the new keys yet, never gets other keys by it
            assert renew(header, vault.mine, vault.created.keys) is vault.created.keys
        except (HeaderDamagedError, NewerKeysError):
            pass
        else:
            assert header.epoch == 1


def test_an_older_header(vault: Vault, made: NewEpoch) -> None:
    with pytest.raises(HeaderDamagedError, match="older keys"):
        renew(vault.created.header, vault.stays, made.keys)


def test_a_header_of_another_vault(vault: Vault, made: NewEpoch, alice: Signer) -> None:
    other = create_header(alice, name="v", with_words=False)
    with pytest.raises(HeaderDamagedError, match="another vault"):
        renew(remove_device(other.header, other.keys, alice, vault.devices, None).header, vault.stays, made.keys)


def test_new_keys_of_somebody_who_has_only_the_old_ones(vault: Vault, made: NewEpoch, bob: Signer) -> None:
    """The removed device makes an epoch of its own, and another one upon it. Who has the real one takes neither."""
    header = add_wallet_slot(vault.created.header, vault.created.keys, bob)
    own = remove_device(header, vault.created.keys, bob, vault.devices, None)
    more = remove_device(own.header, own.keys, bob, vault.devices, None)
    with pytest.raises(HeaderDamagedError, match="without its keys"):
        renew(own.header, vault.stays, made.keys)
    with pytest.raises(HeaderDamagedError, match="not this vault's"):
        renew(more.header, vault.stays, made.keys)


def test_grants_made_for_something_else(vault: Vault, made: NewEpoch) -> None:
    keys, device = made.keys, vault.stays
    other_vault = VaultKeys(keys.master(), bytes(16), keys.masters()[:-1])
    older = VaultKeys(keys.master(), keys.vault_id)
    for wrong in (
        grant(other_vault, device.id, device.public_key),
        grant(older, device.id, device.public_key),
        grant(keys, vault.mine.id, device.public_key),
        grant(keys, device.id, vault.mine.public_key),
        Grant(device.id, device.public_key, bytes(114)),
    ):
        one = Grant(device.id, device.public_key, wrong.sealed)
        with pytest.raises(HeaderDamagedError):
            open_grant(one, device, keys.vault_id, 2, path="here")
        swapped = tuple(one if old.device == device.id else old for old in made.header.granted)
        header = authenticated(replace(made.header, granted=swapped), keys.header())
        with pytest.raises(HeaderDamagedError):
            renew(header, device, vault.created.keys)
    right = grant(keys, device.id, device.public_key)
    assert open_grant(right, device, keys.vault_id, 2, path="here") == keys.master()


def test_earlier_keys_have_their_places(vault: Vault, made: NewEpoch, alice: Signer) -> None:
    """Also where the MAC is right: each is sealed for its own epoch."""
    third = remove_device(made.header, made.keys, alice, vault.devices, None)
    turned = replace(third.header, earlier=third.header.earlier[::-1])
    with pytest.raises(HeaderDamagedError, match="earlier key"):
        with_earlier(authenticated(turned, third.keys.header()), third.keys.master(), path="here")


# What cannot be done.


def test_refusals(vault: Vault, made: NewEpoch, alice: Signer, bob: Signer) -> None:
    header, keys = vault.created.header, vault.created.keys
    with pytest.raises(UsageError, match="does not open"):
        remove_device(header, keys, bob, vault.devices, None)
    with pytest.raises(HeaderDamagedError):
        remove_device(made.header, keys, alice, vault.devices, None)
    with pytest.raises(HeaderDamagedError):
        remove_device(replace(header, number=9), keys, alice, vault.devices, None)
    with pytest.raises(UsageError, match="no usable key"):
        remove_device(header, keys, alice, [(bytes(16), bytes(32))], None)
    many = [(number.to_bytes(16, "big"), vault.mine.public_key) for number in range(MAX_DEVICES + 1)]
    with pytest.raises(UsageError, match="at most"):
        remove_device(header, keys, alice, many, None)
    full = VaultKeys(bytes(32), keys.vault_id, [bytes([n % 256] * 32) for n in range(MAX_EPOCHS - 1)])
    last = authenticated(replace(made.header, earlier=seal_earlier(full)), full.header())
    with pytest.raises(UsageError, match="new vault"):
        remove_device(last, full, alice, vault.devices, None)
    with pytest.raises(ValueError, match="epochs"):
        VaultKeys(bytes(32), bytes(16), [bytes(32)] * MAX_EPOCHS)


def test_removed_once_is_removed_for_ever(vault: Vault, made: NewEpoch, alice: Signer) -> None:
    again = remove_device(made.header, made.keys, alice, vault.devices, (vault.goes.id, 99))
    assert again.header.removed == (Removed(vault.goes.id, 7),)
    assert vault.goes.id not in {one.device for one in again.header.granted}
    other = remove_device(again.header, again.keys, alice, vault.devices, (vault.stays.id, 3))
    assert {one.device: one.number for one in other.header.removed} == {vault.goes.id: 7, vault.stays.id: 3}
    assert [one.device for one in other.header.granted] == [vault.mine.id]
