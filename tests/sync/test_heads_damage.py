"""Heads that are damaged, withheld, signed by others, or none."""

from __future__ import annotations

import pytest

from tests.sync.polling import polls
from tests.sync.vaults import KEYS, A, B, Machine, Vault, device, make_head, name_of_head
from vaultfs.crypto.epochs import Members
from vaultfs.crypto.keys import VaultKeys
from vaultfs.crypto.sealing import Sealer
from vaultfs.format.head import PREFIX_BYTES, Head, seal_head
from vaultfs.sync.heads import Heads

pytestmark = pytest.mark.trio


def forged(head: Head, keys: VaultKeys) -> bytes:
    """Sealed with the vault's keys, and signed by nobody."""
    right = seal_head(head, A, keys)
    prefix = right[:PREFIX_BYTES]
    meaning = prefix + keys.vault_id + head.name.encode()
    sealer = Sealer(keys.head(keys.epoch))
    plain = bytearray(sealer.open(right[PREFIX_BYTES:], meaning))
    length = int.from_bytes(plain[:4], "little")
    plain[4 + length] ^= 1
    return prefix + sealer.seal(bytes(plain), meaning)


@pytest.mark.parametrize("how", ["flipped", "cut", "another", "other vault", "empty"])
async def test_a_damaged_head_is_waited_for_and_then_named(vault: Vault, here: Machine, how: str) -> None:
    await vault.publish_number(A, 1)
    await here.poll()
    name = await vault.publish_number(A, 2)
    right = vault.objects[name]
    wrong = {
        "flipped": right[:100] + bytes([right[100] ^ 4]) + right[101:],
        "cut": right[: len(right) // 2],
        "another": vault.objects[name_of_head(A, 1)],
        "other vault": seal_head(make_head(A, 2), A, VaultKeys(bytes(32), KEYS.vault_id)),
        "empty": b"",
    }[how]
    vault.objects[name] = wrong
    assert await polls(here, 2) == []
    assert here.alarms == [], "it may still be on its way"
    vault.objects[name] = right
    assert await here.poll() == [("box-a", 2)]
    name = await vault.publish_number(A, 3)
    vault.objects[name] = wrong
    assert await polls(here, 3) == []
    assert here.alarms == [("damaged", A.id)]
    assert here.heads.alarms[0].object == name
    here.heads.accept(A.id)
    assert await polls(here, 5) == [], "it is passed over; the head before it is still there"
    assert here.alarms == []
    await vault.publish_number(A, 4)
    assert await here.poll() == [("box-a", 4)]


async def test_accepting_a_damaged_head_excuses_that_head_only(vault: Vault, here: Machine) -> None:
    """Its number is the remote's word: as high as it likes."""
    await vault.publish_number(A, 1)
    await vault.publish_number(B, 1)
    await here.poll()
    vault.objects[name_of_head(A, 10**16 - 1)] = b"junk"
    await polls(here, 3)
    assert here.alarms == [("damaged", A.id)]
    here.heads.accept(A.id)
    await vault.publish_number(A, 5)
    assert await polls(here, 5) == [("box-a", 5)]
    assert here.alarms == []
    gone = vault.objects.pop(name_of_head(A, 5))
    await polls(here, 3)
    assert here.alarms == [("rollback", A.id)]
    vault.objects[name_of_head(A, 5)] = gone
    here.heads.accept(A.id)
    assert await here.poll() == [("box-a", 5)]
    await vault.publish_number(B, 2, a=7)
    await polls(here, 3)
    assert here.alarms == [("withheld", A.id)]


async def test_accepting_a_forged_head_lets_nothing_go_back(vault: Vault, here: Machine) -> None:
    """Whoever has the vault's keys can forge a head; what was seen of that device has to be there still."""
    for number in (1, 2):
        await vault.publish_number(A, number)
    await here.poll()
    head = make_head(A, 9)
    vault.objects[head.name] = forged(head, KEYS)
    await here.poll()
    assert here.alarms == [("forged", A.id)]
    here.heads.accept(A.id)
    del vault.objects[name_of_head(A, 2)]
    assert await polls(here, 3) == []
    assert here.alarms == [("rollback", A.id)]


async def test_after_accepting_a_withheld_head_the_rest_is_missed_as_ever(vault: Vault, here: Machine) -> None:
    await vault.publish_number(A, 1)
    await vault.publish_number(B, 1, a=2)
    await polls(here, 3)
    assert here.alarms == [("withheld", A.id)]
    here.heads.accept(A.id)
    await polls(here, 5)
    assert here.alarms == []
    del vault.objects[name_of_head(A, 1)]
    await polls(here, 3)
    assert here.alarms == [("rollback", A.id)]


async def test_a_head_signed_with_another_key(vault: Vault, here: Machine) -> None:
    """By somebody who has the vault's keys, or a device that was set up anew under its old id."""
    await vault.publish_number(A, 1)
    await here.poll()
    other = device("a", seed=50)
    await vault.publish_number(other, 2)
    assert await here.poll() == []
    assert here.alarms == [("key", A.id)]
    here.heads.accept(A.id)
    assert await here.poll() == [("box-a", 2)]
    await vault.publish_number(A, 3)
    assert await here.poll() == []
    assert here.alarms == [("key", A.id)], "now the new key is the one that is known"


async def test_a_withheld_head(vault: Vault, here: Machine) -> None:
    await vault.publish_number(A, 1)
    await vault.publish_number(A, 2)
    await vault.publish_number(B, 1, a=2)
    vault.fake.faults.hidden = lambda name: name == name_of_head(A, 2)
    assert sorted(await here.poll()) == [("box-a", 1), ("box-b", 1)]
    await polls(here, 1)
    assert here.alarms == []
    await polls(here, 1)
    assert here.alarms == [("withheld", A.id)]
    assert "'box-b' has seen head 2 of 'box-a'" in here.heads.alarms[0].text
    here.heads.accept(A.id)
    await polls(here, 5)
    assert here.alarms == []
    vault.fake.faults.hidden = lambda _name: False
    assert await here.poll() == [("box-a", 2)]


async def test_a_device_of_which_nothing_is_shown(vault: Vault, here: Machine) -> None:
    await vault.publish_number(B, 1, a=2)
    await polls(here, 3)
    assert here.alarms == [("withheld", A.id)]
    assert "device 61616161" in here.heads.alarms[0].text


async def test_what_lies_among_the_heads_and_is_none(vault: Vault, here: Machine) -> None:
    for name in ("heads/readme", f"heads/{A.id.hex()}/1", f"heads/{A.id.hex()}/x", f"heads/{'A' * 32}/{1:016}"):
        vault.objects[name] = b"?"
    await vault.publish_number(A, 1)
    assert await here.poll() == [("box-a", 1)]
    assert here.alarms == []


async def test_a_listed_head_that_cannot_be_read(vault: Vault, here: Machine) -> None:
    name = await vault.publish_number(A, 1)
    listed = vault.fake.list
    stale = await listed("heads")

    async def lists(_prefix: str) -> list[object]:
        return list(stale)

    vault.fake.list = lists  # type: ignore[method-assign, assignment]
    del vault.objects[name]
    await polls(here, 2)
    assert here.alarms == []
    await polls(here, 1)
    assert here.alarms == [("damaged", A.id)]


async def test_a_head_by_a_later_version(vault: Vault, here: Machine) -> None:
    name = await vault.publish_number(A, 1)
    await vault.publish_number(B, 1)
    data = vault.objects[name]
    vault.objects[name] = data[:8] + (2).to_bytes(2, "little") + data[10:]
    assert await polls(here, 4) == [("box-b", 1)]
    assert here.alarms == []
    assert "newer" in str(here.heads.unreadable[A.id])


async def test_heads_of_a_removed_device(vault: Vault, here: Machine) -> None:
    """Up to the one that was merged they count; later ones do not, whoever names them."""
    await vault.publish_number(A, 4)
    await vault.publish_number(A, 5)
    await vault.publish_number(B, 1, a=5)
    here.heads.members = Members(1, {}, {A.id: 4})
    assert sorted(await here.poll()) == [("box-a", 4), ("box-b", 1)]
    before = vault.counted()
    assert await polls(here, 5) == []
    assert (vault.remote.requests - before).gets == 0
    del vault.objects[name_of_head(A, 4)]
    await polls(here, 5)
    assert here.alarms == [], "nobody keeps its heads"


async def test_a_stranger_under_old_keys(vault: Vault) -> None:
    """Who was removed still has the old keys, and calls itself a new device."""
    newer = VaultKeys(bytes([9] * 32), KEYS.vault_id, [KEYS.master()])
    here = vault.machine()
    here.heads = Heads(vault.remote, newer, here.seen, here.own)
    here.heads.members = Members(2, {B.id: B.public_key}, {})
    await vault.publish_number(A, 1)
    await vault.publish_number(B, 1)
    assert await polls(here, 2) == [("box-b", 1)]
    assert here.alarms == [("forged", A.id)]
    await vault.backend.put(name_of_head(B, 2), seal_head(make_head(B, 2), B, newer))
    assert await here.poll() == [("box-b", 2)]
    old = vault.machine(device("d"))
    assert await polls(old, 4) == [("box-a", 1)]
    assert "keys" in str(old.heads.unreadable[B.id])
    assert old.alarms == []
