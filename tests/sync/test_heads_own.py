"""Our own heads, as they stand on the remote."""

from __future__ import annotations

import pytest

from tests.sync.polling import polls
from tests.sync.vaults import KEYS, A, C, Machine, Vault, device, make_head, name_of_head
from vaultfs.crypto.keys import VaultKeys
from vaultfs.format.head import seal_head
from vaultfs.sync.heads import Own

pytestmark = pytest.mark.trio


# Our own.


def own_of(published: list[int], queued: dict[int, bytes]) -> Own:
    return Own(C.id, lambda: max(published, default=0), queued.get)


async def test_our_own_heads_are_not_new_and_nothing_is_asked(vault: Vault) -> None:
    published: list[int] = []
    here = Machine(vault, own_of(published, {}))
    for number in (1, 2):
        head = make_head(C, number)
        await vault.publish(C, head)
        published.append(number)
        here.heads.published(head)
    assert await here.poll() == []
    before = vault.counted()
    assert await polls(here, 3) == []
    assert vault.remote.requests - before == type(before)(lists=3)
    assert (here.heads.unknown_own, here.alarms) == (0, [])
    del vault.objects[name_of_head(C, 2)]
    await polls(here, 3)
    assert here.alarms == [("rollback", C.id)], "the remote lost what we have published"
    here.heads.accept(C.id)
    await polls(here, 5)
    assert (here.heads.unknown_own, here.alarms) == (0, []), "we go on from where we are"
    head = make_head(C, 3)
    await vault.publish(C, head)
    published.append(3)
    here.heads.published(head)
    await polls(here, 3)
    assert (here.heads.unknown_own, here.alarms) == (0, [])
    del vault.objects[name_of_head(C, 3)]
    await polls(here, 3)
    assert here.alarms == [("rollback", C.id)], "and it is missed again"


async def test_a_head_of_ours_that_we_never_made(vault: Vault) -> None:
    """This machine was restored from an older image, or another one from ours."""
    here = Machine(vault, own_of([1], {}))
    await vault.publish_number(C, 1)
    await here.poll()
    assert here.heads.unknown_own == 0
    await vault.publish_number(C, 5)
    await here.poll()
    assert (here.heads.unknown_own, here.alarms) == (5, [])


async def test_a_clone_with_the_same_number(vault: Vault) -> None:
    here = Machine(vault, own_of([2], {}))
    here.heads.published(make_head(C, 2))
    await vault.publish_number(C, 2, a=9)
    await here.poll()
    assert here.heads.unknown_own == 2


async def test_a_put_whose_answer_was_lost_is_told_from_a_clone(vault: Vault) -> None:
    queued = {2: seal_head(make_head(C, 2), C, KEYS)}
    here = Machine(vault, own_of([1], queued))
    vault.objects[name_of_head(C, 2)] = queued[2]
    before = vault.counted()
    await polls(here, 3)
    assert (here.heads.unknown_own, here.heads.landed) == (0, 2)
    assert (vault.remote.requests - before).gets == 1
    clone = Machine(vault, own_of([1], {2: seal_head(make_head(C, 2, vector={A.id: 3}), C, KEYS)}))
    await clone.poll()
    assert (clone.heads.unknown_own, clone.heads.landed) == (2, 0)


async def test_others_have_seen_more_of_us_than_we_made(vault: Vault) -> None:
    here = Machine(vault, own_of([1], {}))
    await vault.publish_number(C, 1)
    await vault.publish_number(A, 1, c=4)
    await polls(here, 2)
    assert here.heads.unknown_own == 4


JUNK = {
    "empty": b"",
    "junk": b"junk",
    "another name": seal_head(make_head(C, 6), C, KEYS),
    "another's": seal_head(make_head(device("c", seed=50), 7), device("c", seed=50), KEYS),
    "other vault": seal_head(make_head(C, 7), C, VaultKeys(bytes(32), KEYS.vault_id)),
}


@pytest.mark.parametrize("how", JUNK)
async def test_what_anybody_can_put_under_our_name_makes_no_clone(vault: Vault, how: str) -> None:
    """A new device each time would cost without end: every commit names all devices that ever were."""
    here = Machine(vault, Own(C.id, lambda: 1, public_key=C.public_key))
    await vault.publish_number(C, 1)
    here.heads.published(make_head(C, 1))
    vault.objects[name_of_head(C, 7)] = JUNK[how]
    await polls(here, 2)
    assert (here.heads.unknown_own, here.alarms) == (0, []), "it may still be on its way"
    await polls(here, 1)
    assert (here.heads.unknown_own, here.alarms) == (0, [("damaged", C.id)])
    assert here.heads.alarms[0].object == name_of_head(C, 7)
    assert [head.number for head in here.heads.seen] == [1], "our own head is what it was"
    before = vault.counted()
    await polls(here, 5)
    assert (vault.remote.requests - before).gets == 0, "it was looked at"
    here.heads.accept(C.id)
    await polls(here, 5)
    assert (here.heads.unknown_own, here.alarms) == (0, [])
    del vault.objects[name_of_head(C, 1)]
    vault.objects[name_of_head(C, 8)] = JUNK[how]
    await polls(here, 3)
    assert [alarm for _, alarm in here.alarms] == [C.id], "nothing is excused by that"


async def test_a_name_of_ours_that_is_only_listed(vault: Vault) -> None:
    here = Machine(vault, Own(C.id, lambda: 1, public_key=C.public_key))
    name = await vault.publish_number(C, 4)
    stale = await vault.fake.list("heads")

    async def lists(_prefix: str) -> list[object]:
        return list(stale)

    vault.fake.list = lists  # type: ignore[method-assign, assignment]
    del vault.objects[name]
    await polls(here, 3)
    assert (here.heads.unknown_own, here.alarms) == (0, [("damaged", C.id)])


async def test_a_new_name_of_ours_at_each_poll(vault: Vault) -> None:
    here = Machine(vault, Own(C.id, lambda: 1, public_key=C.public_key))
    for number in range(100, 110):
        assert here.alarms == []
        vault.objects[name_of_head(C, number)] = b""
        await here.poll()
        del vault.objects[name_of_head(C, number)]
    assert (here.heads.unknown_own, here.alarms) == (0, [("damaged", C.id)])


async def test_a_clone_is_noticed_below_what_is_none(vault: Vault) -> None:
    here = Machine(vault, Own(C.id, lambda: 1, public_key=C.public_key))
    await vault.publish_number(C, 5)
    for number in (10**15, 10**15 + 1):
        vault.objects[name_of_head(C, number)] = b"junk"
    await here.poll()
    assert here.heads.unknown_own == 5


async def test_a_name_of_ours_hides_nothing_that_others_have_seen(vault: Vault) -> None:
    here = Machine(vault, Own(C.id, lambda: 1, public_key=C.public_key))
    await vault.publish_number(A, 1, c=4)
    vault.objects[name_of_head(C, 9)] = b"junk"
    await polls(here, 2)
    assert here.heads.unknown_own == 4


async def test_half_of_what_is_being_uploaded_here_is_no_alarm(vault: Vault) -> None:
    queued = {2: seal_head(make_head(C, 2), C, KEYS)}
    here = Machine(vault, Own(C.id, lambda: 1, queued.get, C.public_key))
    vault.objects[name_of_head(C, 2)] = queued[2][:300]
    await polls(here, 20)
    assert (here.heads.unknown_own, here.heads.landed, here.alarms) == (0, 0, [])
    vault.objects[name_of_head(C, 2)] = queued[2]
    await here.poll()
    assert here.heads.landed == 2


async def test_what_was_found_of_the_device_before_says_nothing_of_the_new_one(vault: Vault) -> None:
    """Else commits of the new one would count as stored."""
    here = Machine(vault, own_of([1], {2: seal_head(make_head(C, 2), C, KEYS)}))
    await vault.publish(C, make_head(C, 2))
    await here.poll()
    assert here.heads.landed == 2
    here.heads.be(Own(A.id))
    assert (here.heads.landed, here.heads.unknown_own) == (0, 0)
