"""Removing a device: who was removed reads nothing that is published afterwards; who remains reads everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.exceptions import CryptoError
from nacl.public import SealedBox

from tests.pure import golden_epochs, golden_tree
from tests.pure.conftest import FIXTURES
from tests.pure.removal import Published, Vault, publish
from vaultfs.crypto import epochs, wallet_slot
from vaultfs.crypto.device import load_device, make_device, seal_device
from vaultfs.crypto.epochs import NewEpoch, members, remove_device, renew
from vaultfs.crypto.keys import UnknownEpochError, VaultKeys, derive, epoch_of
from vaultfs.crypto.records import Removed, WalletSlot, head_hash
from vaultfs.crypto.sealing import OpenFailedError, Sealer
from vaultfs.crypto.slots import (
    create_header,
    unlock,
    unlock_with_words,
    vault_name,
)
from vaultfs.errors import (
    DeviceRemovedError,
    HeaderDamagedError,
    NewerKeysError,
    RecoveryWordsError,
)
from vaultfs.format.head import HeadRefusedError, PackPlace, epoch_of_head, open_head
from vaultfs.format.header import decode_header, encode_header
from vaultfs.format.index import Front, IndexDamagedError, build_index, joined, records_of
from vaultfs.format.pack import Entry, Kind, PackCodec, PackDamagedError, block_id

if TYPE_CHECKING:
    from vaultfs.wallet import Signer


@pytest.fixture(scope="module")
def vault(alice: Signer) -> Vault:
    return Vault(create_header(alice, name="v"), make_device("mine"), make_device("stays"), make_device("goes"))


@pytest.fixture(scope="module")
def made(vault: Vault, alice: Signer) -> NewEpoch:
    return vault.remove(alice)


def test_a_removed_device_reads_nothing_that_is_published_afterwards(vault: Vault, alice: Signer) -> None:
    """It holds all its keys, all old headers, the words, and the signature that opened the wallet's slot."""
    old = vault.created.keys
    before = [publish(old, device, 7) for device in (vault.mine, vault.stays, vault.goes)]
    made = vault.remove(alice)
    after = [publish(made.keys, device, 8) for device in (vault.mine, vault.stays)]

    everything_it_has = VaultKeys(old.master(), old.vault_id)
    assert all(one.readable(everything_it_has) for one in before), "the test must be able to fail"
    assert not any(one.readable(everything_it_has) for one in after)
    assert all(one.readable(made.keys) for one in before + after)

    # Not by a detour around the codecs either: each secret it has, as the key of anything that is sealed now.
    slot = vault.created.header.slots[0]
    assert isinstance(slot, WalletSlot)
    signature = alice.sign(wallet_slot.message(old.vault_id, slot.id))
    secrets_it_has = [old.master(), signature, bytes(vault.goes.signing_key), old.block_id, old.header(), old.head(1)]
    for one in after:
        salts = [b"", old.vault_id, old.vault_id + one.pack_id, old.vault_id + one.index.place.id]
        keys = [
            derive(secret, salt=salt, label=label) for secret in secrets_it_has for salt in salts for label in LABELS
        ]
        for key in [*keys, *(secret[:32] for secret in secrets_it_has)]:
            for sealed, meaning in sealed_things(one, old.vault_id):
                with pytest.raises(OpenFailedError):
                    Sealer(key).open(sealed, meaning)


LABELS = ("pack", "head", "header", "earlier", "block-id", "slot-wallet", "device-name")


def sealed_things(one: Published, vault_id: bytes) -> list[tuple[bytes, bytes]]:
    """What is sealed in a commit, with its meaning (docs/format.md)."""
    name, head = one.head
    found = [(head[12:], head[:12] + vault_id + name.encode())]
    for number, (entry, _) in enumerate(one.entries):
        meaning = b"vfspack1" + one.pack_id + number.to_bytes(4, "little") + bytes([entry.kind])
        found.append((one.pack[entry.offset : entry.offset + entry.length], meaning))
    front = one.index.data[28 : one.index.place.front]
    found.append((front, b"vfsindx1" + one.index.place.id + b"\xff\xff\xff\xff"))
    return found


def test_the_way_of_trying_would_find_a_key(vault: Vault) -> None:
    """The test above tries the right meanings: with the right keys they open."""
    keys = vault.created.keys
    one = publish(keys, vault.mine, 3)
    right = [keys.head(1), keys.pack(one.pack_id), keys.pack(one.pack_id), keys.pack(one.index.place.id)]
    for key, (sealed, meaning) in zip(right, sealed_things(one, keys.vault_id), strict=True):
        assert Sealer(key).open(sealed, meaning)


def test_a_removed_device_gets_nothing_from_the_new_header(vault: Vault, made: NewEpoch, alice: Signer) -> None:
    old, header = vault.created.keys, made.header
    with pytest.raises(DeviceRemovedError):
        renew(header, vault.goes, old)
    assert vault.goes.id not in {one.device for one in header.granted}
    for one in header.granted:
        with pytest.raises(CryptoError):
            SealedBox(vault.goes.signing_key.to_curve25519_private_key()).decrypt(one.sealed)
    # The signature that opened the old slot may have stayed in its memory.
    before, now = vault.created.header.slots[0], header.slots[0]
    assert isinstance(before, WalletSlot)
    assert isinstance(now, WalletSlot)
    assert before.id != now.id
    assert before.salt != now.salt
    kept = alice.sign(wallet_slot.message(old.vault_id, before.id))
    for salt in (before.salt, now.salt):
        key = derive(kept, salt=old.vault_id + salt, label="slot-wallet")
        for slot in (before, now):
            meaning = b"vaultfs slot wallet\0" + old.vault_id + slot.id + slot.salt + slot.public_key + b"\1\0"
            with pytest.raises(OpenFailedError):
                Sealer(key).open(now.wrapped, meaning)
    assert vault.created.words
    with pytest.raises(RecoveryWordsError):
        unlock_with_words(header, vault.created.words)
    with pytest.raises(HeaderDamagedError):
        vault_name(header, old)
    for number, sealed in enumerate(header.earlier, 1):
        meaning = b"vaultfs earlier master\0" + old.vault_id + number.to_bytes(2, "little")
        with pytest.raises(OpenFailedError):
            Sealer(old.earlier()).open(sealed, meaning)


def test_those_who_remain_get_the_new_keys_without_a_wallet(vault: Vault, made: NewEpoch, alice: Signer) -> None:
    for device in (vault.mine, vault.stays):
        keys = renew(made.header, device, vault.created.keys)
        assert keys.masters() == made.keys.masters()
        assert renew(made.header, device, keys) is keys
    assert unlock(made.header, alice).masters() == made.keys.masters()
    assert (made.header.epoch, made.keys.epoch, made.header.number) == (2, 2, vault.created.header.number + 1)
    assert vault_name(made.header, made.keys) == "v"
    assert decode_header(encode_header(made.header), path="here") == made.header


def test_what_stays_with_the_first_epoch(vault: Vault, made: NewEpoch) -> None:
    """Else no local store would open any more, and no block would be found again."""
    old, new = vault.created.keys, made.keys
    assert (new.block_id, new.database(bytes(16)), new.journal(bytes(16))) == (
        old.block_id, old.database(bytes(16)), old.journal(bytes(16)),
    )  # fmt: skip
    assert load_device(seal_device(vault.mine, old), new).id == vault.mine.id
    assert len({old.header(), new.header(), old.earlier(), new.earlier(), old.head(1), new.head(2)}) == 6
    assert new.head(1) == old.head(1)


# Keys in use.


def test_keys_grow_where_they_are_held(vault: Vault, made: NewEpoch) -> None:
    held = VaultKeys(vault.created.keys.master(), vault.created.keys.vault_id)
    codec = PackCodec(held, held.object_id())
    sealed, how = codec.seal(0, Kind.BLOCK, b"one")
    held.extend(made.keys)
    assert (held.epoch, held.masters()) == (2, made.keys.masters())
    # A pack that was begun before goes on under its own key, and opens.
    more, _ = codec.seal(1, Kind.BLOCK, b"two")
    reader = PackCodec(VaultKeys(vault.created.keys.master(), held.vault_id), codec.id)
    assert reader.open(0, Entry(Kind.BLOCK, block_id(held, b"one"), 0, len(sealed), 3, how), sealed) == b"one"
    assert reader.open(1, Entry(Kind.BLOCK, block_id(held, b"two"), 0, len(more), 3, how), more) == b"two"
    assert epoch_of(codec.id) == 1
    assert epoch_of(held.object_id()) == 2
    assert publish(held, vault.mine, 9).readable(made.keys)
    held.extend(made.keys)  # the same once more changes nothing
    assert held.epoch == 2


def test_keys_do_not_grow_into_others(vault: Vault, made: NewEpoch) -> None:
    held = VaultKeys(vault.created.keys.master(), vault.created.keys.vault_id)
    for wrong in (
        VaultKeys(made.keys.master(), bytes(16), held.masters()),
        VaultKeys(made.keys.master(), held.vault_id, [bytes(32)]),
        VaultKeys(bytes(32), held.vault_id),
    ):
        with pytest.raises(ValueError, match="not the same keys"):
            held.extend(wrong)
        assert not wrong.continues(held)
    with pytest.raises(ValueError, match="not the same keys"):
        made.keys.extend(held)
    assert held.epoch == 1
    for epoch in (0, 2, 65535):
        with pytest.raises(UnknownEpochError):
            held.head(epoch)
    with pytest.raises(ValueError, match="begins with"):
        held.object_id(bytes(16))


def test_newer_keys_are_asked_for_by_name(vault: Vault, made: NewEpoch) -> None:
    one = publish(made.keys, vault.mine, 8)
    with pytest.raises(NewerKeysError, match="epoch 2") as caught:
        open_head(one.head[1], one.head[0], vault.created.keys)
    assert one.head[0] in str(caught.value)
    nobodys = one.head[1][:10] + bytes(2) + one.head[1][12:]
    with pytest.raises(HeadRefusedError, match="never was"):
        open_head(nobodys, one.head[0], made.keys)
    # The epoch is authenticated: a head does not open as one of another epoch.
    other = one.head[1][:10] + b"\1\0" + one.head[1][12:]
    with pytest.raises(HeadRefusedError):
        open_head(other, one.head[0], made.keys)


def test_a_pack_of_another_epoch_does_not_open(vault: Vault, made: NewEpoch) -> None:
    one = publish(made.keys, vault.mine, 8)
    entry, _ = one.entries[0]
    sealed = one.pack[entry.offset : entry.offset + entry.length]
    with pytest.raises(PackDamagedError):
        PackCodec(made.keys, one.pack_id[:14] + b"\1\0").open(0, entry, sealed)
    for epoch in (b"\0\0", b"\3\0", b"\xff\xff"):
        with pytest.raises(PackDamagedError, match="epoch"):
            PackCodec(made.keys, one.pack_id[:14] + epoch)
        with pytest.raises(IndexDamagedError, match="epoch"):
            Front(made.keys, one.index.place._replace(id=one.index.place.id[:14] + epoch), one.index.data)


def test_the_same_index_under_newer_keys_is_another_object(vault: Vault, made: NewEpoch) -> None:
    """Else one name would stand for two contents on the remote."""
    place = PackPlace(vault.created.keys.object_id(), 1 << 20, 900_000, 1000)
    records = joined([records_of(place, [Entry(Kind.NODE, blake3(b"x").digest(), 24, 100, 72, 0)])])
    old, new = build_index(vault.created.keys, records), build_index(made.keys, records)
    assert old.place.id[:14] == new.place.id[:14]
    assert old.place.id != new.place.id


def test_a_pack_is_sealed_anew_at_the_same_places(vault: Vault, made: NewEpoch) -> None:
    one = publish(vault.created.keys, vault.mine, 7)
    old, new = PackCodec(made.keys, one.pack_id), PackCodec(made.keys, made.keys.object_id())
    pack = new.header()
    for number, (entry, _) in enumerate(one.entries):
        pack += old.reseal(number, entry.kind, one.pack[entry.offset : entry.offset + entry.length], new)
    pack += new.finish(len(pack), [entry for entry, _ in one.entries])
    assert len(pack) == len(one.pack)
    assert new.read_footer(pack) == [entry for entry, _ in one.entries]
    for number, (entry, data) in enumerate(one.entries):
        assert new.open(number, entry, pack[entry.offset : entry.offset + entry.length]) == data
        with pytest.raises(PackDamagedError):
            PackCodec(vault.created.keys, one.pack_id).open(
                number, entry, pack[entry.offset : entry.offset + entry.length]
            )
    with pytest.raises(PackDamagedError):
        old.reseal(1, entry.kind, one.pack[one.entries[0][0].offset :][: one.entries[0][0].length], new)


# Whose heads count.


def test_whose_heads_count(vault: Vault, made: NewEpoch) -> None:
    found, late = members(made.header), make_device("late")
    goes, stays = vault.goes, vault.stays
    assert found.refusal(goes.id, goes.public_key, 7, 1) is None
    assert found.refusal(goes.id, goes.public_key, 8, 1)
    assert found.refusal(goes.id, goes.public_key, 8, 2), "even if it got the keys by the wallet"
    assert found.refusal(stays.id, stays.public_key, 99, 1) is None, "it does not know of the new keys yet"
    assert found.refusal(stays.id, stays.public_key, 99, 2) is None
    assert found.refusal(late.id, late.public_key, 1, 2) is None, "whoever has the new keys has opened the vault"
    # The removed device has the old keys, and may call itself anything.
    assert found.refusal(late.id, goes.public_key, 1, 1)
    assert found.refusal(stays.id, goes.public_key, 1, 1)
    assert members(vault.created.header).refusal(late.id, late.public_key, 1, 1) is None


def test_of_a_removed_device_one_head_counts(vault: Vault, alice: Signer) -> None:
    """It has its signing key and the old keys: it could make another one of that number, or of an older one."""
    goes = vault.goes
    one, other = (publish(vault.created.keys, goes, 7).head[1] for _ in range(2))
    assert one != other
    bound = (goes.id, 7, head_hash(one))
    made = remove_device(vault.created.header, vault.created.keys, alice, vault.devices, bound)
    header = decode_header(encode_header(made.header), path="here")
    assert unlock(header, alice).masters() == made.keys.masters()
    found = members(header)
    assert found.refusal(goes.id, goes.public_key, 7, 1, head_hash(one)) is None
    assert found.refusal(goes.id, goes.public_key, 7, 1, head_hash(other))
    assert found.refusal(goes.id, goes.public_key, 7, 1)
    assert found.refusal(goes.id, goes.public_key, 6, 1, head_hash(one))
    assert [number for number in range(10) if found.counts(goes.id, number)] == [7]
    assert found.counts(vault.stays.id, 99)
    again = remove_device(header, made.keys, alice, vault.devices, (goes.id, 7))
    assert again.header.removed == (Removed(*bound),), "a hash that is known stays"
    none = remove_device(header, made.keys, alice, vault.devices, (goes.id, 0))
    assert not any(members(none.header).counts(goes.id, number) for number in range(1, 10))


def test_a_removed_device_in_a_header_of_before(vault: Vault, made: NewEpoch, alice: Signer) -> None:
    """Its entry has two fields; the header is the same bytes, and its MAC right."""
    data = encode_header(made.header)
    assert b"\x92\xc4\x10" + vault.goes.id + b"\x07" in data
    header = decode_header(data, path="here")
    assert header.removed == (Removed(vault.goes.id, 7),)
    assert unlock(header, alice).masters() == made.keys.masters()
    assert [number for number in range(1, 10) if members(header).counts(vault.goes.id, number)] == list(range(1, 8))


@pytest.mark.parametrize("size", [1, 31, 33])
def test_a_hash_of_the_wrong_length(vault: Vault, made: NewEpoch, size: int) -> None:
    wrong = msgspec.structs.replace(made.header, removed=(Removed(vault.goes.id, 7, bytes(size)),))
    with pytest.raises(HeaderDamagedError, match=r"wrong length|malformed"):
        decode_header(encode_header(wrong), path="here")


def test_a_removed_device_under_a_new_name(vault: Vault, made: NewEpoch) -> None:
    invented = make_device("honest")
    name, data = publish(vault.created.keys, invented, 1).head
    head = open_head(data, name, made.keys)  # sealed and signed as it should be
    reason = members(made.header).refusal(head.device, head.public_key, head.number, epoch_of_head(data))
    assert reason is not None
    assert "old keys" in reason


# Many removals.


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 5))
def test_any_order_of_removals(alice: Signer, order: list[int], sleeper: int) -> None:
    """Whoever was not removed gets all keys at any time, however long it was away; nobody else gets any."""
    created = create_header(alice, name="v", with_words=False)
    devices = [make_device(f"device {number}") for number in range(6)]
    public = [(one.id, one.public_key) for one in devices]
    header, keys = created.header, created.keys
    known = dict.fromkeys(range(6), keys)
    published = [publish(keys, devices[0], 1)]
    for number in order:
        header, keys, _ = remove_device(header, keys, alice, public, (devices[number].id, 1))
        header = decode_header(encode_header(header), path="here")
        published.append(publish(keys, devices[0], 1))
        gone = {one.device for one in header.removed}
        for at, device in enumerate(devices):
            if device.id in gone:
                with pytest.raises(DeviceRemovedError):
                    renew(header, device, known[at])
            elif at != sleeper:
                known[at] = renew(header, device, known[at])
                assert known[at].masters() == keys.masters()
    if devices[sleeper].id not in gone:
        assert renew(header, devices[sleeper], known[sleeper]).masters() == keys.masters()
    assert unlock(header, alice).masters() == keys.masters()
    for at in range(6):
        assert [one.readable(known[at]) for one in published] == [n < known[at].epoch for n in range(len(published))]


# Golden vectors.


def test_bytes_are_as_ever(alice: Signer) -> None:
    stored = msgspec.json.decode((FIXTURES / "golden" / "epochs.json").read_bytes())
    assert golden_epochs.epochs(alice, bytes.fromhex(stored["grant"])) == stored


def test_stored_header_opens(alice: Signer) -> None:
    stored = msgspec.json.decode((FIXTURES / "golden" / "epochs.json").read_bytes())
    header = decode_header(bytes.fromhex(stored["header"]), path="fixture")
    first = VaultKeys(golden_epochs.MASTERS[0], header.vault_id)
    for keys in (unlock(header, alice), renew(header, golden_tree.device(), first)):
        assert keys.masters() == golden_epochs.MASTERS


def test_nothing_secret_is_shown(made: NewEpoch) -> None:
    """Invariant 7."""
    shown = f"{made!r} {made.keys} {made.header!r} {vars(epochs).keys()}"
    for master in made.keys.masters():
        assert master.hex() not in shown
        assert repr(master)[2:-1] not in shown
