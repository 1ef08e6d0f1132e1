"""Our own heads, as they stand on the remote."""

from __future__ import annotations

import pytest

from tests.sync.polling import polls
from tests.sync.vaults import KEYS, A, C, Machine, Vault, make_head, name_of_head
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
