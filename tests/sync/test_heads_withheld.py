"""A store that withholds heads, or goes back, and puts something else under other names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.sync.polling import polls
from tests.sync.vaults import KEYS, A, B, Machine, Vault, make_head, name_of_head
from vaultfs.crypto.keys import VaultKeys
from vaultfs.format.head import MAGIC, PREFIX, seal_head
from vaultfs.sync.patience import LONG, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

pytestmark = pytest.mark.trio

LATER = MAGIC + (2).to_bytes(2, "little") + bytes(600)
EPOCH = PREFIX + (511).to_bytes(2, "little") + bytes(600)


def another_name_each_time(vault: Vault, poll: int) -> None:
    for name in [name for name, data in vault.objects.items() if data == b"x"]:
        del vault.objects[name]
    vault.objects[name_of_head(A, 1000 + poll)] = b"x"


def one_name(vault: Vault, _poll: int) -> None:
    vault.objects[name_of_head(A, 9)] = b"x"


def a_later_version(vault: Vault, _poll: int) -> None:
    vault.objects[name_of_head(A, 3)] = LATER


def a_later_version_now_and_then(vault: Vault, poll: int) -> None:
    vault.objects.pop(name_of_head(A, 2000 + poll - 1), None)
    vault.objects[name_of_head(A, 2000 + poll)] = LATER if poll % 3 else b"x"


def later_keys(vault: Vault, _poll: int) -> None:
    vault.objects[name_of_head(A, 3)] = EPOCH


TRICKS = [another_name_each_time, one_name, a_later_version, a_later_version_now_and_then, later_keys]


@pytest.mark.parametrize("trick", TRICKS)
async def test_no_other_name_excuses_a_head_that_others_have_seen(
    vault: Vault, here: Machine, trick: Callable[[Vault, int], None]
) -> None:
    await vault.publish_number(A, 1)
    await vault.publish_number(B, 1)
    await here.poll()
    await vault.publish_number(B, 2, a=3)
    for poll in range(LONG):
        trick(vault, poll)
        await here.poll()
    assert [device for _, device in here.alarms] == [A.id]
    assert here.alarms[0][0] in {"withheld", "damaged"}


@pytest.mark.parametrize("trick", [another_name_each_time, one_name])
async def test_no_other_name_excuses_a_head_that_was_seen(
    vault: Vault, here: Machine, trick: Callable[[Vault, int], None]
) -> None:
    for number in (1, 2, 3):
        await vault.publish_number(A, number)
    await here.poll()
    for number in (2, 3):
        del vault.objects[name_of_head(A, number)]
    for poll in range(PATIENCE):
        assert here.alarms == []
        trick(vault, poll)
        await here.poll()
    assert here.alarms == [("rollback", A.id)]
    assert "only head 1 and older" in here.heads.alarms[0].text


async def test_what_fails_under_changing_names_is_told_in_the_end(vault: Vault, here: Machine) -> None:
    await vault.publish_number(A, 1)
    await here.poll()
    for poll in range(LONG):
        assert here.alarms == []
        another_name_each_time(vault, poll)
        await here.poll()
    assert here.alarms == [("damaged", A.id)]


async def test_a_device_that_publishes_faster_than_its_heads_arrive(autojump_clock: MockClock, here: Machine) -> None:
    """At each poll the newest head is half there, another one each time; the listing is late, too."""
    vault = here.vault
    vault.fake.faults.duplicates = 0.5
    await vault.publish_number(A, 1)
    came = []
    for number in range(2, 60):
        vault.fake.faults.list_lag = 3 if number % 20 > 10 else 0
        name = await vault.publish_number(A, number)
        right = vault.objects[name]
        await vault.publish_number(B, number, a=number - 1)
        vault.objects[name] = right[: len(right) // 2]
        came += await here.poll()
        vault.objects[name] = right
        await trio.sleep(1)
        assert here.alarms == []
    assert len([label for label, _ in came if label == "box-a"]) > 30
    vault.fake.faults.list_lag = 0
    await polls(here, 3)
    assert here.heads.trust.number(A.id) == 59
    assert autojump_clock.autojump_threshold == 0


async def test_the_head_before_one_that_is_half_there_is_taken(vault: Vault, here: Machine) -> None:
    """Nobody else has seen it; and no poll meets a whole newest head."""
    came = []
    for number in range(1, 3 * LONG):
        name = await vault.publish_number(A, number)
        right = vault.objects[name]
        vault.objects[name] = right[: len(right) // 2]
        came += await here.poll()
        vault.objects[name] = right
    assert came == [("box-a", number) for number in range(1, 3 * LONG - 1)]
    assert here.alarms == []


# What this machine cannot read.


async def test_bytes_that_call_themselves_a_later_version_are_told(vault: Vault, here: Machine) -> None:
    await vault.publish_number(A, 1)
    await here.poll()
    vault.objects[name_of_head(A, 10**15)] = LATER
    await polls(here, PATIENCE - 1)
    assert here.heads.unread.alarms == []
    await here.poll()
    (alarm,) = here.heads.unread.alarms
    assert (alarm.kind, alarm.device, alarm.object) == ("unreadable", A.id, name_of_head(A, 10**15))
    assert "newer" in alarm.text
    await vault.publish_number(A, 2)
    assert await here.poll() == [], "an older state may be all that is left of that machine"
    here.heads.accept(A.id)
    assert await polls(here, 3) == [("box-a", 2)], "it is passed over"
    assert (here.heads.unread.alarms, here.alarms, here.heads.unreadable) == ([], [], {})
    here.start()
    await polls(here, PATIENCE)
    assert here.heads.unread.alarms != [], "and not for good: gc must not take it for nothing"


async def test_keys_are_looked_for_before_anybody_is_told(vault: Vault, here: Machine) -> None:
    newer = VaultKeys(bytes([9] * 32), KEYS.vault_id, [KEYS.master()])
    await vault.publish_number(A, 1)
    await here.poll()
    vault.objects[name_of_head(A, 2)] = seal_head(make_head(A, 2), A, newer)
    await polls(here, 20)
    assert here.heads.unread.lacking == {A.id}
    for _ in range(PATIENCE):
        assert here.heads.unread.alarms == []
        here.heads.unread.keys(here.heads.unread.lacking, grown=False)
    assert [alarm.device for alarm in here.heads.unread.alarms] == [A.id]
    here.vault.keys = newer
    here.start()
    assert await here.poll() == [("box-a", 2)]
    assert here.heads.unread.alarms == []


async def test_a_head_that_opens_ends_it(vault: Vault, here: Machine) -> None:
    await vault.publish_number(A, 1)
    vault.objects[name_of_head(A, 2)] = LATER
    await polls(here, PATIENCE)
    assert here.heads.unread.alarms != []
    await vault.publish_number(A, 3)
    assert await here.poll() == [("box-a", 3)]
    assert here.heads.unread.alarms == []


async def test_a_machine_with_a_newer_vaultfs_whose_old_heads_are_gone(vault: Vault, here: Machine) -> None:
    """This one was away for months: it has to be updated, and nothing was rolled back."""
    await vault.publish_number(A, 1)
    await here.poll()
    del vault.objects[name_of_head(A, 1)]
    vault.objects[name_of_head(A, 70)] = LATER
    await polls(here, 30)
    assert here.alarms == []
    assert [alarm.kind for alarm in here.heads.unread.alarms] == ["unreadable"]
    here.heads.accept(A.id)
    await polls(here, PATIENCE)
    assert here.alarms == [("rollback", A.id)], "a person who knows better is told what is missing"
