"""A header counts only when its keys go on from those of the headers before it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.sync.false_headers import Counting, Kept
from vaultfs.crypto.device import make_device
from vaultfs.crypto.epochs import NewEpoch, remove_device
from vaultfs.crypto.records import Header, WordsSlot, authenticated
from vaultfs.crypto.slots import (
    Created,
    add_wallet_slot,
    add_words_slot,
    create_header,
    remove_slot,
    stretching,
    unlock,
    unlock_with_words,
)
from vaultfs.crypto.wallet_slot import MOST_SIGNATURES, Signatures
from vaultfs.errors import HeaderDamagedError, SignerError, VaultfsError, WrongWalletError
from vaultfs.sync.header import Headers
from vaultfs.sync.header_chain import Found

if TYPE_CHECKING:
    from vaultfs.crypto.keys import VaultKeys
    from vaultfs.sync.header_chain import Opener
    from vaultfs.wallet import Signer

MINE, OTHER, GOES = (make_device(label) for label in ("mine", "other", "goes"))
DEVICES = [(one.id, one.public_key) for one in (MINE, OTHER)]


@pytest.fixture
def made(alice: Signer) -> Created:
    return create_header(alice, name="v")


@pytest.fixture
def second(made: Created, alice: Signer) -> NewEpoch:
    return remove_device(made.header, made.keys, alice, DEVICES, (GOES.id, 7))


@pytest.fixture
def kept(made: Created, alice: Signer) -> Kept:
    return Kept(made.header, made.keys, alice)


def headers(*given: Header) -> Headers:
    found = [Found(header.number, header, f"vault.{header.number}") for header in given]
    return Headers(found[::-1], [])


def opener(signer: Signer) -> Opener:
    signatures = Signatures(signer)
    return lambda header, path: unlock(header, signatures, path=path)


def here(header: Header) -> Found:
    return Found(header.number, header, "here")


def stale(header: Header, number: int, keys: VaultKeys) -> Header:
    return authenticated(msgspec.structs.replace(header, number=number), keys.header())


def test_a_false_header_behind_the_real_one(made: Created, second: NewEpoch, kept: Kept, alice: Signer) -> None:
    false, _ = kept.header(3)
    there = headers(made.header, second.header, false)
    wallet = Counting(alice)
    found, keys = there.unlock(opener(wallet))
    assert (found.number, keys.masters()) == (2, second.keys.masters())
    assert [type(error) for error in there.refused] == [HeaderDamagedError]
    assert "vault.3" in str(there.refused[0])
    assert len(wallet.signed) == 2, "one for each branch"


def test_a_false_header_among_real_ones(made: Created, second: NewEpoch, kept: Kept, alice: Signer) -> None:
    false, _ = kept.header(3)
    fourth, _ = add_words_slot(stale(second.header, 3, second.keys), second.keys)
    there = headers(made.header, second.header, false, fourth)
    assert there.unlock(opener(alice))[0].number == 4
    assert ["vault.3" in str(error) for error in there.refused] == [True]


def test_a_header_under_the_old_keys_behind_the_new_ones(made: Created, second: NewEpoch, alice: Signer) -> None:
    there = headers(made.header, second.header, stale(made.header, 3, made.keys))
    assert there.unlock(opener(alice))[0].number == 2
    assert "vault.3" in str(there.refused[0])


def test_a_header_of_another_vault_that_the_wallet_opens(made: Created, alice: Signer) -> None:
    other = create_header(alice, name="other")
    there = headers(made.header, stale(other.header, 2, other.keys))
    found, keys = there.unlock(opener(alice))
    assert (found.number, keys.vault_id) == (1, made.keys.vault_id)


def test_a_false_header_behind_one_that_this_wallet_does_not_open(
    made: Created, kept: Kept, alice: Signer, bob: Signer
) -> None:
    """The machine was removed with another wallet: this one opens the false new key only, and is not to take it."""
    with_bob = add_wallet_slot(made.header, made.keys, bob)
    third = remove_device(with_bob, made.keys, bob, DEVICES, (GOES.id, 7))
    false, _ = kept.header(4)
    there = headers(made.header, with_bob, third.header, false)
    found, keys = there.unlock(opener(alice))
    assert (found.number, keys.epoch) == (2, 1)
    assert "vault.3 before it" in str(there.refused[0])


def test_where_there_is_but_a_false_one(made: Created, kept: Kept, alice: Signer) -> None:
    """It lies where the real one would be: nobody who has the old keys only can tell, as docs/threat-model.md says."""
    false, keys = kept.header(2)
    assert headers(made.header, false).unlock(opener(alice))[1].masters() == keys.masters()


# What is right takes one signature.


def test_several_epochs_and_slots_in_one(made: Created, second: NewEpoch, alice: Signer, bob: Signer) -> None:
    third = add_wallet_slot(second.header, second.keys, bob)
    fourth = remove_device(third, second.keys, bob, DEVICES[:1], (OTHER.id, 3))
    fifth = add_wallet_slot(fourth.header, fourth.keys, alice)
    there = headers(made.header, second.header, third, fourth.header, fifth)
    for wallet in (Counting(alice), Counting(bob)):
        found, keys = there.unlock(opener(wallet))
        assert (found.number, keys.masters()) == (5, fourth.keys.masters())
        assert len(wallet.signed) == 1
    assert there.refused == []


def test_a_wallet_that_was_taken_away_later(made: Created, alice: Signer, bob: Signer) -> None:
    """It opens the older header, as docs/format.md says; the newer is named."""
    with_bob = add_wallet_slot(made.header, made.keys, bob)
    without = remove_slot(with_bob, made.keys, with_bob.slots[-1].id)
    there = headers(made.header, with_bob, without)
    wallet = Counting(bob)
    assert there.unlock(opener(wallet))[0].number == 2
    assert [type(error) for error in there.refused] == [WrongWalletError]
    assert len(wallet.signed) == 1
    assert headers(made.header, with_bob, without).unlock(opener(alice))[0].number == 3


def test_words(made: Created) -> None:
    assert made.words
    header, more = add_words_slot(made.header, made.keys)
    for text in (made.words, more):
        words = stretching(text)
        there = headers(made.header, header)
        assert there.unlock(lambda one, path, words=words: unlock_with_words(one, words, path=path))[0].number == 2  # type: ignore[misc]


# A machine that has keys already.


def test_what_is_here_decides(made: Created, second: NewEpoch, kept: Kept, alice: Signer) -> None:
    """The real one was taken away from the remote, and the false one put in its place."""
    false, _ = kept.header(2)
    with pytest.raises(HeaderDamagedError, match="not those of the headers before it"):
        headers(false).unlock(opener(alice), here=here(second.header))
    with pytest.raises(HeaderDamagedError):
        headers(false).unlock(opener(alice), known=second.keys)
    there = headers(made.header, false)
    assert there.unlock(opener(alice), here=here(second.header))[0].number == 1, "older, but the vault's"
    assert "vault.2" in str(there.refused[0])


def test_what_is_here_takes_no_signature_of_its_own(made: Created, second: NewEpoch, alice: Signer) -> None:
    wallet = Counting(alice)
    found, _ = headers(made.header, second.header).unlock(opener(wallet), here=here(made.header), strict=True)
    assert (found.number, len(wallet.signed)) == (2, 1)


def test_what_is_here_does_not_open(made: Created, alice: Signer, bob: Signer) -> None:
    other = create_header(bob, name="other")
    with pytest.raises(WrongWalletError):
        headers(made.header).unlock(opener(alice), here=here(other.header))


def test_who_is_to_write_the_next_one_is_told(made: Created, second: NewEpoch, kept: Kept, alice: Signer) -> None:
    false, _ = kept.header(3)
    with pytest.raises(HeaderDamagedError, match=r"vault\.3"):
        headers(made.header, second.header, false).unlock(opener(alice), here=here(second.header), strict=True)


# Somebody wants to be tried without end.


def junk(header: Header, number: int) -> Header:
    """Asks for a signature that opens nothing."""
    slot = header.slots[0]
    return msgspec.structs.replace(
        header, number=number, slots=(msgspec.structs.replace(slot, id=secrets.token_bytes(16)),)
    )


def test_signatures_are_asked_for_once(made: Created, alice: Signer) -> None:
    same = [msgspec.structs.replace(made.header, number=number, slots=made.header.slots[:1]) for number in range(2, 40)]
    wallet = Counting(alice)
    assert headers(made.header, *same).unlock(opener(wallet))[0].number == 1
    assert len(wallet.signed) == 1


def test_too_many_signatures(made: Created, second: NewEpoch, kept: Kept, alice: Signer) -> None:
    """Not even what did open is used: the real ones have not been looked at."""
    false, _ = kept.header(40)
    wallet = Counting(alice)
    there = headers(made.header, second.header, *(junk(made.header, number) for number in range(3, 40)), false)
    with pytest.raises(HeaderDamagedError, match="newest of 40") as caught:
        there.unlock(opener(wallet))
    assert caught.value.exit_code == 21
    assert len(wallet.signed) == MOST_SIGNATURES + 1, "and one to see that the wallet signs alike each time"


def test_a_signature_that_is_refused(made: Created, second: NewEpoch, kept: Kept, alice: Signer) -> None:
    """The false header opened: that is no reason to take it."""
    false, _ = kept.header(3)
    with pytest.raises(SignerError):
        headers(made.header, second.header, false).unlock(opener(Counting(alice, most=1)))


def test_words_that_take_too_much(made: Created, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made.words
    words = stretching(made.words)
    tried: list[bytes] = []

    def stretch(slot: WordsSlot, _words: str) -> bytes:
        tried.append(slot.salt)
        return bytes(32)

    monkeypatch.setattr("vaultfs.crypto.words_slot._stretch", stretch)
    slot = next(slot for slot in made.header.slots if isinstance(slot, WordsSlot))

    def costly(number: int, slots: int, passes: int) -> Header:
        many = [
            msgspec.structs.replace(slot, id=secrets.token_bytes(16), salt=secrets.token_bytes(16), passes=passes)
            for _ in range(slots)
        ]
        return msgspec.structs.replace(made.header, number=number, slots=tuple(many))

    with pytest.raises(HeaderDamagedError, match="more work than any should"):
        unlock_with_words(costly(1, 32, 4), words)
    assert tried == []
    with pytest.raises(VaultfsError, match="newest of 9"):
        headers(*(costly(number, 32, 3) for number in range(1, 10))).unlock(
            lambda header, path: unlock_with_words(header, words, path=path)
        )
    assert len(tried) == 4 * 32
